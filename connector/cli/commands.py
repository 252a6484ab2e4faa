"""The commands and their arguments. What each does is in `run`, `rules` and `local`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click
from click.shell_completion import CompletionItem

from pyconnector.connector.cli.access.commands import access_group, forward_group
from pyconnector.connector.cli.audit.commands import audit_group
from pyconnector.connector.cli.audit.options import audit_options, refuse_secrets
from pyconnector.connector.cli.diagnose.commands import diag_command
from pyconnector.connector.cli.early_signals import early_signals
from pyconnector.connector.cli.exits import exit_with
from pyconnector.connector.cli.install.commands import service_group
from pyconnector.connector.cli.mesh.commands import control_command, mesh_group
from pyconnector.connector.cli.options import FlagCommand, FlagGroup, MainGroup, inherit
from pyconnector.connector.cli.tail.commands import management_group, tail_command
from pyconnector.connector.version import version as own_version

_CONFIG = click.option("--config", "config_path", metavar="FILE", type=click.Path(), help="The config file.")
_ALLOW = click.option(
    "--allow-unknown-keys", is_flag=True, help="Warn of unknown keys in the config, but for access and ipRules."
)


#: Commands that flags may stand before.
_TAKE_FLAGS = frozenset({"run", "tunnel", "ingress", "ready", "diag", "service"})
#: Those of its commands before which only some flags have a meaning; the reference takes them there.
_TAKE_SOME = {"tail": frozenset({"origincert", "loglevel", "output", "no_autoupdate"})}
_TAKE_SOME["management"] = _TAKE_SOME["tail"]
#: Commands of the reference that are about its provider's account.
_OF_THE_PROVIDER = frozenset({"health"})
#: Commands of `connector.cli.account`, which is loaded when one of them is run.
_OF_AN_ACCOUNT = ("cleanup", "create", "delete", "info", "list", "login", "route", "rule", "token", "vnet")


#: Name under which scripts and service files of the reference start it, through a link.
REFERENCE_NAME = "cloudflared"


def _version_line(context: click.Context) -> str:
    """What a person reads; under the reference's name as the scripts expect it that look for the number."""
    if context.find_root().info_name == REFERENCE_NAME:
        return f"{REFERENCE_NAME} version {own_version()} (pyconnector)"
    return f"pyconnector {own_version()}"


