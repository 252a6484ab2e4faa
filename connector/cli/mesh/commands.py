"""The commands and their arguments. What they do is in `up`, which alone loads the control plane."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import click
from click.core import ParameterSource

from pyconnector.connector.cli.audit.options import audit_options, refuse_secrets
from pyconnector.connector.cli.early_signals import early_signals
from pyconnector.connector.cli.exits import exit_with

_DATA = click.option("--data-dir", default="~/.pyconnector", metavar="DIRECTORY", show_default=True,
                     help="Keys, cert.pem and the SQLite file; made at the first start.")  # fmt: skip
_API = click.option("--api", default="127.0.0.1:7846", metavar="HOST:PORT", show_default=True, help="For API clients.")
_DATABASE = click.option(
    "--database",
    default="",
    metavar="URL",
    envvar="PYCONNECTOR_DATABASE",
    help="postgresql://...; SQLite without it. A password goes into PYCONNECTOR_DATABASE.",
)
_ZONE = click.option("--zone", default="mesh.localhost", metavar="NAME", show_default=True,
                     help="The domain whose names can be routed.")  # fmt: skip
_API_HOSTNAMES = click.option("--api-hostname", "api_hostnames", multiple=True, metavar="NAME",
                              help="A name by which browsers know the API. Repeatable.")  # fmt: skip
_QUICK = click.option("--quick-tunnels", type=int, default=None, metavar="N",
                      help="Quick tunnels at once, for anybody. [default: 100 on loopback, else 0]")  # fmt: skip
_DNS = click.option("--dns", default="", metavar="HOST:PORT",
                    help="Serve the edges' SRV records there, by which connectors find them.")  # fmt: skip
_MESH_ADDRESSES = click.option("--mesh-addresses", default="", metavar="NETWORK",
                               help="For devices. [default: 100.96.0.0/12, or as before]")  # fmt: skip
_NAME_ADDRESSES = click.option("--name-addresses", default="", metavar="NETWORK",
                               help="For private names. [default: 172.64.128.0/20, or as before]")  # fmt: skip
_JSON = click.option("--json", "as_json", is_flag=True, help="Print one line of JSON, for scripts.")
_LOGLEVEL = click.option("--loglevel", default="info", show_default=True)


class _Mesh(click.Group):
    """Loads the commands of devices when one of them is run."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """See `click.Group`."""
        if cmd_name != "device":
            return super().get_command(ctx, cmd_name)
        from pyconnector.connector.cli.devices.commands import device_group

        return device_group

    def list_commands(self, ctx: click.Context) -> list[str]:
        """See `click.Group`."""
        return sorted([*super().list_commands(ctx), "device"])


@click.group("mesh", cls=_Mesh)
def mesh_group() -> None:
    """A control plane and an edge of your own (docs/mesh.md). Needs the extra `mesh`."""


@mesh_group.command("up")
@_DATA
@_API
@click.option("--edge", default="127.0.0.1:7844", metavar="HOST:PORT", show_default=True, help="For connectors (QUIC).")
@click.option(
    "--visitors", default="127.0.0.1:8080", metavar="HOST:PORT", show_default=True, help="For visitors (HTTP)."
)
@click.option("--peers", default="", metavar="HOST:PORT",
              help="For other edges. [default: a free port of --edge's host]")  # fmt: skip
@click.option("--advertise", default="", metavar="HOST", help="What other edges and connectors are told to dial.")
@click.option("--trusted-proxy", "trusted_proxies", multiple=True, metavar="CIDR",
              help="Where a proxy that ends TLS stands: its X-Forwarded-Proto and -For count. Repeatable.")  # fmt: skip
@click.option("--visitors-tls", default="", metavar="HOST:PORT", help="For visitors over TLS (HTTPS).")
@click.option(
    "--tls-cert", "tls_certs", multiple=True, metavar="FILE", help="A certificate with its chain. Repeatable."
)
@click.option("--tls-key", "tls_keys", multiple=True, metavar="FILE", help="The key of each --tls-cert, in its order.")
@_ZONE
@_DATABASE
@_API_HOSTNAMES
@_QUICK
@_DNS
@_MESH_ADDRESSES
@_NAME_ADDRESSES
@click.option("--private-network", default="", metavar="FILE", help="JSON with the gateway to private networks.")
@audit_options
@click.option("--no-audit", is_flag=True, help="Record no requests; else in `audit` of --data-dir.")
@click.option("--login-pins", default="", metavar="WHERE",
              help="Where one-time PINs go: log, file:PATH or command:PROGRAM.")  # fmt: skip
@click.option("--location", default="local", show_default=True, help="What lists show as the edge's location.")
@click.option("--quic-engine", default="aioquic", show_default=True, metavar="NAME", help="aioquic or qh3.")
@_JSON
@_LOGLEVEL
@click.pass_context
def mesh_up_command(context: click.Context, /, **given: Any) -> None:
    """Run control plane and edge in one process, until a signal."""
    _refuse_password(context)
    refuse_secrets(context)
    with early_signals():
        from pyconnector.connector.cli.mesh.up import run_mesh

        exit_with(lambda: run_mesh(given))


@mesh_group.command("backup", short_help="Write all of a control plane into one file.")
@click.argument("file", type=click.Path())
@_DATA
@_DATABASE
@click.pass_context
def mesh_backup_command(context: click.Context, /, file: str, **given: Any) -> None:
    """Write everything in the database of a control plane, which may be running, into FILE, for its owner alone.

    The file holds its secrets too. SQLite and PostgreSQL alike: see docs/mesh.md.
    """
    _refuse_password(context)
    from pyconnector.connector.cli.mesh.backup import run_backup

    exit_with(lambda: run_backup(file, given))


@mesh_group.command("restore", short_help="Fill an empty database from a backup.")
@click.argument("file", type=click.Path())
@_DATA
@_DATABASE
@click.pass_context
def mesh_restore_command(context: click.Context, /, file: str, **given: Any) -> None:
    """Fill an empty database, SQLite or PostgreSQL, from FILE, which `mesh backup` wrote from either."""
    _refuse_password(context)
    from pyconnector.connector.cli.mesh.backup import run_restore

    exit_with(lambda: run_restore(file, given))


@mesh_group.command("join", short_help="Serve a local proxy to a private network.")
@click.argument("url")
@click.option(
    "--token-file", required=True, type=click.Path(), help="JSON with client_id and client_secret, mode 0600."
)
@click.option("--listen", default="127.0.0.1:40000", metavar="HOST:PORT", show_default=True, help="On loopback.")
@click.option("--cacert", type=click.Path(), help="PEM file of the only authorities a gateway may be signed by.")
@click.option("--virtual-network", default="", metavar="NAME", help="In place of the default one.")
@click.option(
    "--include",
    multiple=True,
    metavar="NETWORK|NAME",
    help="What goes through the gateway; all else directly. Repeatable.",
)
@click.option(
    "--proxy", default="", metavar="URL", help="By which the gateway is reached: http://, https://, socks5://."
)
@click.option(
    "--protocol",
    type=click.Choice(["auto", "quic", "http2"]),
    default="auto",
    show_default=True,
    help="Between this and the gateway; auto is QUIC, and HTTP/2 where UDP is blocked.",
)
@click.option("--no-http2", is_flag=True, help="A connection to the gateway for each flow, for paths that lose much.")
@click.option(
    "--tun",
    is_flag=True,
    help="Beside the proxy an interface with routes and DNS, for every program. Linux, with CAP_NET_ADMIN.",
)
@_LOGLEVEL
@click.pass_context
def mesh_join_command(context: click.Context, /, **given: Any) -> None:
    """Serve SOCKS5 and HTTP on loopback for programs, and reach private addresses and names through the gateway at URL.

    The service token stays in this process: programs need no secret.
    """
    _refuse_password(context, "proxy", "PYCONNECTOR_MESH_PROXY")
    with early_signals():
        from pyconnector.connector.cli.mesh.join import run_join

        exit_with(lambda: run_join(given))


_JOINED = click.option("--listen", default="", metavar="HOST:PORT", help="Which one, where several are running.")


@mesh_group.command("status", short_help="Say how the running mesh join is.")
@_JOINED
@_JSON
def mesh_status_command(listen: str, as_json: bool) -> None:
    """Say how the running `mesh join` of this user is: exit code 0 if its gateway can be reached, else 1."""
    from pyconnector.connector.cli.mesh.join import show_status

    exit_with(lambda: show_status(listen, as_json=as_json))


@mesh_group.command("leave", short_help="End the running mesh join.")
@_JOINED
def mesh_leave_command(listen: str) -> None:
    """End the running `mesh join` of this user."""
    from pyconnector.connector.cli.mesh.join import leave

    exit_with(lambda: leave(listen))


@click.command("control", short_help="Run a control plane alone, for edges elsewhere.")
@_DATA
@_API
@_ZONE
@_DATABASE
@_API_HOSTNAMES
@_QUICK
@_DNS
@_MESH_ADDRESSES
@_NAME_ADDRESSES
@_JSON
@_LOGLEVEL
@click.pass_context
def control_command(context: click.Context, /, **given: Any) -> None:
    """Run a control plane alone; edges follow it with `pyconnector edge --control URL`."""
    _refuse_password(context)
    with early_signals():
        from pyconnector.connector.cli.mesh.up import run_control

        exit_with(lambda: run_control(given))


def _refuse_password(context: click.Context, option: str = "database", variable: str = "PYCONNECTOR_DATABASE") -> None:
    if context.get_parameter_source(option) is not ParameterSource.COMMANDLINE:
        return
    try:
        password = urlsplit(context.params[option]).password
    except ValueError:
        return  # it is no URL, which is told where it is used
    if password is not None:
        raise click.UsageError(f"every user of this machine can read arguments: put the URL into {variable}")
