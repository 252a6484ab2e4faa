"""`--stdin-control`: commands for a running connector on its standard input, for tests (reference/lifecycle.md 5.7)."""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING

from pyconnector.connector.observe.log import Log, escape
from pyconnector.ingress.config.durations import parse_duration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: Bytes of one command.
MAX_LINE = 256
_HELP = "Commands: reconnect [DURATION] breaks one connection off and makes it again after that time; help"

_log = Log("service")


@contextlib.contextmanager
def commands_from(descriptor: int, reconnect: Callable[[float], bool]) -> Iterator[None]:
    """Obey the commands that come on `descriptor`, for as long as the block lasts."""
    loop = asyncio.get_running_loop()
    reader = _Commands(reconnect)

    def readable() -> None:
        # One read of what is there: it does not wait, and nothing about the descriptor has to be changed for it.
        try:
            data = os.read(descriptor, MAX_LINE)
        except OSError:
            data = b""
        if not data:
            loop.remove_reader(descriptor)
        reader.feed(data)

    try:
        loop.add_reader(descriptor, readable)
    except (OSError, ValueError, NotImplementedError) as error:  # a file, or Windows
        _log.warning("No commands are taken from standard input: %s", error)
        yield
        return
    try:
        yield
    finally:
        loop.remove_reader(descriptor)


class _Commands:
    def __init__(self, reconnect: Callable[[float], bool]) -> None:
        self._reconnect = reconnect
        self._data = b""
        self._too_long = False

    def feed(self, data: bytes) -> None:
        """Take what was typed; obey every line that is whole."""
        *lines, self._data = (self._data + data).split(b"\n")
        for line in lines:
            if len(line) > MAX_LINE:
                self._complain()
            elif not self._too_long:
                self._obey(line.decode("utf-8", "replace"))
            self._too_long = False
        if len(self._data) > MAX_LINE:
            self._data, self._too_long = b"", True
            self._complain()

    def _complain(self) -> None:
        _log.warning("A command is longer than %d bytes", MAX_LINE)

    def _obey(self, line: str) -> None:
        words = line.split()
        if not words:
            return
        if words[0] != "reconnect" or len(words) > 2:
            if words != ["help"]:
                _log.warning("There is no such command: %s", escape(line))
            _log.info("%s", _HELP)
            return
        try:
            delay = parse_duration(words[1]) if len(words) == 2 else 0.0
            if delay < 0:
                raise ValueError("it is negative")
        except ValueError as error:
            _log.warning("The duration of this command cannot be read: %s", error)
            return
        if not self._reconnect(delay):
            _log.warning("There is no connection to be made again")
