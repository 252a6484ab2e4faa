"""The arrows between rooms, read from the code's own imports (docs/architecture.md has the table in words)."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("values", "protocol", "ingress", "transport", "connector", "edge", "bench")
PRODUCT = ("values", "protocol", "ingress", "transport", "connector", "edge")

MAY_IMPORT: dict[str, set[str]] = {
    "values": set(),
    "protocol": {"values"},
    "transport": {"values"},
    "ingress": {"values"},
    "ingress/origins": {"values", "ingress"},
    "connector": {"values", "protocol", "ingress", "transport"},
    "connector/cli": {"values", "protocol", "ingress", "transport", "connector", "edge"},
    "edge": {"values", "protocol", "transport"},
    "bench": set(ROOMS),
}
SANS_IO = {"asyncio", "socket", "ssl", "time", "random", "threading", "select", "selectors", "subprocess"}
#: Foreign package -> path prefixes that may import it.
ONLY_IN: dict[str, tuple[str, ...]] = {
    "capnp": ("protocol/schemas.py",),
    "aioquic": ("transport/", "bench/"),
    "qh3": ("transport/", "bench/"),
    "h2": ("transport/", "ingress/origins/", "edge/"),
    "httptools": ("ingress/origins/", "edge/", "bench/"),
    "re2": ("ingress/",),
    "yaml": ("connector/", "ingress/schema.py"),
    "click": ("connector/cli/",),
    "prometheus_client": ("connector/",),
    "joserfc": ("ingress/", "connector/"),
}
MAX_LINES = 450


def place_of(path: str) -> str:
    """The most precise row of MAY_IMPORT for a file, e.g. `ingress/origins` before `ingress`."""
    best = ""
    for row in MAY_IMPORT:
        if path.startswith(row + "/") and len(row) > len(best):
            best = row
    return best


def imported_modules(source: str, path: str) -> set[str]:
    """Every absolute dotted module that `source` imports, relative imports resolved."""
    package = path.rsplit("/", 1)[0].replace("/", ".")
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parts, *([base] if base else [])])
            found.add(base)
            found.update(f"{base}.{alias.name}" for alias in node.names)
    return found


def violations(source: str, path: str) -> list[str]:
    """What `path` imports although DESIGN forbids it, as sentences."""
    place = place_of(path)
    room = path.split("/", 1)[0]
    faults: list[str] = []
    pure = room in {"values", "protocol"} or (room == "ingress" and place != "ingress/origins")
    for module in sorted(imported_modules(source, path)):
        top = module.split(".", 1)[0]
        if top in ROOMS and top != room and top not in MAY_IMPORT[place]:
            faults.append(f"{path} imports {module}: {place} may not know {top}")
        if top in {"tests", "examples"} and room in PRODUCT:
            faults.append(f"{path} imports {module}: product code may not know {top}")
        if pure and (top in SANS_IO or module.startswith("ingress.origins")):
            faults.append(f"{path} imports {module}: {place} does no I/O")
        if top in ONLY_IN and not path.startswith(ONLY_IN[top]):
            faults.append(f"{path} imports {module}: only {', '.join(ONLY_IN[top])} may")
    return faults


def python_files() -> list[Path]:
    return sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py") if "__pycache__" not in path.parts)


def test_every_room_imports_only_what_the_design_allows() -> None:
    faults = [
        fault
        for path in python_files()
        for fault in violations(path.read_text(encoding="utf-8"), path.relative_to(ROOT).as_posix())
    ]
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("ingress/rules.py", "from connector import api"),
        ("ingress/rules.py", "import asyncio"),
        ("ingress/rules.py", "from .origins import base"),
        ("ingress/origins/tcp.py", "from transport.seam import Stream"),
        ("protocol/streams.py", "import time"),
        ("protocol/streams.py", "import capnp"),
        ("transport/seam.py", "import protocol.streams"),
        ("edge/local_edge.py", "from ingress import parse_ingress"),
        ("edge/local_edge.py", "import connector"),
        ("connector/supervisor.py", "import edge"),
        ("connector/supervisor.py", "from aioquic.quic import connection"),
        ("connector/api.py", "import bench"),
        ("transport/udp.py", "from tests.support import net"),
    ],
)
def test_a_planted_violation_is_found(path: str, source: str) -> None:
    assert violations(source, path)


def test_the_command_line_alone_may_start_an_edge() -> None:
    assert not violations("from edge import LocalEdge", "connector/cli/run.py")


def test_no_module_outgrows_one_job() -> None:
    long = {
        path.relative_to(ROOT).as_posix(): lines
        for path in python_files()
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > MAX_LINES
    }
    assert not long
