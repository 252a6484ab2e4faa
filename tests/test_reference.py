"""Every fact that a comment cites (`wire.md 5.2`) stands in docs/reference/."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT / "docs" / "reference"
PAGES = sorted(page.stem for page in REFERENCE.glob("*.md") if page.stem != "README")
#: Folders whose Python files may cite.
CITING = (
    "protocol", "identity", "ingress", "transport", "origins", "connector", "edge", "control", "agent", "web",
    "logpush",
)  # fmt: skip
CITED = re.compile(rf"\b({'|'.join(PAGES)})\.md,? (?:section |sections )?((?:\d+|[A-Z]\d)(?:\.\d+)*)")
MORE = re.compile(r"(?:, | and | to )(\d+(?:\.\d+)*)\b(?!-bit| bytes)")


@cache
def sections(page: str) -> frozenset[str]:
    """The numbers of the headings of one page."""
    text = (REFERENCE / f"{page}.md").read_text(encoding="utf-8")
    return frozenset(re.findall(r"^#{2,4} ((?:\d+|[A-Z]\d)(?:\.\d+)*)[. ]", text, re.MULTILINE))


def citations(text: str) -> list[tuple[str, str]]:
    """Page and section of every citation in `text`, lists such as `wire.md 3, 6 to 9` included."""
    flat = re.sub(r"\s+#? *", " ", text)
    found = []
    for match in CITED.finditer(flat):
        found.append((match[1], match[2]))
        rest = flat[match.end() :]
        while more := MORE.match(rest):
            found.append((match[1], more[1]))
            rest = rest[more.end() :]
    return found


def missing(text: str) -> list[str]:
    """The citations in `text` that lead nowhere."""
    return [f"{page}.md {section}" for page, section in citations(text) if section not in sections(page)]


def test_every_citation_leads_to_a_section() -> None:
    files = [*(path for room in CITING for path in (ROOT / room).rglob("*.py")), *(ROOT / "tests").rglob("*.py")]
    cited = {path: text for path in files if path.name != "test_reference.py" and (text := path.read_text("utf-8"))}
    assert sum(len(citations(text)) for text in cited.values()) > 100
    wrong = {path.relative_to(ROOT).as_posix(): found for path, text in cited.items() if (found := missing(text))}
    assert wrong == {}


@pytest.mark.parametrize("text", ["see wire.md 99", "(wire.md 3, 77)", "reference/lifecycle.md\n# 5.99"])
def test_a_citation_that_leads_nowhere_is_found(text: str) -> None:
    assert missing(text)


def test_pages_of_the_reference_cite_each_other_rightly() -> None:
    wrong = {page: found for page in PAGES if (found := missing((REFERENCE / f"{page}.md").read_text("utf-8")))}
    assert wrong == {}
