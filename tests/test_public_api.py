"""The public API is whole: every type that it speaks of is in it, and what is misspelt is an error before it runs."""

from __future__ import annotations

import ast
import inspect
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import pyconnector

ROOT = Path(__file__).resolve().parent.parent
#: What public names speak of and nobody needs to name: short for a tuple; made by `parse_ingress` from a mapping; parts
#: of a `LocalEdge` for its own tests; what `parse_rule` makes a network rule of.
UNNAMED = {
    *("Action", "NetworkFlow"),
    *("Address", "HostPort"),
    *("Balance", "ErrorPage", "HeaderRules", "HealthCheck", "IpRule", "PathPattern", "PathRewrite", "RuleTable"),
    *("Connection", "FaultRelay", "Follower", "Gateway", "Histogram", "PrivateNetwork", "Share"),
}
#: A program that extends a connector in every way there is. What is marked as an error must be one.
PROGRAM = """
import asyncio
import logging
import uuid

from pyconnector import (
    AccessLog, ByteReader, Connector, ConnectorConfig, Credentials, Event, Gate, Layer, LayeredOrigin, LocalEdge,
    Observer, Origin, OriginError, OriginRequest, OriginResponse, Registered, Rejection, RequestRecord, Rule,
    load_config, parse_ingress,
)
from pyconnector import Conector  # type: ignore[attr-defined]


class OnlyReading(Gate):
    async def admit(self, request: OriginRequest) -> None:
        if request.method not in ("GET", "HEAD"):
            raise Rejection(status=405, reason="only reading is allowed", headers=[(b"Allow", b"GET, HEAD")])
        name: str = request.identity.name if request.identity else "nobody"
        request.headers.append((b"X-Name", name.encode()))


class Stamped(LayeredOrigin):
    async def serve(self, request: OriginRequest, body: ByteReader) -> OriginResponse:
        response = await self.inner.serve(request, body)
        response.headers.append("X-Served-By")  # type: ignore[arg-type]
        return response


class Down(Origin):
    async def serve(self, request: OriginRequest, body: ByteReader) -> OriginResponse:
        raise OriginError("closed for the night", status=503)


def closed(origin: Origin, rule: Rule) -> Origin:
    return Down() if rule.hostname == "shop.example.com" else origin


class Slow(Observer):
    def end(self, record: RequestRecord) -> None:
        if record.rule is not None and record.duration > 1:
            print(record.rule.hostname, record.status, record.bytes_out)


def told(event: Event) -> None:
    if isinstance(event, Registered):
        print(event.location)


LAYERS: list[Layer] = [OnlyReading, Stamped, closed]


async def main() -> None:
    ingress = parse_ingress({"ingress": [{"service": "http://localhost:8080"}]})
    credentials = Credentials(account_tag="a", tunnel_id=uuid.uuid4(), secret=b"s")
    config = ConnectorConfig(credentials=credentials, ingress=ingress)
    observers = [Slow(), AccessLog(logging.StreamHandler())]
    async with Connector(config, layers=LAYERS, observers=observers, on_event=told) as connector:
        await connector.wait_ready(2)
        count: int = connector.statistics().total_requests
        await connector.reload(load_config("config.yaml"))
        await connector.drain("soon")  # type: ignore[arg-type]
        print(count)
    Connector(config, layers=[lambda rule: rule])  # type: ignore[misc, list-item]


asyncio.run(main())
"""


def test_every_public_name_is_there_and_documented() -> None:
    for name in pyconnector.__all__:
        found = getattr(pyconnector, name)
        assert not inspect.isclass(found) or found.__doc__, name
    assert set(pyconnector.__all__) == set(pyconnector._HOME_OF)


def test_every_type_of_the_public_api_is_public() -> None:
    speaks_of = {name: set(_types_of(getattr(pyconnector, name))) for name in pyconnector.__all__}
    hidden = {name: found - set(pyconnector.__all__) - UNNAMED for name, found in speaks_of.items()}
    assert {name: found for name, found in hidden.items() if found} == {}


def test_examples_and_the_guide_need_only_the_public_api() -> None:
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / "examples").glob("*.py")]
    texts.append((ROOT / "docs" / "guide" / "embedding.md").read_text(encoding="utf-8"))
    imported = [line for text in texts for line in re.findall(r"^ *(?:from|import) pyconnector[^\s]*", text, re.M)]
    assert len(imported) > len(texts)
    assert {line.strip() for line in imported} == {"from pyconnector"}


@pytest.mark.timeout(300)
def test_an_embedding_program_is_checked_by_its_types(tmp_path: Path) -> None:
    """Strictly, with unused ignores an error: each mistake that the program marks is one."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM, encoding="utf-8")
    command = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "--no-error-summary"]
    cache = os.environ.get("MYPY_CACHE_DIR", str(ROOT / ".mypy_cache"))
    done = subprocess.run(
        [*command, "--config-file=", f"--cache-dir={cache}/public-api", str(program)],
        env={**os.environ, "MYPYPATH": str(ROOT / "src")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)


def _types_of(found: object) -> Iterator[str]:
    """The names of pyconnector's own types in the signatures and attributes of a public class or function."""
    if not (inspect.isclass(found) or inspect.isfunction(found)):
        return
    tree = ast.parse(inspect.getsource(sys.modules[found.__module__]))
    homes = {
        alias.asname or alias.name: node.module or ""
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    homes |= {node.name: found.__module__ for node in tree.body if isinstance(node, ast.ClassDef)}
    (definition,) = (node for node in tree.body if getattr(node, "name", "") == found.__name__)
    for annotation in _annotations(definition):
        for node in ast.walk(annotation):
            if isinstance(node, ast.Name) and homes.get(node.id, "").startswith("pyconnector"):
                yield node.id


def _annotations(definition: ast.stmt) -> Iterator[ast.expr]:
    members = definition.body if isinstance(definition, ast.ClassDef) else [definition]
    for member in members:
        if isinstance(member, ast.AnnAssign):
            if isinstance(member.target, ast.Name) and not member.target.id.startswith("_"):
                yield member.annotation
        elif isinstance(member, ast.FunctionDef | ast.AsyncFunctionDef):
            if member.name == "__init__":  # attributes that it makes
                for node in ast.walk(member):
                    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Attribute):
                        if not node.target.attr.startswith("_"):
                            yield node.annotation
            elif member.name.startswith("_"):
                continue
            arguments = (*member.args.args, *member.args.kwonlyargs)
            yield from (argument.annotation for argument in arguments if argument.annotation is not None)
            if member.returns is not None:
                yield member.returns
