"""`python -m pyconnector` as a process of its own, its output read line by line."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
#: Seconds for a line to appear, or for the process to end.
PATIENCE = 60.0


class Process:
    """A running command."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.lines: list[str] = []
        self._news = asyncio.Event()
        self._readers = [
            asyncio.create_task(self._read(stream)) for stream in (process.stdout, process.stderr) if stream is not None
        ]

    async def _read(self, stream: asyncio.StreamReader) -> None:
        while line := await stream.readline():
            self.lines.append(line.decode().rstrip("\n"))
            self._news.set()
        self._news.set()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    async def line(self, text: str) -> str:
        """Wait for a line that has `text` in it, and return it."""
        async with asyncio.timeout(PATIENCE):
            while True:
                for line in self.lines:
                    if text in line:
                        return line
                assert not all(reader.done() for reader in self._readers), f"it ended without {text!r}: {self.text}"
                self._news.clear()
                await self._news.wait()

    def send_signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def code(self) -> int:
        """Wait for its end, and return the exit code."""
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*self._readers)
            return await self._process.wait()

    async def close(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
        await asyncio.gather(*self._readers)
        self._process._transport.close()  # type: ignore[attr-defined]


@contextlib.asynccontextmanager
async def pyconnector(*arguments: object, **environment: str) -> AsyncIterator[Process]:
    """Run a command for the block; kill it where it still runs in the end."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("TUNNEL_", "PYCONNECTOR_"))}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "pyconnector",
        *map(str, arguments),
        cwd=ROOT,
        env=clean | environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    running = Process(process)
    try:
        yield running
    finally:
        await running.close()
