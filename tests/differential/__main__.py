"""`python -m tests.differential --record` asks the cloudflared of PYCONNECTOR_CLOUDFLARED and writes recorded.json.

Without `--record` it prints where ours differs from the record, meant or not.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.differential.compare import Result, made_comparable, settled
from tests.differential.corpus import CASES, record, recorded
from tests.differential.meant import MEANT
from tests.differential.stage import run_all


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.differential", description=__doc__)
    parser.add_argument("--record", action="store_true")
    binary = os.environ.get("PYCONNECTOR_CLOUDFLARED", "") if parser.parse_args().record else ""
    if parser.parse_args().record and not binary:
        print("PYCONNECTOR_CLOUDFLARED names no cloudflared", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="pyconnector-differential-") as directory:
        results = asyncio.run(run_all(CASES, Path(directory), binary=binary))
    if binary:
        words = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout.split()
        record(" ".join(words[:3]), results)
        return 0
    return report(results)


def report(results: dict[str, Result]) -> int:
    genuine = recorded()
    count = 0
    for case in CASES:
        theirs = settled(case, made_comparable(case, genuine[case.name]))
        ours = settled(case, results[case.name])
        if theirs != ours:
            count += 1
            print(f"{case.name}{' (meant)' if case.name in MEANT else ''}")
            for part in ("origin", "got"):
                if theirs[part] != ours[part]:
                    print(f"  {part}, genuine: {json.dumps(theirs[part])}\n  {part}, ours:    {json.dumps(ours[part])}")
    print(f"{len(CASES)} cases, {count} differ")
    return 0


if __name__ == "__main__":
    sys.exit(main())
