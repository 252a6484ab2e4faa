"""`pyconnector mesh join`, `status` and `leave`: a local proxy to the private network behind an edge's gateway."""

from __future__ import annotations

import datetime
import json
import os
from typing import TYPE_CHECKING, Any

import click

from pyconnector.agent.client import Mesh
from pyconnector.agent.errors import MeshError
from pyconnector.agent.interface.device import TunError
from pyconnector.agent.interface.interface import Interface
from pyconnector.agent.proxy import LocalProxy
from pyconnector.agent.split import Includes
from pyconnector.agent.status import LEAVE, STATUS, StatusError, StatusSocket, find_joined
from pyconnector.agent.token_file import TokenError, read_token
from pyconnector.connector.api.errors import ConfigError, StartFailed
from pyconnector.connector.cli.exits import CLEAN, FAILED, reason_of
from pyconnector.connector.cli.loops import run_loop
from pyconnector.connector.cli.service import Signals
from pyconnector.connector.config import LogConfig, Problem
from pyconnector.connector.observe.log import Log, LogSetup
from pyconnector.edge.cli_settings import parse_address
from pyconnector.edge.settings import SettingsError, host_port_text
from pyconnector.web.host_port import join_host_port, port_number

if TYPE_CHECKING:
    from collections.abc import Mapping

_log = Log("agent")


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
            proxy=given["proxy"],
            protocol=_protocol(given),
        )
        includes = Includes(given["include"])
        if given["tun"] and given["no_http2"]:
            raise ValueError("--tun needs one connection to the gateway, which --no-http2 forbids")
    except (SettingsError, TokenError, MeshError, ValueError) as error:
        raise ConfigError([Problem(message=str(error))]) from error
    setup = LogSetup(LogConfig(level=given["loglevel"]))
    try:
        return run_loop(lambda: _serve(mesh, includes, (host, port), tun=given["tun"]))
    finally:
        setup.close()


def _protocol(given: Mapping[str, Any]) -> str:
    if not given["no_http2"]:
        return str(given["protocol"])
    if given["protocol"] != "auto":
        raise ValueError("--no-http2 is a connection for each flow: --protocol has nothing to choose then")
    return "http1.1"


async def _serve(mesh: Mesh, includes: Includes, listen: tuple[str, int], *, tun: bool) -> int:
    signals = Signals()
    interface = _interface(mesh, includes) if tun else None
    proxy = LocalProxy(mesh, includes)
    begun = datetime.datetime.now(datetime.UTC)

    async def status() -> dict[str, Any]:
        return {
            "gateway": join_host_port(mesh.host, mesh.port), "gateway_error": await mesh.probe(),
            "protocol": mesh.protocol, "protocol_note": mesh.protocol_note, "client_id": mesh.client_id,
            "since": begun.isoformat(timespec="seconds"), "process": os.getpid(), "include": list(includes.texts),
            **proxy.status(), **(interface.status() if interface is not None else {}),
        }  # fmt: skip

    answers = StatusSocket(status, signals.stop.set)
    with signals.installed():
        try:
            bound = await proxy.start(*listen)
            where = host_port_text(bound)
            try:
                await answers.start(bound[1])
            except OSError as error:
                _log.warning("`mesh status` and `mesh leave` will not find this: %s", error.strerror or error)
            click.echo(f"proxy: socks5h://{where} and http://{where}")
            if interface is not None:
                await interface.start()
                click.echo(f"interface: {interface.name}")
            if why := await mesh.probe():
                _log.warning("%s; connections are tried all the same", why)
            await signals.stop.wait()
        except (OSError, ValueError) as error:
            reason = reason_of(error) if isinstance(error, OSError) else error
            raise StartFailed(f"--listen {host_port_text(listen)}: {reason}") from error
        except TunError as error:
            raise StartFailed(f"--tun: {error}") from error
        finally:
            if interface is not None:
                await interface.close()
            await answers.close()
            await proxy.close()
            await mesh.close()
    return CLEAN


def _interface(mesh: Mesh, includes: Includes) -> Interface:
    try:
        return Interface(mesh, includes)
    except TunError as error:
        raise StartFailed(f"--tun: {error}") from error


def show_status(listen: str, *, as_json: bool) -> int:
    """Say how the running `mesh join` is; return the exit code: 1 where its gateway cannot be reached.

    Raises:
        StartFailed: none is running, or several are and none is named.
    """
    status = _ask(listen, STATUS)
    if as_json:
        click.echo(json.dumps(status))
    else:
        click.echo("\n".join(f"{name + ':':<12}{text}" for name, text in _lines(status) if text))
    return FAILED if status.get("gateway_error") else CLEAN


def leave(listen: str) -> int:
    """End the running `mesh join`; return the exit code.

    Raises:
        StartFailed: none is running, or several are and none is named.
    """
    _ask(listen, LEAVE)
    click.echo("left")
    return CLEAN


def _ask(listen: str, question: str) -> dict[str, Any]:
    found = find_joined()
    if listen:
        port = port_number(listen.rpartition(":")[2])
        found = [joined for joined in found if joined.port == port]
    if not found:
        raise StartFailed("no mesh join of this user is running" + (f" at {listen}" if listen else ""))
    if len(found) > 1:
        ports = ", ".join(str(joined.port) for joined in found)
        raise StartFailed(f"several are running: name one with --listen ({ports})")
    try:
        return found[0].ask(question)
    except StatusError as error:
        raise StartFailed(str(error)) from error


def _interface_text(status: Mapping[str, Any]) -> str:
    if "interface" not in status:
        return ""
    now = " and ".join(status["interface_addresses"]) or "not connected"
    error = f" ({status['interface_error']})" if status["interface_error"] else ""
    packets = f"{status['packets_sent']} packets sent, {status['packets_received']} received"
    return f"{status['interface']}: {now}{error}; {packets}"


def _lines(status: Mapping[str, Any]) -> list[tuple[str, str]]:
    said = {name: str(value) for name, value in status.items()}
    counts = f"{said['opened']} through the gateway, {said['direct']} directly, {said['failed']} failed"
    return [
        ("gateway", said["gateway"]),
        ("", said["gateway_error"]),
        ("over", said["protocol"] or "nothing yet"),
        ("", f"no QUIC: {said['protocol_note']}" if said["protocol_note"] else ""),
        ("as", said["client_id"]),
        ("proxy", f"socks5h://{said['proxy']} and http://{said['proxy']}"),
        ("interface", _interface_text(status)),
        ("include", ", ".join(status["include"]) or "everything"),
        ("since", f"{said['since']} (process {said['process']})"),
        ("now", f"{said['connections']} connections"),
        ("so far", f"{counts}; {said['bytes_sent']} bytes sent, {said['bytes_received']} received"),
        ("last error", said["last_error"]),
    ]
