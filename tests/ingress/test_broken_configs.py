"""Broken configs, each with the places and sentences that it must be told, in the comments at its top."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from pyconnector.ingress import IngressError, parse_ingress, parse_warp_routing

FILES = sorted((Path(__file__).parent / "broken").glob("*.yaml"))
#: `# expect LINE:COLUMN: place: sentence`; tests/connector/config/test_broken_configs.py looks at line and column.
MARK = re.compile(r"# expect \d+:\d+: (.*)")


def test_there_are_enough_of_them() -> None:
    assert len(FILES) >= 30


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_all_problems_are_told_at_once_with_their_places(file: Path) -> None:
    text = file.read_text()
    expected = [found[1] for line in text.splitlines() if (found := MARK.fullmatch(line))]
    assert problems_of(yaml.safe_load(text)) == expected


def problems_of(config: dict[str, Any]) -> list[str]:
    found: list[str] = []
    for parse in [parse_warp_routing] if "warp-routing" in config else [parse_ingress]:
        with pytest.raises(IngressError) as caught:
            parse(config)
        found += [str(problem) for problem in caught.value.problems if not problem.warning]
    return found
