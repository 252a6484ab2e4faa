"""docs/dependencies.md says why each package is here, and the product needs no more than it says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DOC = (ROOT / "docs" / "dependencies.md").read_text()


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[^A-Za-z0-9-]", requirement)[0] for requirement in requirements}


def section(title: str) -> str:
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", DOC, re.MULTILINE | re.DOTALL)
    assert found is not None, title
    return found[1]


@pytest.mark.parametrize(
    ("title", "requirements"),
    [
        ("Core", PROJECT["dependencies"]),
        ("Extra `access`", PROJECT["optional-dependencies"]["access"]),
        ("Extra `fast`", PROJECT["optional-dependencies"]["fast"]),
        ("Extra `mesh`", PROJECT["optional-dependencies"]["mesh"]),
        ("Extra `s3`", PROJECT["optional-dependencies"]["s3"]),
        ("Extra `otel`", PROJECT["optional-dependencies"]["otel"]),
    ],
)
def test_every_package_has_its_reason_and_every_reason_its_package(title: str, requirements: list[str]) -> None:
    documented = set(re.findall(r"^\| ([a-z0-9-]+) \| ..", section(title), re.MULTILINE)) - {"package"}
    assert documented == names(requirements)


def test_development_packages_are_named() -> None:
    for name in names(PROJECT["optional-dependencies"]["dev"]):
        assert name in section("Extra `dev`")


def test_every_package_has_a_constraint() -> None:
    lines = (ROOT / "constraints.txt").read_text().lower().replace("_", "-").splitlines()
    constrained = {line.partition("==")[0] for line in lines}
    for requirements in (PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()):
        assert {name.lower() for name in names(requirements)} <= constrained


def test_no_release_of_h2_with_a_known_hole_is_admitted() -> None:
    """CVE-2025-57804, requests that downstream servers split, is closed since 4.3."""
    (least,) = (each[4:] for each in PROJECT["dependencies"] if each.startswith("h2>="))
    assert tuple(map(int, least.split("."))) >= (4, 3)


def test_a_request_gets_through_where_only_core_packages_are_installed() -> None:
    """The demo, with every package of the extras made impossible to import."""
    blocked = ["capnp", "nacl", "qh3", "uvloop", "grpc", "httpx", "hypothesis", "psycopg", "pytest", "websockets"]
    blocked += [
        "aiosqlite",
        "alembic",
        "asyncpg",
        "boto3",
        "cloudflare",
        "fastapi",
        "opentelemetry",
        "sqlalchemy",
        "uvicorn",
    ]
    code = (
        f"import sys\nsys.modules.update(dict.fromkeys({blocked!r}))\n"
        "import runpy\nrunpy.run_path('examples/demo.py', run_name='__main__')\n"
    )
    environment = {**os.environ, "DEMO_ONCE": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Hello from a service" in done.stdout
