"""`python -m bench.sampler FILE ARGUMENTS...`: the connector's command line, looked at while it works.

It is looked at once per millisecond of its CPU time, or per tick of the kernel where that is longer. SIGUSR1 begins,
SIGUSR2 ends and writes FILE: a JSON list of `[times seen, stack]`, a stack as `file:function` from the innermost frame
outwards. Python runs the handler between two of its own steps, so what a C function took counts for the Python function
that called it.
"""

from __future__ import annotations

import json
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType

#: CPU seconds between two looks, at least.
INTERVAL = 0.001
#: Frames of a stack that are kept.
DEPTH = 24
ROOT = Path(__file__).resolve().parent.parent
#: Where the rooms are linked into one package: cut off too, so that a file is named as it lies in the repository.
LINKS = "src/pyconnector/"


def sample_into(target: Path) -> None:
    """Let the two signals begin and end."""
    seen: Counter[tuple[str, ...]] = Counter()

    def look(_: int, frame: FrameType | None) -> None:
        stack: list[str] = []
        while frame is not None and len(stack) < DEPTH:
            stack.append(f"{frame.f_code.co_filename}:{frame.f_code.co_name}")
            frame = frame.f_back
        seen[tuple(stack)] += 1

    def begin(*_: object) -> None:
        seen.clear()
        signal.setitimer(signal.ITIMER_PROF, INTERVAL, INTERVAL)

    def end(*_: object) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)
        root = f"{ROOT}/"
        found = [
            (times, [each.removeprefix(root).removeprefix(LINKS) for each in stack])
            for stack, times in seen.most_common()
        ]
        written = target.with_suffix(".part")
        written.write_text(json.dumps(found))
        written.replace(target)

    signal.signal(signal.SIGPROF, look)
    signal.signal(signal.SIGUSR1, begin)
    signal.signal(signal.SIGUSR2, end)


def main() -> None:
    """Set the handlers, then be the connector."""
    sample_into(Path(sys.argv[1]))
    sys.argv[:2] = ["pyconnector"]
    from pyconnector.__main__ import start

    start()


if __name__ == "__main__":
    main()
