"""Origin, edge and connector under test, each in its process, put together for one subject."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.figures.process import cpu_seconds, resident_bytes, tree_cpu_seconds
from bench.figures.system_calls import calls_per_unit
from bench.house.subject import Running, Subject, write_files

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

#: Seconds that one command to the edge process may take.
COMMAND_TIMEOUT = 300.0
ROOT = Path(__file__).resolve().parents[2]


class Child:
    """A helper process that speaks JSON lines."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.pid = process.pid

    @classmethod
    async def start(cls, module: str, *arguments: str) -> tuple[Child, dict[str, Any]]:
        """Start `python -m module` and return it with the first line it prints."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", module, *arguments, cwd=ROOT, stdin=-1, stdout=-1, limit=1 << 20
        )
        child = cls(process)
        return child, await child._line()

    async def ask(self, **command: Any) -> dict[str, Any]:
        """Send one command and return its answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command).encode() + b"\n")
        answer = await asyncio.wait_for(self._line(), COMMAND_TIMEOUT)
        if "error" in answer:
            raise RuntimeError(f"{command}: {answer['error']}")
        return answer

    async def _line(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError("a helper process of the bench ended")
        return dict(json.loads(line))

    async def stop(self) -> None:
        """End it now."""
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()


class Stage:
    """Edge, origin and files for one subject, which runs between `start` and `stop`."""

    def __init__(
        self, subject: Subject, edge: Child, origin: tuple[Child, dict[str, int]], folder: Path, command: list[str]
    ) -> None:
        self.subject = subject
        self.folder = folder
        self.edge = edge
        self._origin, ports = origin
        self.visitors: tuple[str, int] = ("", 0)
        "Where the edge serves visitors."
        self.tcp_destination = f"127.0.0.1:{ports['tcp']}"
        self.start_seconds = 0.0
        self.start_cpu = 0.0
        self._command = command
        self._log = folder / "pyconnector.connector.observe.log"
        self._running: Running | None = None

    async def start(self, connections: int) -> None:
        """Start the subject and wait until its connections are registered. Cancel leaves it to `stop`."""
        begun = time.monotonic()
        self._running = await Running.start(self._command, log=self._log)
        try:
            first = await self.edge.ask(do="wait", connections=1)
            self.start_seconds = first["monotonic"] - begun
            self.start_cpu = cpu_seconds(self.pid)
            if connections > 1:
                await self.edge.ask(do="wait", connections=connections)
        except RuntimeError as error:
            said = self._log.read_text(errors="replace")[-2000:]
            raise RuntimeError(f"{self.subject.name}: {error}\n{said}") from error

    async def stop(self) -> None:
        """End the subject. Idempotent."""
        running, self._running = self._running, None
        if running is not None:
            await running.stop()

    @property
    def pid(self) -> int:
        """The subject's process."""
        assert self._running is not None
        return self._running.pid

    async def measured(self, **command: Any) -> dict[str, Any]:
        """Run a load command; its figures, the CPU seconds that each process spent meanwhile, and the datagrams of the
        edge's socket, which are those that the connector received and sent."""
        before, udp = self._cpu(), await self.edge.ask(do="udp")
        begun = time.monotonic()
        figures = await self.edge.ask(**command)
        elapsed = time.monotonic() - begun
        spent = {name: after - before[name] for name, after in self._cpu().items()}
        now = await self.edge.ask(do="udp")
        figures["cpu"] = spent["connector"]
        figures["spent"] = spent
        figures["busy"] = {name: seconds / elapsed for name, seconds in spent.items()}
        figures["datagrams_out"] = now["received"] - udp["received"]
        figures["datagrams_in"] = now["sent"] - udp["sent"]
        return figures

    async def system_calls(self, **command: Any) -> float | None:
        """Run a load command with the connector's system calls counted; how many a unit, None where nothing counts
        them. Apart from `measured`, for counting costs more than what is counted."""
        return await calls_per_unit(self.pid, lambda: self.edge.ask(**command))

    def _cpu(self) -> dict[str, float]:
        return {
            "connector": tree_cpu_seconds(self.pid),
            "edge": cpu_seconds(self.edge.pid),
            "origin": cpu_seconds(self._origin.pid),
        }

    def resident(self) -> int:
        """Resident memory of the connector now, in bytes."""
        return resident_bytes(self.pid)


@contextlib.asynccontextmanager
async def set_up(
    subject: Subject, *, connections: int = 4, edge_engine: str = "aioquic", relay: bool = False, start: bool = True
) -> AsyncIterator[Stage]:
    """Start everything for `subject`; with `start` it is registered when the block begins."""
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pyconnector-bench-")))
        origin, ports = await Child.start("bench.house.origin")
        stack.push_async_callback(origin.stop)
        edge, addresses = await Child.start("bench.house.edge_process", edge_engine, *(["relay"] if relay else []))
        stack.push_async_callback(edge.stop)
        write_files(folder, ca_pem=Path(addresses["ca"]).read_bytes(), http_port=ports["http"])
        host, port = addresses["quic"]
        command = subject.command(
            folder, edges=[(host, port)] * (connections if subject.peer else 1), connections=connections
        )
        stage = Stage(subject, edge, (origin, ports), folder, command)
        stage.visitors = (addresses["visitors"][0], addresses["visitors"][1])
        stack.push_async_callback(stage.stop)
        if start:
            await stage.start(connections)
        yield stage
