"""What one QUIC engine costs behind the transport seam, without protocol, connector or origin.

    python -m bench.sections.transport_rows --engine qh3 --engine aioquic

One process plays the edge and opens streams; a second one, whose CPU time is measured, answers them as a connector
would. Prints one JSON line per engine and row.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import cProfile
import json
import multiprocessing
import pstats
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pyconnector.transport.quic import connect, listen
from pyconnector.transport.settings import EDGE_SERVER_NAME, ClientTls, QuicSettings, ServerTls
from pyconnector.transport.tls.certificates import make_authority

if TYPE_CHECKING:
    from multiprocessing.connection import Connection as Pipe

    from pyconnector.transport.seam import Address, Connection, Stream

KIB, MIB = 1024, 1024 * 1024
#: The first byte of a request says what is wanted.
SMALL, UPLOAD, DOWNLOAD = b"\x00", b"\x01", b"\x02"
REQUEST = bytes(300)
ANSWER = bytes(KIB)
PIECE = bytes(64 * KIB)
TRANSFER = 10 * MIB


@dataclass(frozen=True)
class Options:
    """What the command line says."""

    rows: str
    scale: float
    uvloop: bool
    profile: bool


# -- the measured process ------------------------------------------------------------------------------------------


class Answers:
    """Answers each stream: a small one on the spot, a large one by a task."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def __call__(self, stream: Stream) -> None:
        data = stream.receive_nowait()
        if data and data[:1] == SMALL and stream.receive_nowait() == b"":
            stream.send_nowait(ANSWER, finish=True)
            return
        task = asyncio.get_running_loop().create_task(self._answer(stream, data or b""))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, stream: Stream, data: bytes) -> None:
        data = data or await stream.receive()
        if data[:1] == DOWNLOAD:
            for _ in range(TRANSFER // len(PIECE)):
                await stream.send(PIECE)
            stream.finish()
            return
        while await stream.receive():
            pass
        stream.send_nowait(ANSWER, finish=True)


def answering_process(pipe: Pipe, engine: str, address: Address, ca_file: str, options: Options) -> None:
    async def main() -> None:
        connection = await connect(address, tls=ClientTls(ca_file=ca_file), settings=QuicSettings(engine=engine))
        connection.set_stream_handler(Answers())
        done = asyncio.Event()

        def command() -> None:
            if pipe.recv() == "cpu":
                pipe.send(time.process_time())
            else:
                done.set()

        asyncio.get_running_loop().add_reader(pipe.fileno(), command)
        pipe.send("ready")
        profile = cProfile.Profile()
        with profile if options.profile else contextlib.nullcontext():
            await done.wait()
        if options.profile:
            pstats.Stats(profile, stream=sys.stderr).sort_stats("tottime").print_stats(25)
        connection.close()

    run(main(), options)


def run(main: Coroutine[Any, Any, None], options: Options) -> None:
    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    if options.uvloop:
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main)


# -- the edge's side -----------------------------------------------------------------------------------------------


async def exchange(connection: Connection) -> None:
    stream = await connection.open_stream()
    stream.send_nowait(SMALL + REQUEST, finish=True)
    assert await _size(stream) == len(ANSWER)


async def download(connection: Connection) -> None:
    stream = await connection.open_stream()
    stream.send_nowait(DOWNLOAD + REQUEST, finish=True)
    assert await _size(stream) == TRANSFER


