"""`pyconnector tail`: prints the log of a connector elsewhere until a signal."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
from typing import TYPE_CHECKING, Any

from pyconnector.connector.cli.exits import CLEAN
from pyconnector.connector.cli.tail.client import LogReader, TailFailed
from pyconnector.connector.observe.log import escape

if TYPE_CHECKING:
    from pyconnector.connector.cli.tail.client import Wanted


def tail(wanted: Wanted, *, as_json: bool) -> int:
    """Print lines on standard output until a signal, or until the far end ends; return the exit code.

    Raises:
        TailFailed: there is no log to be read, or no more.
    """
    return asyncio.run(_tail(wanted, as_json=as_json))


async def _tail(wanted: Wanted, *, as_json: bool) -> int:
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # Windows: the default action will do
            loop.add_signal_handler(number, asked.set)
    reader = LogReader(wanted)
    printing = asyncio.ensure_future(_print(reader, as_json=as_json))
    asking = asyncio.ensure_future(asked.wait())
    try:
        await asyncio.wait((printing, asking), return_when=asyncio.FIRST_COMPLETED)
        if printing.done():
            printing.result()
        return CLEAN
    finally:
        for task in (printing, asking):
            task.cancel()
        await asyncio.gather(printing, asking, return_exceptions=True)
        await reader.close()


async def _print(reader: LogReader, *, as_json: bool) -> None:
    await reader.open()
    async for line in reader.lines():
        text = json.dumps(line, ensure_ascii=False) if as_json else line_text(line)
        try:
            print(text, flush=True)  # noqa: T201 - what the command is for
        except BrokenPipeError:
            sys.stdout = None  # else the interpreter tries again at its end
            return


def line_text(line: dict[str, Any]) -> str:
    """Write one line as the reference does: time, level, event, message, fields. What is left out has its zero."""
    told = [str(line.get("time", "")), str(line.get("level", "debug")), str(line.get("event", "cloudflared"))]
    values = json.dumps(line.get("fields"), ensure_ascii=False)
    return escape(" ".join([*told, str(line.get("message", "")), values]))


__all__ = ["TailFailed", "line_text", "tail"]
