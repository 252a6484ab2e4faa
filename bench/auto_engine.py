"""`python -m bench.auto_engine`: what `--quic-engine auto` makes of a path that loses packets, download by download.

A connector with four connections behind a delay and random loss; visitors download one after the other, with a pause
between, as people do. Prints when each began, what rate it had, and how many connections were on which engine after it.
"""

from __future__ import annotations

import argparse
import asyncio
import time

from bench.house.stage import set_up
from bench.house.subject import Subject

MB = 1e6


async def measure(engine: str, *, size: int, loss: float, delay: float, seconds: float, pause: float) -> list[str]:
    """Download for `seconds`, and say how each went."""
    lines = []
    async with set_up(Subject(engine, engine=engine), edge_engine="aioquic", relay=True, start=False) as stage:
        await stage.edge.ask(do="faults", delay=delay / 2, loss=loss, seed=7)
        await stage.start(4)
        begun = time.monotonic()
        while (at := time.monotonic() - begun) < seconds:
            figures = await stage.edge.ask(do="download", size=size, in_flight=1, count=1)
            rate = figures.get("bytes", 0) / figures["elapsed"] / MB
            lines.append(f"| {engine} | {at:.1f} | {rate:.2f} | {figures['failures']} |")
            print(lines[-1], flush=True)
            await asyncio.sleep(pause)
    return lines


def main() -> None:
    """Every engine in turn."""
    parser = argparse.ArgumentParser(prog="python -m bench.auto_engine", description=__doc__)
    parser.add_argument("--engine", action="append", choices=("auto", "qh3", "aioquic"), help="default: auto and qh3")
    parser.add_argument("--size", type=int, default=4 * 1024 * 1024, help="bytes of each download")
    parser.add_argument("--loss", type=float, default=0.01, help="share of packets that are lost")
    parser.add_argument("--delay", type=float, default=0.030, help="round trip, in seconds")
    parser.add_argument("--seconds", type=float, default=40.0, help="for how long downloads begin")
    parser.add_argument("--pause", type=float, default=2.0, help="seconds between two downloads")
    arguments = parser.parse_args()
    print("| engine | began at, s | rate, MB/s | failures |\n|---|---|---|---|")
    for engine in arguments.engine or ("auto", "qh3"):
        asyncio.run(
            measure(
                engine,
                size=arguments.size,
                loss=arguments.loss,
                delay=arguments.delay,
                seconds=arguments.seconds,
                pause=arguments.pause,
            )
        )


if __name__ == "__main__":
    main()
