"""How many system calls a process makes for each unit of work, counted by strace where it is installed."""

from __future__ import annotations

import asyncio
import shutil
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

#: Seconds that strace has to attach, and to write its table.
PATIENCE = 10.0


async def calls_per_unit(pid: int, work: Callable[[], Awaitable[dict[str, Any]]]) -> float | None:
    """Do `work`, whose figures have a `count`, while the calls of `pid` and of its children are counted.

    None where strace is missing or may not attach. Cancel detaches it.
    """
    program = shutil.which("strace")
    if program is None:
        return None
    with tempfile.TemporaryDirectory(prefix="pyconnector-bench-") as folder:
        table = Path(folder) / "calls"
        process = await asyncio.create_subprocess_exec(
            program, "-c", "-f", "-U", "calls,name", "-o", str(table), "-p", str(pid), stderr=asyncio.subprocess.PIPE
        )
        try:
            assert process.stderr is not None
            said = await asyncio.wait_for(process.stderr.readline(), PATIENCE)
            if b"attached" not in said:
                return None
            figures = await work()
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGINT)
            await asyncio.wait_for(process.wait(), PATIENCE)
        return total(table.read_text()) / max(1, int(figures["count"]))


def total(table: str) -> int:
    """The last line of strace's table is the sum."""
    return next(int(line.split()[0]) for line in reversed(table.splitlines()) if line.endswith("total"))
