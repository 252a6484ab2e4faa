"""`pyconnector run`: config, log, event loop, and a Connector until a signal ends it."""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from typing import IO, TYPE_CHECKING, Any, Protocol, cast
from uuid import UUID

import click

from pyconnector.connector.api.errors import ConnectorError, StartFailed
from pyconnector.connector.cli.exits import FAILED
from pyconnector.connector.cli.log_names import LOG_NAMES
from pyconnector.connector.cli.loops import run_loop
from pyconnector.connector.cli.options import overrides_of
from pyconnector.connector.cli.service import serve
from pyconnector.connector.config import ConnectorConfig, Credentials, find_config, load_config
from pyconnector.connector.config.flags import FLAGS
from pyconnector.connector.observe.log import MASK, Log, LogSetup, fields
from pyconnector.connector.observe.server.metrics_server import DEFAULT_ADDRESS
from pyconnector.connector.version import version

if TYPE_CHECKING:
    from pyconnector.connector.cli.process.progress import ProgressLine
    from pyconnector.connector.config import LogConfig
    from pyconnector.connector.observe.observer import Observer

_log = Log("service")


class Occasion(Protocol):
    """A run with credentials made for the moment: `LocalRun`, `QuickRun`."""

    @property
    def credentials(self) -> Credentials:
        """The credentials."""

    async def serve(
        self,
        config: ConnectorConfig,
        read_config: Callable[[], ConnectorConfig],
        *,
        observers: Sequence[Observer] = (),
    ) -> int:
        """As `connector.cli.service.serve`. Cancel stops at once."""


def run(path: str | None, given: Mapping[str, Any], *, tunnel: str | None = None, quick: bool = False) -> int:
    """Run until a signal; return the exit code. `given` are the parameters of the command.

    A `quick` tunnel takes no config file but one that is named: those in the usual places are of lasting tunnels.

    Raises:
        ConfigError: bad config or flags.
        StartFailed: a log file cannot be opened, or there is no quick tunnel to be had.
    """
    path = path or (None if quick else find_config())
    overrides = overrides_of(given)

    def read_config(credentials: Credentials | None = None) -> ConnectorConfig:
        config = load_config(
            path,
            overrides,
            allow_unknown_keys=bool(given.get("allow_unknown_keys")),
            credentials=credentials,
            tunnel=tunnel,
            environ=os.environ,
        )
        config = replace(config, log=replace(config.log, name=_program_name()))
        return config if config.metrics is not None else replace(config, metrics=DEFAULT_ADDRESS)

    main: Callable[..., Coroutine[Any, Any, int]]
    progress: ProgressLine | None = None
    occasion = _occasion(given, read_config, quick=quick)
    if occasion is not None:
        credentials = occasion.credentials

        def read_again() -> ConnectorConfig:
            return read_config(credentials)

        config = read_again()
        main = functools.partial(occasion.serve, config, read_again)
    else:
        config = read_config()
        progress = _progress(config)
        main = functools.partial(serve, config, read_config, progress=progress)
    with contextlib.ExitStack() as stack:
        stack.callback(LogSetup(config.log, cast("IO[str] | None", progress)).close)
        observers = observers_of(config, stack)
        try:
            _say_settings(config, overrides)
            return run_loop(functools.partial(main, observers=observers))
        except ConnectorError as error:
            _log.critical("%s", error)
            return FAILED


def _program_name() -> str:
    """Name of the log file in a folder: that of the reference where this is started under its name."""
    context = click.get_current_context(silent=True)
    started_as = context.find_root().info_name if context is not None else ""
    return started_as if started_as in LOG_NAMES else LOG_NAMES[0]


def _progress(config: ConnectorConfig) -> ProgressLine | None:
    """Return a line for the terminal, where there is one that a person reads."""
    if config.log.output != "default" or sys.stderr is None or not sys.stderr.isatty():
        return None
    from pyconnector.connector.cli.process.progress import ProgressLine

    return ProgressLine(sys.stderr)


def _occasion(
    given: Mapping[str, Any], read_config: Callable[[Credentials], ConnectorConfig], *, quick: bool
) -> Occasion | None:
    # Each is loaded where it is used.
    if quick:
        from pyconnector.connector.cli.quick import QuickRun

        # Errors are told before a tunnel is asked for, which nobody would use.
        read_config(Credentials(account_tag="quick", tunnel_id=UUID(int=0), secret=b"-"))
        return QuickRun.make(given)
    if given.get("local"):
        from pyconnector.connector.cli.local import LocalRun

        return LocalRun.make(given.get("local_visitors") or "127.0.0.1:0")
    return None


def observers_of(config: ConnectorConfig, stack: contextlib.ExitStack) -> tuple[Observer, ...]:
    """Return who is to be told of requests, as `config` says; `stack` closes them.

    Raises:
        StartFailed: one of them cannot be had.
    """
    observers = _access_log(config.log, stack) if config.log.access else ()
    if not config.trace_to or config.workers > 1:  # each worker has its own
        return observers
    return (*observers, _tracing(config.trace_to, stack))


def _tracing(url: str, stack: contextlib.ExitStack) -> Observer:
    try:
        from pyconnector.connector.observe.tracing import open_tracing  # for those who want it
    except ImportError as error:
        raise StartFailed(f"trace-to needs the extra `otel`: pip install 'pyconnector[otel]' ({error})") from error

    tracing = open_tracing(url)
    stack.callback(tracing.close)
    return tracing


def _access_log(config: LogConfig, stack: contextlib.ExitStack) -> tuple[Observer, ...]:
    from pyconnector.connector.observe.access_log import AccessLog  # for those who want one
    from pyconnector.connector.observe.access_log_output import open_access_log

    handler = open_access_log(config)
    if handler is None:
        return ()
    stack.callback(handler.close)
    return (AccessLog(handler),)


def _shown(name: str, value: object) -> object:
    if FLAGS[name].secret:
        return MASK
    return ",".join(value) if isinstance(value, tuple) else value


def _say_settings(config: ConnectorConfig, overrides: Mapping[str, Any]) -> None:
    _log.info(
        "Starting pyconnector %s", version(),
        **fields(python=platform.python_version(), os=platform.system(), config=config.file or "none"),
    )  # fmt: skip
    if overrides:
        shown = {name: _shown(name, value) for name, value in sorted(overrides.items())}
        _log.info("Settings", extra={"fields": shown})
    for problem in config.warnings:
        _log.warning("%s", problem)
    if _on_command_line("token", overrides):
        _log.warning("--token can be read by every user of this machine; give TUNNEL_TOKEN or --token-file")
    if config.edge.proxy is not None and config.edge.proxy.password and _on_command_line("edge-proxy", overrides):
        _log.warning("--edge-proxy can be read by every user of this machine; give PYCONNECTOR_EDGE_PROXY")


def _on_command_line(flag: str, overrides: Mapping[str, Any]) -> bool:
    context = click.get_current_context(silent=True)
    if not overrides.get(flag) or context is None:
        return False
    return context.get_parameter_source(flag.replace("-", "_")) is click.core.ParameterSource.COMMANDLINE