async def upload(connection: Connection) -> None:
    stream = await connection.open_stream()
    stream.send_nowait(UPLOAD)
    for _ in range(TRANSFER // len(PIECE)):
        await stream.send(PIECE)
    stream.finish()
    assert await _size(stream) == len(ANSWER)


async def _size(stream: Stream) -> int:
    size = 0
    while data := await stream.receive(256 * KIB):
        size += len(data)
    return size


async def in_flight(count: int, total: int, work: Callable[[], Coroutine[Any, Any, None]]) -> list[float]:
    """Do `work` `total` times, `count` at once; return the sorted durations."""
    times: list[float] = []
    left = iter(range(total))

    async def worker() -> None:
        for _ in left:
            began = time.perf_counter()
            await work()
            times.append(time.perf_counter() - began)

    await asyncio.gather(*(worker() for _ in range(count)))
    return sorted(times)


#: Letter: name, how many at once, how many in all, what is done, unit, units of each.
ROWS: dict[str, tuple[str, int, int, Callable[[Connection], Coroutine[Any, Any, None]], str, float]] = {
    "a": ("1 KiB", 1, 4000, exchange, "exchange", 1),
    "b": ("1 KiB", 64, 20000, exchange, "exchange", 1),
    "c": ("10 MiB down", 1, 30, download, "MB", TRANSFER / 1e6),
    "d": ("10 MiB down", 4, 30, download, "MB", TRANSFER / 1e6),
    "e": ("10 MiB up", 1, 30, upload, "MB", TRANSFER / 1e6),
    "f": ("10 MiB up", 4, 30, upload, "MB", TRANSFER / 1e6),
}


async def measure(engine: str, options: Options) -> None:
    async with answering(engine, options) as (connection, pipe):
        loop = asyncio.get_running_loop()

        async def cpu() -> float:
            pipe.send("cpu")
            return float(await loop.run_in_executor(None, pipe.recv))

        for letter in options.rows:
            name, count, total, work, unit, units = ROWS[letter]
            total = max(int(total * options.scale), count)

            async def once(work: Callable[[Connection], Coroutine[Any, Any, None]] = work) -> None:
                await work(connection)

            await in_flight(count, max(total // 10, 1), once)
            before, began = await cpu(), time.perf_counter()
            times = await in_flight(count, total, once)
            elapsed, used = time.perf_counter() - began, await cpu() - before
            print(
                json.dumps(
                    {
                        "engine": engine,
                        "row": name,
                        "in_flight": count,
                        f"{unit}_per_s": round(total * units / elapsed, 1),
                        f"cpu_us_per_{unit}": round(used * 1e6 / (total * units), 1),
                        "p50_ms": round(times[len(times) // 2] * 1e3, 3),
                        "p99_ms": round(times[len(times) * 99 // 100] * 1e3, 3),
                    }
                ),
                flush=True,
            )


@asynccontextmanager
async def answering(engine: str, options: Options) -> AsyncIterator[tuple[Connection, Pipe]]:
    """Start the measured process; yield the connection to it and the pipe that commands it."""
    authority = make_authority("bench")
    chain, key = authority.issue([EDGE_SERVER_NAME])
    loop = asyncio.get_running_loop()
    arrived: asyncio.Future[Connection] = loop.create_future()
    listener = await listen(
        "127.0.0.1",
        0,
        tls=ServerTls(certificate_chain=chain, private_key=key),
        settings=QuicSettings(engine=engine),
        on_connection=arrived.set_result,
    )
    ours, theirs = multiprocessing.Pipe()
    with tempfile.NamedTemporaryFile(suffix=".pem") as file:
        file.write(authority.certificate_pem)
        file.flush()
        process = multiprocessing.get_context("spawn").Process(
            target=answering_process, args=(theirs, engine, listener.address, file.name, options)
        )
        process.start()
        try:
            connection = await asyncio.wait_for(arrived, 30)
            await loop.run_in_executor(None, ours.recv)
            yield connection, ours
        finally:
            ours.send("stop")
            await loop.run_in_executor(None, process.join)
            await listener.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", action="append", choices=("aioquic", "qh3"))
    parser.add_argument("--uvloop", action="store_true")
    parser.add_argument("--profile", action="store_true", help="profile the measured process")
    parser.add_argument("--rows", default="".join(ROWS), help="some letters of " + "".join(ROWS))
    parser.add_argument("--scale", type=float, default=1.0, help="how many times the usual work")
    arguments = parser.parse_args()
    options = Options(arguments.rows, arguments.scale, arguments.uvloop, arguments.profile)
    for engine in arguments.engine or ["qh3", "aioquic"]:
        run(measure(engine, options), options)


if __name__ == "__main__":
    main()
