"""The standard streams as a process may be handed them: closed, full, or in a narrow encoding."""

from __future__ import annotations

import io
import os
import sys
from typing import TextIO, cast


def open_standard_streams() -> None:
    """Put the null device where a standard stream is closed, as supervisors and cron leave them.

    Else the next file or socket that is opened becomes descriptor 0, 1 or 2, and whatever is written to the stream
    goes there. Called before anything else is opened.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free, which is this one
    if sys.stdin is None:
        sys.stdin = _stream(0, "r")
    if sys.stdout is None:
        sys.stdout = _stream(1, "w")
    if sys.stderr is None:
        sys.stderr = _stream(2, "w")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # better an escape than a traceback


def as_text(argument: str) -> str:
    """Return an argument of the command line as the UTF-8 it was meant to be, whatever the locale made of it."""
    try:
        return os.fsencode(argument).decode()
    except UnicodeError:
        return argument


def _stream(number: int, mode: str) -> TextIO:
    return cast("TextIO", open(number, mode, encoding="utf-8", errors="backslashreplace", closefd=False))


def has_screen() -> bool:
    """Whether a browser can be opened; elsewhere the programs that are tried only complain."""
    return sys.platform in {"darwin", "win32"} or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
