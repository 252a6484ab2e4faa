"""`python -m bench.congestion`: simulate, print the tables, draw docs/img/congestion.svg, fill docs/congestion.md."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from bench.congestion.report import Results, loss_table, picture, queue_table, sharing_table
from bench.congestion.scenarios import QUICK, Extent, loss_rows, queue_rows, sharing_rows

ROOT = Path(__file__).resolve().parent.parent.parent
#: The tables stand between these lines of the page; the words around them are written by hand.
BEGIN = "<!-- tables: written by python -m bench.congestion -->"
END = "<!-- end of tables -->"


def run(extent: Extent) -> Results:
    """Simulate everything."""

    def progress(words: str) -> None:
        print(words, file=sys.stderr, flush=True)

    return Results(
        losses=loss_rows(extent, progress, megabits=100) + loss_rows(extent, progress, megabits=20),
        queues=queue_rows(extent, progress, megabits=20, queue=4.0),
        queue_path="20 Mbit/s, 30 ms, queue of 4 BDP, no random loss",
        sharing=[
            *sharing_rows(extent, progress, megabits=20, queue=1.0),
            *sharing_rows(extent, progress, megabits=20, queue=4.0),
        ],
        sharing_path="20 Mbit/s, 30 ms, queue of one BDP; the second begins at 1 s",
        seconds=extent.sharing_seconds,
    )


def tables(results: Results, extent: Extent) -> str:
    """Return the tables as Markdown."""
    return "\n\n".join(
        [
            f"Goodput of one download of {extent.size / 1048576:g} MiB in MB/s through a queue of one BDP, median of "
            f"{len(extent.seeds)} seeds (least–most):",
            loss_table(results.losses),
            f"One flow over a deep queue ({results.queue_path}), second half of the run:",
            queue_table(results.queues),
            f"Two flows over 20 Mbit/s and 30 ms, the second a second later; second half of the run, mean of "
            f"{len(extent.sharing_seeds)} seeds, least Jain index:",
            sharing_table(results.sharing),
        ]
    )


def fill(page: Path, content: str) -> None:
    """Put the tables into the page, between their marks."""
    text = page.read_text(encoding="utf-8")
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    page.write_text(f"{head}{BEGIN}\n\n{content}\n\n{END}{tail}", encoding="utf-8")


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.congestion", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="less of everything, and no files written")
    arguments = parser.parse_args()
    began = time.monotonic()
    extent = QUICK if arguments.quick else Extent()
    results = run(extent)
    content = tables(results, extent)
    print(content)
    print(f"\nsimulated in {time.monotonic() - began:.0f} s", file=sys.stderr)
    if not arguments.quick:
        (ROOT / "docs" / "img" / "congestion.svg").write_text(picture(results), encoding="utf-8")
        fill(ROOT / "docs" / "congestion.md", content)


if __name__ == "__main__":
    main()
