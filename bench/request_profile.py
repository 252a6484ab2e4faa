"""`python -m bench.request_profile`: where the connector's CPU time of one small request goes, step by step.

A connector on each engine, and over HTTP/2, carries HTTP requests of 1 KiB while `bench.sampler` looks at it. Each look
counts for the innermost frame of ours: what a library or a C function does, counts for who called it. The
parts of a sum that is measured from outside, the process's CPU time by the number of requests, are what is printed.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import os
import signal
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from bench.house.stage import set_up
from bench.house.subject import Subject

if TYPE_CHECKING:
    from collections.abc import Sequence

#: In place of an engine: that protocol.
HTTP2 = "http2"
#: Who takes the call when a datagram or a frame arrives: what is below belongs to receiving.
_RECEIVING = ("datagrams_received", "on_datagrams", "http2/incoming.py:work")
#: How a frame of Python's TLS ends, whichever loop calls it.
_TLS = ("ssl.py:read", "ssl.py:write")
_UDP, _HTTP1, _PACKETS = "transport/udp/batch", "origins/http1", "packets or frames"
#: Step, and the files or `file:function`s that are it. The first that fits the innermost frame counts.
STEPS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "datagrams in: recvmsg, GRO",
        (f"{_UDP}ed.py:_receive", f"{_UDP}ed.py:_on_readable", f"{_UDP}.py:split", f"{_UDP}.py:received"),
    ),
    ("datagrams out: sendmsg, GSO", (f"{_UDP}ed.py", f"{_UDP}.py")),
    (
        "streams: buffers, credit",
        (
            "transport/buffers/stream.py",
            "transport/buffers/connection.py",
            "transport/http2/stream.py",
            "transport/quic/qh3_engine/stream.py",
            "transport/quic/aioquic_engine/stream.py",
            "transport/quic/flow/send_queue.py",
            "transport/quic/flow/receive_window.py",
        ),
    ),
    (_PACKETS, ("transport/",)),
    (
        "response metadata written",
        (
            *(f"protocol/streams/{name}" for name in ("connect_codec.py:_encode", "connect_codec.py:encode")),
            *(f"protocol/streams/{name}" for name in ("openings.py:encode", "response_head.py")),
            "protocol/http/headers.py:response",
            *(f"protocol/http/http2_form.py:{name}" for name in ("response_fields", "trailer_fields")),
            "protocol/http/serialized_headers.py:serialize",
        ),
    ),
    (
        "opening read",
        ("protocol/streams/connect_codec.py", "protocol/streams/openings.py", "protocol/streams/connect.py"),
    ),
    ("request head checked and mapped", ("protocol/",)),
    (
        "rule matched",
        (
            *(f"ingress/rules/{name}.py" for name in ("rules", "explain", "hostnames", "path_patterns")),
            "connector/requests/path.py:_route",
        ),
    ),
    (
        "request written to the origin, send included",
        (f"{_HTTP1}/request_head.py", f"{_HTTP1}/connection.py:exchange", f"{_HTTP1}/upload.py"),
    ),
    (
        "answer read from the origin and parsed",
        ("origins/net/reading.py", "origins/net/channel.py", f"{_HTTP1}/parser.py"),
    ),
    ("origin connection: pool, response", ("origins/",)),
    ("tasks", ("connector/tasks.py",)),
    ("request path: order of the steps, counters", ("connector/", "ingress/")),
)
REST = "event loop and the rest"
TLS = "TLS, of HTTP/2"


class SampledSubject(Subject):
    """The connector inside the sampler, which writes to `samples.json` in its folder."""

    def command(self, folder: Path, *, edges: Sequence[tuple[str, int]], connections: int) -> list[str]:
        """The command line, with the sampler in the place of the connector."""
        python, _, _, *rest = super().command(folder, edges=edges, connections=connections)
        return [python, "-m", "bench.sampler", str(folder / "samples.json"), *rest]


@dataclass(slots=True)
class Profile:
    """Microseconds of CPU time of one request, by step."""

    per_request: float
    looks: int = 0
    steps: Counter[str] = field(default_factory=Counter)

    def add(self, times: int, stack: Sequence[str]) -> None:
        """Count what was seen so many times."""
        self.looks += times
        self.steps[step_of(stack)] += times

    def microseconds(self, step: str) -> float:
        """What `step` takes of a request."""
        return self.per_request * self.steps[step] / max(1, self.looks)


def step_of(stack: Sequence[str]) -> str:
    """The step that a stack, innermost frame first, belongs to."""
    for frame in stack:
        if frame.endswith(_TLS):
            return TLS
        for step, places in STEPS:
            if frame.startswith(places):
                if step != _PACKETS:
                    return step
                inward = any(each.endswith(_RECEIVING) for each in stack)
                return f"{step} in" if inward else f"{step} out"
    return REST


#: Every name that `step_of` returns, in the order of a request.
ALL_STEPS = (
    "datagrams in: recvmsg, GRO",
    f"{_PACKETS} in",
    "streams: buffers, credit",
    "opening read",
    "request head checked and mapped",
    "rule matched",
    "request path: order of the steps, counters",
    "tasks",
    TLS,
    "origin connection: pool, response",
    "request written to the origin, send included",
    "answer read from the origin and parsed",
    "response metadata written",
    f"{_PACKETS} out",
    "datagrams out: sendmsg, GSO",
    REST,
)


async def profile(engine: str, *, in_flight: int, seconds: float, edge_engine: str) -> Profile:
    """Load a connector on `engine` and look at it meanwhile."""
    edge = HTTP2 if engine == HTTP2 else edge_engine
    async with set_up(SampledSubject(engine, engine=engine), connections=1, edge_engine=edge) as stage:
        command = {"do": "download", "size": 1024, "in_flight": in_flight}
        await stage.edge.ask(**command, seconds=min(1.0, seconds))
        os.kill(stage.pid, signal.SIGUSR1)
        figures = await stage.measured(**command, seconds=seconds)
        os.kill(stage.pid, signal.SIGUSR2)
        samples = stage.folder / "samples.json"
        while not samples.exists():
            await asyncio.sleep(0.02)
        found = Profile(figures["cpu"] / figures["count"] * 1e6)
        for times, stack in json.loads(samples.read_text()):
            found.add(times, stack)
        return found


def table(profiles: dict[str, Profile]) -> str:
    """The profiles beside each other, in microseconds, as Markdown."""
    lines = [f"| step | {' | '.join(profiles)} |", f"|---|{'---|' * len(profiles)}"]
    for step in ALL_STEPS:
        figures = [f"{each.microseconds(step):.1f}" for each in profiles.values()]
        lines.append(f"| {step} | {' | '.join(figures)} |")
    lines.append(f"| **all** | {' | '.join(f'**{each.per_request:.1f}**' for each in profiles.values())} |")
    return "\n".join(lines)


def main() -> None:
    """Profile, print."""
    engines = ("aioquic", "qh3") if importlib.util.find_spec("qh3") else ("aioquic",)
    parser = argparse.ArgumentParser(prog="python -m bench.request_profile", description=__doc__)
    parser.add_argument("--engine", action="append", choices=(*engines, HTTP2), help="default: all that are installed")
    parser.add_argument("--edge-engine", default=engines[-1], choices=engines)
    parser.add_argument("--in-flight", type=int, default=64, help="requests under way at once")
    parser.add_argument("--seconds", type=float, default=20.0, help="of load on each engine")
    arguments = parser.parse_args()
    wanted = {"in_flight": arguments.in_flight, "seconds": arguments.seconds, "edge_engine": arguments.edge_engine}
    engines = tuple(arguments.engine or (*engines[::-1], HTTP2))
    profiles = {f"{each}, us": asyncio.run(profile(each, **wanted)) for each in engines}
    print(table(profiles), f"\nlooks: {', '.join(str(each.looks) for each in profiles.values())}", sep="\n")


if __name__ == "__main__":
    main()
