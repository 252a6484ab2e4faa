"""All cases, and what a genuine cloudflared did with them: recorded.json, made by `python -m tests.differential`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from tests.differential.requests import REQUESTS
from tests.differential.responses import RESPONSES
from tests.differential.wire_requests import WIRE_REQUESTS

if TYPE_CHECKING:
    from tests.differential.case import Case, WireCase
    from tests.differential.compare import Result

RECORDED = Path(__file__).with_name("recorded.json")
CASES: list[Case | WireCase] = [*REQUESTS, *RESPONSES, *WIRE_REQUESTS]


def recorded() -> dict[str, Result]:
    """What the genuine connector did, by the name of the case."""
    results: dict[str, Result] = json.loads(RECORDED.read_text())["results"]
    return results


def record(version: str, results: dict[str, Result]) -> None:
    """Write the record, one case a line."""
    lines = [f"{json.dumps(name)}: {json.dumps(result, sort_keys=True)}" for name, result in results.items()]
    text = '{"about": "made by python -m tests.differential --record; see there",\n'
    text += f'"cloudflared": {json.dumps(version)},\n"results": {{\n' + ",\n".join(lines) + "\n}}\n"
    RECORDED.write_text(text)
