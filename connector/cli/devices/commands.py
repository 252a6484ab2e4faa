"""The commands and their arguments. What they do is in `devices`."""

from __future__ import annotations

from typing import Any

import click

from pyconnector.connector.cli.account.command import Account, command, show_help
from pyconnector.connector.cli.account.errors import WrongUsage

_TOKEN_FILE = click.option(
    "--api-token-file", "token_file", envvar="PYCONNECTOR_API_TOKEN_FILE", metavar="FILE",
    help="An API token with the scope access:edit, which that of cert.pem lacks.",
)  # fmt: skip


@click.group("device", invoke_without_command=True)
@click.pass_context
def device_group(context: click.Context) -> None:
    """Phones and laptops that come over WireGuard.

    They are the devices of a mesh: see docs/private-network.md.
    """
    show_help(context)


@command(
    device_group, "add",
    click.option("--token", metavar="TOKEN", help="The service token whose rules hold for it, by name or id."),
    click.option("--endpoint", metavar="HOST", help="Where the device reaches the edge: a name or an address."),
    click.option("--network", "networks", multiple=True, metavar="NETWORK",
                 help="What it sends through the tunnel. Repeatable. [default: every route's network]"),
    click.option("--file", "path", metavar="FILE", type=click.Path(), help="Write the configuration there, mode 0600."),
    click.option("--no-dns", is_flag=True, help="Leave the device its resolver: no private names."),
    click.option("--qr", is_flag=True, help="Show a QR code too, for the apps of phones."),
    _TOKEN_FILE,
)  # fmt: skip
def add_command(context: click.Context, /, words: tuple[str, ...], **given: Any) -> None:
    """Add device NAME, and print the configuration for its WireGuard.

    Its private key is made here and is in that configuration alone: it is shown once.
    """
    from pyconnector.connector.cli.devices import devices

    if len(words) != 1 or not given["token"] or not given["endpoint"]:
        raise WrongUsage("mesh device add", "give NAME, --token TOKEN and --endpoint HOST.")
    wish = devices.Wish(
        name=words[0], token=given["token"], endpoint=given["endpoint"], networks=given["networks"],
        has_dns=not given["no_dns"], path=given["path"], qr=given["qr"],
    )  # fmt: skip
    devices.add(_client(context, given), wish, form=given["form"])


@command(device_group, "list", _TOKEN_FILE)
def list_command(context: click.Context, /, words: tuple[str, ...], **given: Any) -> None:
    """List devices with their Mesh addresses.

    Those of service tokens are listed too.
    """
    from pyconnector.connector.cli.devices import devices

    if words:
        raise WrongUsage("mesh device list", "it takes no arguments.")
    devices.show(_client(context, given), form=given["form"])


@command(device_group, "delete", _TOKEN_FILE)
def delete_command(context: click.Context, /, words: tuple[str, ...], **given: Any) -> None:
    """Delete a device, by name or id.

    What it has running ends, and its port is closed.
    """
    from pyconnector.connector.cli.devices import devices

    devices.delete(_client(context, given), _one(words, "delete"), form=given["form"])


@command(device_group, "revoke", _TOKEN_FILE)
def revoke_command(context: click.Context, /, words: tuple[str, ...], **given: Any) -> None:
    """Let a device, by name or id, reach nothing more.

    What it has running ends.
    """
    from pyconnector.connector.cli.devices import devices

    devices.set_revoked(_client(context, given), _one(words, "revoke"), revoked=True, form=given["form"])


@command(device_group, "unrevoke", _TOKEN_FILE)
def unrevoke_command(context: click.Context, /, words: tuple[str, ...], **given: Any) -> None:
    """Let a device in again."""
    from pyconnector.connector.cli.devices import devices

    devices.set_revoked(_client(context, given), _one(words, "unrevoke"), revoked=False, form=given["form"])


def _one(words: tuple[str, ...], name: str) -> str:
    if len(words) != 1:
        raise WrongUsage(f"mesh device {name}", "give one device, by name or id.")
    return words[0]


def _client(context: click.Context, given: dict[str, Any]) -> Any:
    from pyconnector.connector.cli.grant.granting import client_of

    return client_of(Account(context, given).client, given["token_file"])
