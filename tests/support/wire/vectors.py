"""The golden vectors, read from the copy beside the tests (tests/vectors/README.md says where they come from)."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

_DIRECTORY = Path(__file__).resolve().parents[2] / "vectors"


@cache
def vectors(name: str) -> Any:
    """Return the content of tests/vectors/NAME.json."""
    return json.loads((_DIRECTORY / f"{name}.json").read_text(encoding="utf-8"))
