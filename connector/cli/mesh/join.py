"""`pyconnector mesh join URL`: a local proxy to the private network behind an edge's gateway."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from pyconnector.agent.client import Mesh, MeshError
from pyconnector.agent.proxy import LocalProxy
from pyconnector.agent.split import Includes
from pyconnector.agent.token_file import TokenError, read_token
from pyconnector.connector.api.errors import ConfigError, StartFailed
from pyconnector.connector.cli.exits import CLEAN
from pyconnector.connector.cli.loops import run_loop
from pyconnector.connector.cli.service import Signals
from pyconnector.connector.config import LogConfig, Problem
from pyconnector.connector.observe.log import LogSetup
from pyconnector.edge.cli_settings import parse_address
from pyconnector.edge.settings import SettingsError, host_port_text

if TYPE_CHECKING:
    from collections.abc import Mapping


def run_join(given: Mapping[str, Any]) -> int:
    """Serve the local proxy until a signal; return the exit code.

    Raises:
        ConfigError: URL, token or authority cannot be used.
        StartFailed: the address is taken.
    """
    try:
        host, port = parse_address(given["listen"], "--listen")
        mesh = Mesh(
            given["url"],
            read_token(given["token_file"]),
            ca_file=given["cacert"],
            virtual_network=given["virtual_network"],
        )
        includes = Includes(given["include"])
    except (SettingsError, TokenError, MeshError, ValueError) as error:
        raise ConfigError([Problem(message=str(error))]) from error
    setup = LogSetup(LogConfig(level=given["loglevel"]))
    try:
        return run_loop(lambda: _serve(mesh, includes, host, port))
    finally:
        setup.close()


async def _serve(mesh: Mesh, includes: Includes, host: str, port: int) -> int:
    signals = Signals()
    with signals.installed():
        proxy = LocalProxy(mesh, includes)
        try:
            where = host_port_text(await proxy.start(host, port))
            click.echo(f"proxy: socks5h://{where} and http://{where}")
            await signals.stop.wait()
        except (OSError, ValueError) as error:
            raise StartFailed(f"--listen {host_port_text((host, port))}: {error}") from error
        finally:
            await proxy.close()
            await mesh.close()
    return CLEAN
