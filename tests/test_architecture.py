"""The arrows between rooms, read from the code's own imports (docs/architecture.md has the table in words)."""

from __future__ import annotations

import ast
from collections.abc import Collection
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PRODUCT = (
    "protocol", "web", "identity", "ingress", "transport", "origins", "connector", "edge", "control", "agent",
    "logpush",
)  # fmt: skip
ROOMS = (*PRODUCT, "bench")
#: The one package that is installed; `src/pyconnector/` holds a link for each room.
PACKAGE = "pyconnector"

MAY_IMPORT: dict[str, set[str]] = {
    "protocol": {"web"},
    "web": set(),
    "identity": set(),
    "ingress": {"web", "identity"},
    "transport": {"web"},
    "origins": {"web", "ingress", "identity"},
    "connector": {"protocol", "web", "identity", "ingress", "transport", "origins"},
    "connector/cli": {
        "protocol",
        "web",
        "identity",
        "ingress",
        "transport",
        "origins",
        "connector",
        "edge",
        "control",
        "agent",
        "logpush",
    },
    "edge": {"protocol", "transport", "web", "identity", "logpush"},
    "control": {"identity", "logpush"},
    "logpush": set(),
    "agent": {"transport", "protocol", "web", "identity"},
    "bench": set(ROOMS),
}
PURE = {"protocol", "web", "identity", "ingress"}
SANS_IO = {"asyncio", "socket", "ssl", "time", "random", "threading", "select", "selectors", "subprocess"}
#: Foreign package -> path prefixes that may import it.
ONLY_IN: dict[str, tuple[str, ...]] = {
    "capnp": ("protocol/capnp_format/schemas.py",),
    "aioquic": ("transport/", "bench/"),
    "qh3": ("transport/", "bench/"),
    "h2": ("web/http2/engine.py", "origins/", "edge/", "bench/"),
    "httptools": ("origins/", "edge/", "bench/"),
    "re2": ("ingress/",),
    "yaml": ("connector/", "ingress/config/keys/schema.py"),
    "click": ("connector/cli/",),
    "prometheus_client": ("connector/",),
    "opentelemetry": ("connector/observe/tracing.py",),
    "joserfc": ("identity/", "connector/", "control/"),
    "fastapi": ("control/",),
    "starlette": ("control/",),
    "pydantic": ("control/api/",),
    "uvicorn": ("control/server.py", "control/connection.py"),
    "sqlalchemy": ("control/", "bench/mesh/"),
    "alembic": ("control/store/",),
    "asyncpg": ("control/store/", "logpush/senders/postgresql.py"),
    "boto3": ("logpush/senders/s3.py",),
    "botocore": ("logpush/senders/s3.py",),
    "aiosqlite": (),
    "httpx": (
        "bench/mesh/",
        "edge/directory/",
        "edge/access/login/provider_client.py",
        "agent/httpx_transport.py",
        "logpush/senders/http.py",
        "logpush/senders/slices.py",
    ),
    "mitmproxy_rs": ("edge/private/wireguard/library.py",),
    "nacl": ("agent/access/login.py", "edge/access/login/handover.py"),
    "httpcore": ("agent/httpx_transport.py", "logpush/senders/slices.py"),
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
    for module in sorted(imported_modules(source, path)):
        top, _, rest = module.partition(".")
        if top in PRODUCT:
            faults.append(f"{path} imports {module} by its bare name: say {PACKAGE}.{module}")
        if top == PACKAGE:
            top = rest.partition(".")[0]
            if top in PRODUCT and top != room and top not in MAY_IMPORT[place]:
                faults.append(f"{path} imports {module}: {place} may not know {top}")
            if top and top not in PRODUCT and room in PRODUCT:
                faults.append(f"{path} imports {module}: a room does not go through the public API")
            continue
        if top in {"tests", "examples", "bench"} and room in PRODUCT:
            faults.append(f"{path} imports {module}: product code may not know {top}")
        if room in PURE and top in SANS_IO:
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
        ("ingress/rules/rules.py", "from pyconnector.connector import api"),
        ("ingress/rules/rules.py", "import asyncio"),
        ("ingress/rules/rules.py", "from pyconnector.origins import base"),
        ("ingress/rules/rules.py", "from ingress import parse_ingress"),
        ("origins/tcp/stream.py", "from pyconnector.transport.seam import Stream"),
        ("protocol/datagrams.py", "import time"),
        ("protocol/datagrams.py", "import capnp"),
        ("transport/seam.py", "import pyconnector.protocol.streams"),
        ("edge/local_edge.py", "from pyconnector.ingress import parse_ingress"),
        ("edge/local_edge.py", "from pyconnector import Connector"),
        ("edge/local_edge.py", "import pyconnector.connector"),
        ("connector/link/reconnect/supervisor.py", "import pyconnector.edge"),
        ("connector/link/reconnect/supervisor.py", "from aioquic.quic import connection"),
        ("connector/api/connector.py", "import bench"),
        ("transport/udp/batched.py", "from tests.support import net"),
    ],
)
def test_a_planted_violation_is_found(path: str, source: str) -> None:
    assert violations(source, path)


def loaded_with(path: Path, modules: Collection[str]) -> set[str]:
    """Which of `modules` a file imports as it loads: not those for types alone, nor those that a function asks for."""
    found: set[str] = set()
    pending: list[ast.AST] = list(ast.parse(path.read_text(encoding="utf-8")).body)
    while pending:
        node = pending.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            pending += node.orelse
            continue
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:  # a module of a package, or something of a module
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in modules else node.module)
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        pending += ast.iter_child_nodes(node)
    return found & set(modules)


def in_circles(arrows: dict[str, set[str]]) -> set[str]:
    """What can reach itself along `arrows`: leaves and roots are taken away until nothing changes."""
    left = {name: set(targets) & set(arrows) - {name} for name, targets in arrows.items()}
    while True:
        aimed_at = set().union(*left.values()) if left else set()
        kept = {name for name, targets in left.items() if targets and name in aimed_at}
        if len(kept) == len(left):
            return kept
        left = {name: left[name] & kept for name in kept}


def test_no_circle_of_files_is_imported() -> None:
    modules = {
        f"{PACKAGE}.{'.'.join(path.relative_to(ROOT).with_suffix('').parts)}".removesuffix(".__init__"): path
        for path in python_files()
    }
    assert in_circles({name: loaded_with(path, modules) for name, path in modules.items()}) == set()


def test_a_circle_is_found() -> None:
    arrows = {"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set[str](), "e": {"e", "a"}}
    assert in_circles(arrows) == {"b", "c"}


def test_the_command_line_alone_may_start_an_edge() -> None:
    assert not violations("from pyconnector.edge import LocalEdge", "connector/cli/run.py")


def test_no_module_outgrows_one_job() -> None:
    long = {
        path.relative_to(ROOT).as_posix(): lines
        for path in python_files()
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > MAX_LINES
    }
    assert not long
