"""Where one-time PINs go: into the log, a file, or a program of the operator's, which sends them on."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shlex
from dataclasses import dataclass, field
from typing import Literal, Protocol

from pyconnector.edge.tasks import TaskSet

#: Seconds that a program may take for one PIN, programs at once, and PINs that wait for one.
COMMAND_SECONDS, MAX_COMMANDS, MAX_WAITING = 10.0, 4, 100

_log = logging.getLogger("pyconnector.edge.login")


class SinkError(ValueError):
    """PINs cannot go there. The text is one sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PinMessage:
    """A PIN and whom it is for."""

    email: str
    pin: str = field(repr=False)
    application: str
    seconds: int

    def as_json(self) -> bytes:
        """Return it as one line."""
        told = {"email": self.email, "pin": self.pin, "application": self.application, "valid_seconds": self.seconds}
        return json.dumps(told).encode("ascii") + b"\n"


@dataclass(frozen=True, slots=True)
class PinSettings:
    """Where PINs go."""

    kind: Literal["log", "file", "command"]
    target: tuple[str, ...] = ()
    "The path of the file, or the words of the command."


class PinSink(Protocol):
    """Takes PINs, and never makes anybody wait."""

    def send(self, message: PinMessage) -> None:
        """Send a PIN on its way. Whether it arrives, nobody is told: that would say who is known here."""

    async def close(self) -> None:
        """Give up what is under way. Idempotent. Cancel leaves some of it."""


def pin_settings(text: str) -> PinSettings | None:
    """Return what `log`, `file:PATH` or `command:PROGRAM ARGUMENTS` says; None for an empty text.

    Raises:
        SinkError: it is none of them.
    """
    kind, _, target = text.partition(":")
    if not text:
        return None
    if text == "log":
        return PinSettings("log")
    if kind == "file" and target:
        return PinSettings("file", (target,))
    if kind == "command":
        try:
            words = tuple(shlex.split(target))
        except ValueError:
            words = ()
        if words:
            return PinSettings("command", words)
    raise SinkError("PINs go to log, file:PATH or command:PROGRAM ARGUMENTS")


def open_sink(settings: PinSettings) -> PinSink:
    """Return the sink of settings."""
    if settings.kind == "log":
        return LogSink()
    return FileSink(settings.target[0]) if settings.kind == "file" else CommandSink(settings.target)


class LogSink:
    """Into the edge's own log: for trying things out, and for where the log is as secret as the PINs."""

    def send(self, message: PinMessage) -> None:
        """See `PinSink.send`."""
        minutes = message.seconds // 60
        _log.warning("One-time PIN for %s: %s (for %d minutes)", message.email, message.pin, minutes)

    async def close(self) -> None:
        """See `PinSink.close`. Cancel changes nothing."""


class FileSink:
    """A line of JSON each, at the end of a file for its owner alone."""

    def __init__(self, path: str) -> None:
        self._path = path

    def send(self, message: PinMessage) -> None:
        """See `PinSink.send`."""
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.write(descriptor, message.as_json())
            finally:
                os.close(descriptor)
        except OSError as error:
            _log.error("A one-time PIN could not be written: %s", error.strerror or error)

    async def close(self) -> None:
        """See `PinSink.close`. Cancel changes nothing."""


class CommandSink:
    """A program for each PIN, which gets it as JSON on its standard input: arguments are seen by everybody."""

    def __init__(self, command: tuple[str, ...]) -> None:
        self._command = command
        self._tasks = TaskSet()
        self._turn = asyncio.Semaphore(MAX_COMMANDS)

    def send(self, message: PinMessage) -> None:
        """See `PinSink.send`."""
        if len(self._tasks) >= MAX_WAITING:
            _log.error("A one-time PIN was dropped: %d wait for the command already", MAX_WAITING)
            return
        self._tasks.start(self._run(message), "one-time PIN")

    async def close(self) -> None:
        """See `PinSink.close`. Cancel leaves some of it."""
        await self._tasks.cancel_all()

    async def _run(self, message: PinMessage) -> None:
        async with self._turn:
            try:
                process = await asyncio.create_subprocess_exec(
                    *self._command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL
                )
            except OSError as error:
                _log.error("The command for one-time PINs cannot be run: %s", error.strerror or error)
                return
            try:
                async with asyncio.timeout(COMMAND_SECONDS):
                    await process.communicate(message.as_json())
            except TimeoutError:
                _log.error("The command for one-time PINs took longer than %g s", COMMAND_SECONDS)
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
            if process.returncode:
                _log.error("The command for one-time PINs ended with %d", process.returncode)