def _show_version(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        click.echo(_version_line(context))
        context.exit()


class _Main(MainGroup):
    """Loads what is rarely run when it is."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """See `click.Group`."""
        if cmd_name != "grant":
            return super().get_command(ctx, cmd_name)
        from pyconnector.connector.cli.grant.commands import grant_command

        return grant_command

    def list_commands(self, ctx: click.Context) -> list[str]:
        """See `click.Group`."""
        return sorted([*super().list_commands(ctx), "grant"])


@click.group(cls=_Main, context_settings={"help_option_names": ["-h", "--help"]}, invoke_without_command=True)
@click.option("--config", "config_path", metavar="FILE", type=click.Path(), hidden=True)
@click.option("-v", "-V", "--version", is_flag=True, is_eager=True, expose_value=False, callback=_show_version,
              help="Show the version and exit.")  # fmt: skip
@click.pass_context
def main(context: click.Context, /, config_path: str | None, **given: Any) -> None:
    """Carry traffic from an edge to services on this machine, over connections that this machine opens."""
    context.obj = config_path
    flags = inherit(context, given)
    if context.invoked_subcommand is None:
        if flags or config_path:
            _quick_tunnel(config_path, flags)
        click.echo(context.get_help())
        context.exit()
    if (
        set(flags) <= _TAKE_SOME.get(context.invoked_subcommand, frozenset())
        and context.invoked_subcommand in _TAKE_SOME
    ):
        return
    if (flags or config_path) and context.invoked_subcommand not in _TAKE_FLAGS:
        raise click.UsageError(f"no flags can stand before the command {context.invoked_subcommand}")


@click.command("run", cls=FlagCommand)
@click.argument("config", required=False, metavar="[CONFIG.yaml]", type=click.Path())
@_CONFIG
@_ALLOW
@click.option("--local", is_flag=True, help="Start a local edge too and connect to it; no credentials are needed.")
@click.option("--local-visitors", metavar="HOST:PORT", help="Where that edge serves visitors. [default: 127.0.0.1:0]")
@click.pass_context
def run_command(context: click.Context, /, config: str | None, config_path: str | None, **given: Any) -> None:
    """Connect to the edge and serve. Without CONFIG.yaml the usual places are looked at for a config file.

    SIGTERM and SIGINT let requests under way end (--grace-period); a second one stops at once. SIGHUP reads the
    rules anew.
    """
    with early_signals():
        from pyconnector.connector.cli.run import run

        exit_with(lambda: run(config or config_path or context.obj, inherit(context, given)))


@click.group("edge", invoke_without_command=True)
@click.option(
    "--listen", default="127.0.0.1:7844", metavar="HOST:PORT", show_default=True, help="For connectors (UDP and TCP)."
)
@click.option("--protocols", default="quic,http2", metavar="NAMES", show_default=True,
              help="Over which connectors may come.")  # fmt: skip
@click.option(
    "--visitors", default="127.0.0.1:8080", metavar="HOST:PORT", show_default=True, help="For visitors (HTTP)."
)
@click.option("--trusted-proxy", "trusted_proxies", multiple=True, metavar="CIDR",
              help="Where a proxy that ends TLS stands: its X-Forwarded-Proto and -For count. Repeatable.")  # fmt: skip
@click.option("--visitors-tls", default="", metavar="HOST:PORT", help="For visitors over TLS (HTTPS).")
@click.option("--tls-cert", "tls_certs", multiple=True, metavar="FILE",
              help="A certificate with its chain, for the names in it. Repeatable.")  # fmt: skip
@click.option("--tls-key", "tls_keys", multiple=True, metavar="FILE", help="The key of each --tls-cert, in its order.")
@click.option("--control", default="127.0.0.1:7845", metavar="URL", show_default=True,
              help="The control plane to follow; or HOST:PORT for the debug API, empty for none.")  # fmt: skip
@click.option("--control-token-file", default="", metavar="FILE",
              help="Holds the token that --control asks for: the control plane's edge-token.")  # fmt: skip
@click.option("--join", is_flag=True, help="Be one of several edges of that control plane, each serving every name.")
@click.option(
    "--peers", default="", metavar="HOST:PORT", help="For other edges. [default: a free port of --listen's host]"
)
@click.option("--advertise", default="", metavar="HOST", help="What other edges and connectors are told to dial.")
@click.option("--debug-api", default="", metavar="HOST:PORT", help="For the debug API of an edge with a control plane.")
@click.option("--snapshot", default="", metavar="FILE",
              help="Keeps what the control plane said last, to start without it.")  # fmt: skip
@click.option("--tunnel", "tunnels", multiple=True, metavar="TUNNEL",
              help="A credentials file, or ID:ACCOUNT:SECRET-FILE. Repeatable.")  # fmt: skip
@click.option("--hostname", "hostnames", multiple=True, metavar="HOSTNAME=TUNNEL-ID", help="Repeatable.")
@click.option("--tcp", multiple=True, metavar="PORT=DESTINATION",
              help="A TCP port to a hostname, or to IP:PORT behind a tunnel (@TUNNEL-ID). Repeatable.")  # fmt: skip
@click.option("--ca-dir", default="", metavar="DIRECTORY", help="Where the edge's authority is kept.")
@click.option("--any-credentials", is_flag=True, help="Accept any tunnel; on loopback only.")
@click.option("--private-network", metavar="FILE", help="JSON with private routes, tokens and rules.")
@click.option("--fault-relay", is_flag=True, help="Let the control API drop and delay packets.")
@audit_options
@click.option("--no-identity", is_flag=True, help="Add no headers that say who visits.")
@click.option("--hide-error-details", is_flag=True, help="Do not tell visitors why an origin failed.")
@click.option("--login-pins", default="", metavar="WHERE",
              help="Where one-time PINs of people go: log, file:PATH or command:PROGRAM.")  # fmt: skip
@click.option("--location", default="local", show_default=True, help="What connectors log as the edge's location.")
@click.option("--quic-engine", default="aioquic", show_default=True, metavar="NAME", help="aioquic or qh3.")
@click.option("--loglevel", default="info", show_default=True)
@click.pass_context
def edge_command(context: click.Context, /, **given: Any) -> None:
    """Run a local edge: accepts connectors and serves visitors by Host.

    `pyconnector edge new-tunnel FILE` makes up a tunnel for it.
    """
    if context.invoked_subcommand is not None:
        return
    refuse_secrets(context)
    with early_signals():
        from pyconnector.connector.cli.local import run_edge

        exit_with(lambda: run_edge(given))


@edge_command.command("new-tunnel", short_help="Make up a tunnel and write its credentials file.")
@click.argument("file", type=click.Path())
def new_tunnel_command(file: str) -> None:
    """Make up a tunnel for a local edge and write its credentials to FILE, for its owner alone."""
    from pyconnector.connector.cli.new_tunnel import new_tunnel

    exit_with(lambda: new_tunnel(file))


@edge_command.command("new-token", short_help="Make up a service token for the gateway of an edge.")
@click.argument("name")
@click.argument("file", type=click.Path())
def new_token_command(name: str, file: str) -> None:
    """Make up a service token NAME, write it to FILE for its owner alone, and print what the edge must know of it."""
    from pyconnector.connector.cli.new_token import new_token

    exit_with(lambda: new_token(name, file))


@click.group("ingress")
@_CONFIG
@click.pass_context
def ingress_group(context: click.Context, config_path: str | None) -> None:
    """Check the rules of a config file without connecting."""
    context.obj = config_path or context.obj


@ingress_group.command("validate", short_help="List every error of a config with its place.")
@click.argument("config", required=False, type=click.Path())
@_ALLOW
@click.option("--json", "as_json", is_flag=True, help="Print every error as JSON, for editors.")
@click.pass_obj
def validate_command(inherited: str | None, config: str | None, allow_unknown_keys: bool, as_json: bool) -> None:
    """Read CONFIG and list every error as file:line:column: path: message."""
    from pyconnector.connector.cli.rules import validate

    exit_with(lambda: validate(config or inherited, allow_unknown_keys=allow_unknown_keys, as_json=as_json))


@ingress_group.command("rule")
@click.argument("arguments", nargs=-1, required=True, metavar="[CONFIG] URL")
@click.option("--as", "who", multiple=True, metavar="KIND:NAME", help="Who asks, as in role:reader; may be repeated.")
@click.pass_obj
def rule_command(inherited: str | None, arguments: tuple[str, ...], who: tuple[str, ...]) -> None:
    """Say which rule of CONFIG a request for URL meets."""
    from pyconnector.connector.cli.rules import show_rule

    if len(arguments) > 2:
        raise click.UsageError("give a config file and one URL")
    config = arguments[0] if len(arguments) == 2 else inherited
    exit_with(lambda: show_rule(config, arguments[-1], who))


@ingress_group.command("schema")
def schema_command() -> None:
    """Print the JSON schema of a config file, for editors."""
    from pyconnector.connector.cli.rules import show_schema

    exit_with(show_schema)


@click.command("version")
@click.option("-s", "--short", is_flag=True, help="The number alone.")
@click.pass_context
def version_command(context: click.Context, short: bool) -> None:
    """Print the version."""
    click.echo(own_version() if short else _version_line(context))


@click.command("ready", cls=FlagCommand, short_help="Ask a running connector whether it is connected.")
@_CONFIG
@click.pass_context
def ready_command(context: click.Context, /, config_path: str | None, **given: Any) -> None:
    """Ask the connector whose metrics are served at --metrics whether it is connected: exit code 0 if it is, else 1.

    For health checks of containers and service managers.
    """
    from pyconnector.connector.cli.ready import ready

    exit_with(lambda: ready(config_path or context.obj, inherit(context, given)))


def _quick_tunnel(path: str | None, flags: Mapping[str, Any]) -> None:
    """Do what the reference does with flags and no command: run a tunnel of the moment (reference/cli.md 2)."""
    if flags.get("url") or flags.get("hello_world") or flags.get("unix_socket"):
        with early_signals():
            from pyconnector.connector.cli.run import run

            exit_with(lambda: run(path, flags, quick=True))
    raise click.UsageError("tunnel needs a command: `tunnel run` connects, `tunnel ready` asks a running connector")


class _TunnelGroup(FlagGroup):
    """What the reference calls `tunnel`, as far as it is about connecting."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """See `click.Group`."""
        if cmd_name not in _OF_AN_ACCOUNT:
            return super().get_command(ctx, cmd_name)
        from pyconnector.connector.cli.account.commands import tunnel_commands

        return tunnel_commands.get_command(ctx, cmd_name)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """See `click.Group`."""
        return sorted([*super().list_commands(ctx), *_OF_AN_ACCOUNT])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """See `click.Group`."""
        if args and args[0] in _OF_THE_PROVIDER and args[0] not in self.commands:
            raise click.UsageError(
                f"`tunnel {args[0]}` is about an account of the provider, which pyconnector does not manage: use "
                "cloudflared for it; `pyconnector edge new-tunnel FILE` makes a tunnel for an edge of your own"
            )
        return super().resolve_command(ctx, args)


@click.group(
    "tunnel",
    cls=_TunnelGroup,
    invoke_without_command=True,
    short_help="Make, list, route and run tunnels of an account.",
)
@_CONFIG
@_ALLOW
@click.pass_context
def tunnel_group(context: click.Context, /, config_path: str | None, **given: Any) -> None:
    """The reference's spelling: `tunnel --config FILE run`."""
    context.obj = config_path or context.obj
    flags = inherit(context, given)
    if context.invoked_subcommand is None:
        _quick_tunnel(context.obj, flags)


def _tunnel_names(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from pyconnector.connector.cli.account.completion import TUNNELS, offering

    return offering(TUNNELS)(context, parameter, incomplete)


@tunnel_group.command("run", cls=FlagCommand)
@click.argument("tunnel", required=False, shell_complete=_tunnel_names)
@_CONFIG
@_ALLOW
@click.pass_context
def tunnel_run_command(context: click.Context, /, tunnel: str | None, config_path: str | None, **given: Any) -> None:
    """Connect to the edge and serve, as `run` does."""
    with early_signals():
        from pyconnector.connector.cli.run import run

        exit_with(lambda: run(config_path or context.obj, inherit(context, given), tunnel=tunnel))


for _command in (
    run_command,
    edge_command,
    audit_group,
    access_group,
    forward_group,
    mesh_group,
    control_command,
    ingress_group,
    ready_command,
    diag_command,
    service_group,
    tail_command,
    management_group,
    version_command,
    tunnel_group,
):
    main.add_command(_command)
tunnel_group.add_command(ingress_group)
tunnel_group.add_command(ready_command)
tunnel_group.add_command(diag_command)
