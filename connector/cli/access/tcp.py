"""`pyconnector access tcp`: ports of this machine, or standard input and output, that lead to a service."""

from __future__ import annotations

import asyncio
import ipaddress
from typing import TYPE_CHECKING, Any

import click

from pyconnector.agent.access.dial import Dialer
from pyconnector.agent.access.errors import AccessError
from pyconnector.agent.access.forward import Forward
from pyconnector.agent.access.standard_streams import StandardStreams
from pyconnector.agent.carry import join
from pyconnector.connector.api.errors import StartFailed
from pyconnector.connector.cli.access.given import credentials_of, place_of, proxy_for, refused
from pyconnector.connector.cli.access.tokens import login_for, user_agent
from pyconnector.connector.cli.exits import CLEAN, FAILED, reason_of
from pyconnector.connector.cli.loops import run_loop
from pyconnector.connector.cli.service import Signals
from pyconnector.connector.config import LogConfig
from pyconnector.connector.observe.log import Log, LogSetup
from pyconnector.edge.cli_settings import parse_address
from pyconnector.edge.settings import SettingsError, host_port_text

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from pyconnector.agent.access.place import Place
    from pyconnector.edge.settings import HostPort

_log = Log("access")


def run_tcp(given: Mapping[str, Any]) -> int:
    """Carry until a signal, or until the one connection of standard input and output ends; return the exit code.

    Raises:
        ConfigError: the arguments make no sense.
        StartFailed: an address is taken, or the log file cannot be opened.
    """
    hostnames, urls = given["hostnames"], given["urls"] or (given["listen"],) * bool(given["listen"])
    if not hostnames:
        raise refused("--hostname is missing: name the application, such as db.example.com")
    if len(hostnames) != max(len(urls), 1):
        raise refused(f"{len(hostnames)} --hostname and {len(urls)} --url: each forward needs one of both")
    destinations = given["destinations"] or ("",)
    if len(destinations) == 1:
        destinations *= len(hostnames)
    if len(destinations) != len(hostnames):
        raise refused(f"{len(destinations)} --destination for {len(hostnames)} --hostname: give one, or one each")
    places = [place_of(hostname, given) for hostname in hostnames]
    credentials = [credentials_of(given, each, given["headers"]) for each in destinations]
    listen = [listen_address(url) for url in urls]
    setup = LogSetup(LogConfig(level=given["loglevel"], file=given["logfile"], directory=given["log_directory"]))
    try:
        if given["on_command_line"]:
            _log.warning("Every user of this machine can read arguments: put the secret into "
                         "TUNNEL_SERVICE_TOKEN_SECRET or a --service-token-file")  # fmt: skip
        if any(not place.verify for place in places) and given["cacert"] is None:
            _log.warning("--connect-to with three parts takes any certificate; --cacert names whom to trust")
        try:
            dialers = [
                Dialer(
                    place,
                    shown,
                    ca_file=given["cacert"],
                    user_agent=user_agent(),
                    log_in=_kept_token(place, given),
                    proxy=proxy_for(place),
                )
                for place, shown in zip(places, credentials, strict=True)
            ]
        except AccessError as error:
            raise refused(error) from error
        if listen:
            return run_loop(lambda: _serve(dialers, listen))
        return run_loop(lambda: _carry(dialers[0]))
    finally:
        setup.close()


def listen_address(text: str) -> HostPort:
    """Read HOST:PORT, perhaps behind a scheme; a number alone is a port of loopback.

    Raises:
        ConfigError: it is none.
    """
    where = text.partition("://")[2] or text
    where = where.removesuffix("/")
    if where.isascii() and where.isdigit():
        where = f"127.0.0.1:{where}"
    try:
        return parse_address(where, "--url")
    except SettingsError as error:
        raise refused(error) from error


def _kept_token(place: Place, given: Mapping[str, Any]) -> Callable[[bool], Awaitable[str]]:
    """Return what gives the token of an earlier login, for an edge that asks for one."""

    def find(was_refused: bool) -> str:
        login = login_for(place, given)
        application, token = login.find(place)
        if was_refused:
            login.store.drop(application)
        if was_refused or not token:
            raise AccessError(
                f"{place.host}: somebody must be known: run `pyconnector access login {place.url}`, or set "
                "TUNNEL_SERVICE_TOKEN_ID and TUNNEL_SERVICE_TOKEN_SECRET"
            )
        return token

    return lambda was_refused: asyncio.to_thread(find, was_refused)


async def _serve(dialers: list[Dialer], listen: list[HostPort]) -> int:
    signals = Signals()
    forwards: list[Forward] = []
    with signals.installed():
        try:
            for dialer, (host, port) in zip(dialers, listen, strict=True):
                forward = Forward(dialer)
                forwards.append(forward)
                try:
                    where = await forward.start(host, port)
                except OSError as error:
                    raise StartFailed(f"--url {host_port_text((host, port))}: {reason_of(error)}") from error
                if not ipaddress.ip_address(where[0].partition("%")[0]).is_loopback:
                    _log.warning("Whoever reaches %s uses what is shown here", host_port_text(where))
                click.echo(f"{host_port_text(where)} leads to {dialer.place.host}", err=True)
            await signals.stop.wait()
        finally:
            for forward in forwards:
                await forward.close()
    return CLEAN


async def _carry(dialer: Dialer) -> int:
    """Standard output belongs to the service alone: what is to be said goes to standard error."""
    signals = Signals()
    with signals.installed():
        carrying = asyncio.create_task(_carry_streams(dialer), name="access for standard input and output")
        stopping = asyncio.create_task(signals.stop.wait(), name="access until a signal")
        await asyncio.wait((carrying, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not carrying.done():
            carrying.cancel()
            await asyncio.wait((carrying,))
            return CLEAN
        return carrying.result()


async def _carry_streams(dialer: Dialer) -> int:
    try:
        await join(StandardStreams(), await dialer.open())
    except AccessError as error:
        raise StartFailed(str(error)) from error
    except BrokenPipeError:
        return FAILED
    except OSError as error:
        raise StartFailed(f"standard input or output: {error.strerror or error}") from error
    return CLEAN
