"""The commands and their arguments, as the reference names them (reference/cli.md 5)."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

import click

from pyconnector.connector.cli.early_signals import early_signals
from pyconnector.connector.cli.exits import exit_with

_F = TypeVar("_F", bound=Callable[..., Any])
#: Other names of `access tcp`: what is carried is the same.
_NAMES = ("rdp", "smb", "ssh")
#: Those of the files of `access apply`, as in `apply.wanted`, which is loaded where it is used.
_SECTIONS = (
    "identity_providers", "service_tokens", "groups", "policies", "applications", "routes", "network_rules", "all",
)  # fmt: skip
_CACERT = click.option("--cacert", type=click.Path(), metavar="FILE",
                       help="PEM file of the only authorities that an edge may be signed by.")  # fmt: skip
_CONNECT_TO = click.option("--connect-to", hidden=True, default="", metavar="HOST|HOST:PORT|SNI:PORT:HOST")


def _service_token(command: _F) -> _F:
    for option in (
        click.option("--service-token-file", type=click.Path(), metavar="FILE",
                     help="JSON with client_id and client_secret, mode 0600."),
        click.option("--service-token-secret", "--secret", "service_token_secret", default="", metavar="SECRET",
                     envvar="TUNNEL_SERVICE_TOKEN_SECRET", help="Its secret. [env: TUNNEL_SERVICE_TOKEN_SECRET]"),
        click.option("--service-token-id", "--id", "-id", "service_token_id", default="", metavar="ID",
                     envvar="TUNNEL_SERVICE_TOKEN_ID",
                     help="A service token's client id. [env: TUNNEL_SERVICE_TOKEN_ID]"),
    ):  # fmt: skip
        command = option(command)
    return command


class _AccessGroup(click.Group):
    """`ssh`, `rdp` and `smb` are `tcp`."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """See `click.Group`."""
        return super().get_command(ctx, "tcp" if cmd_name in _NAMES else cmd_name)


@click.group("access", cls=_AccessGroup)
def access_group() -> None:
    """Reach applications behind Access.

    TCP services, curl and tokens, from here: see docs/guide/access-client.md.
    """


@access_group.command("tcp", short_help="Reach a TCP service; ssh, rdp and smb are the same.")
@click.option("--hostname", "--tunnel-host", "-T", "hostnames", multiple=True, metavar="HOSTNAME",
              envvar="TUNNEL_SERVICE_HOSTNAME", help="The application. Repeatable, each with its --url.")  # fmt: skip
@click.option("--url", "--listener", "-L", "urls", multiple=True, metavar="HOST:PORT", envvar="TUNNEL_SERVICE_URL",
              help="Where to listen here; without it standard input and output are carried.")  # fmt: skip
@click.option("--destination", "destinations", multiple=True, metavar="HOST:PORT",
              envvar="TUNNEL_SERVICE_DESTINATION", help="Where a bastion leads: one for all, or each.")  # fmt: skip
@click.option("--header", "-H", "headers", multiple=True, metavar="NAME: VALUE", help="A header to send. Repeatable.")
@_service_token
@_CACERT
@_CONNECT_TO
@click.option("--logfile", metavar="FILE", type=click.Path())
@click.option("--log-directory", metavar="DIRECTORY", type=click.Path())
@click.option("--log-level", "--loglevel", "loglevel", default="info", show_default=True)
@click.argument("listen", required=False, metavar="[HOST:PORT]")
@click.pass_context
def tcp_command(context: click.Context, /, **given: Any) -> None:
    """Carry TCP to the service of --hostname: from ports of this machine, or for one program as its ProxyCommand.

    A service token goes into TUNNEL_SERVICE_TOKEN_ID and TUNNEL_SERVICE_TOKEN_SECRET, or --service-token-file; without
    one the token of `access login` is shown.
    """
    given["on_command_line"] = (
        context.get_parameter_source("service_token_secret") is click.core.ParameterSource.COMMANDLINE
    )
    with early_signals():
        from pyconnector.connector.cli.access.tcp import run_tcp

        exit_with(lambda: run_tcp(given))


@access_group.command("token", short_help="Print the token for an application.")
@click.argument("url", required=False)
@click.option("--app", metavar="URL", help="The same as the argument.")
@_service_token
@click.option("--path", default="", metavar="PATH", help="For a service token: for what lies below PATH alone.")
@click.option("--methods", default="", metavar="GET,...", help="For a service token: for these methods alone.")
@click.option("--seconds", default="", metavar="300-3600", help="For a service token: for how long.")
@_CACERT
@_CONNECT_TO
def token_command(**given: Any) -> None:
    """Print the token that `access login` got for the application at URL.

    With a service token, print a new one that stands for it: shorter lived, and narrowed where that is asked for.
    """
    from pyconnector.connector.cli.access.tokens import print_token

    exit_with(lambda: print_token(given))


@access_group.command("login", short_help="Log in to an application by a browser.")
@click.argument("url", required=False)
@click.option("--app", metavar="URL", help="The same as the argument; only the token is printed.")
@click.option("-q", "--quiet", is_flag=True, help="Print no token.")
@click.option("--no-verbose", is_flag=True, help="Print the token alone.")
@click.option("--auto-close", is_flag=True, hidden=True)
@click.option("--fedramp", is_flag=True, hidden=True)
@_CACERT
@_CONNECT_TO
def login_command(**given: Any) -> None:
    """Log in to the application at URL in a browser, and keep the token for `access tcp`, `curl` and `token`."""
    from pyconnector.connector.cli.access.tokens import log_in

    exit_with(lambda: log_in(given))


@access_group.command(
    "curl",
    short_help="Run curl with the token of an application.",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False, "help_option_names": []},
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[--allow-request] URL [CURL-ARGUMENTS]")
def curl_command(arguments: tuple[str, ...]) -> None:
    """Run curl with the token of the application at URL, or with the service token of the environment."""
    from pyconnector.connector.cli.access.tokens import run_curl

    given = {
        "service_token_id": os.environ.get("TUNNEL_SERVICE_TOKEN_ID", ""),
        "service_token_secret": os.environ.get("TUNNEL_SERVICE_TOKEN_SECRET", ""),
        "service_token_file": None,
    }
    exit_with(lambda: run_curl(arguments, given))


@access_group.command("ssh-config", short_help="Print what belongs into ~/.ssh/config.")
@click.option("--hostname", default="", metavar="HOSTNAME", help="The application.")
@click.option("--short-lived-cert", is_flag=True, help="Not available: the edge has no SSH authority.")
def ssh_config_command(hostname: str, short_lived_cert: bool) -> None:
    """Print what belongs into ~/.ssh/config, so that `ssh HOSTNAME` comes through the tunnel."""
    from pyconnector.connector.cli.access.ssh_config import show_ssh_config

    exit_with(lambda: show_ssh_config(hostname, short_lived_cert=short_lived_cert))


@access_group.command("apply", short_help="Make applications, policies, tokens and routes as files have them.")
@click.argument("files", nargs=-1, required=True, type=click.Path(), metavar="FILES...")
@click.option("--yes", "-y", is_flag=True, help="Apply the plan without asking.")
@click.option("--prune", multiple=True, metavar="SECTION", type=click.Choice(_SECTIONS),
              help="Delete what a section of the files could have and no file has; `all`: of each section that a "
              "file has. Repeatable.")  # fmt: skip
@click.option(
    "--send-secrets",
    is_flag=True,
    help="Send secrets of identity providers anew: what is there is not shown, and cannot be compared.",
)
@click.option("--dry-run", is_flag=True, help="Only show the plan; exit code 3 where there is something to do.")
@click.option("--secrets-dir", default="", metavar="DIRECTORY",
              help="Write secrets of new tokens there, for their owner alone; else they are shown once.")  # fmt: skip
@click.option("--api-url", default="", envvar="TUNNEL_API_URL", metavar="URL", help="Of the API.")
@click.option("--api-token-file", default="", type=click.Path(), metavar="FILE",
              help="Holds an API token; PYCONNECTOR_API_TOKEN, or cert.pem, without it.")  # fmt: skip
@click.option("--account", default="", metavar="ID", help="Where the token has several.")
@click.option("--origincert", default="", envvar="TUNNEL_ORIGIN_CERT", metavar="FILE", help="cert.pem.")
@click.pass_context
def apply_command(context: click.Context, /, files: tuple[str, ...], **given: Any) -> None:
    """Show what has to change so that everything is as FILES have it, and change it (docs/guide/access-files.md)."""
    from pyconnector.connector.cli.access.apply.command import apply

    exit_with(lambda: apply(context, files, given))


#: The reference's other name of the group.
forward_group = _AccessGroup("forward", commands=access_group.commands, help=access_group.help, hidden=True)
