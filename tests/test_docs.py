"""What the docs say is there: generated tables, configs, links, tests, files, sentences and programs."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from click.testing import CliRunner

from pyconnector.connector.cli import main
from pyconnector.connector.config import check_config
from pyconnector.connector.config.schema import file_schema

ROOT = Path(__file__).resolve().parent.parent
DOCS = [ROOT / "README.md", *sorted(page for page in (ROOT / "docs").rglob("*.md") if page.parent.name != "reference")]
CITED_TEST = re.compile(r"`([\w/]+\.py)::(test_\w+)`")
CITED_FILE = re.compile(r"`((?:protocol|transport|ingress|connector|edge|bench|tests|examples|scripts|docs)/[\w./-]*)`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
PRODUCT = ("protocol", "identity", "transport", "ingress", "origins", "connector", "edge", "agent")


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def blocks(language: str) -> list[Any]:
    return [
        pytest.param(found[2], id=f"{path.name}-{number}")
        for path in DOCS
        for number, found in enumerate(BLOCK.finditer(text_of(path)))
        if found[1] == language
    ]


@cache
def cited_names(path: Path) -> frozenset[str]:
    nodes = ast.walk(ast.parse(text_of(path)))
    return frozenset(node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def anchors_of(path: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", text_of(path), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def test_generated_parts_are_fresh() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "generate-docs"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"run scripts/generate-docs: {done.stdout}{done.stderr}"


def test_the_schema_of_the_command_line_is_the_one_in_the_docs() -> None:
    found = CliRunner().invoke(main, ["ingress", "schema"])
    assert json.loads(found.stdout) == json.loads(text_of(ROOT / "docs" / "config.schema.json")) == file_schema()


@pytest.mark.parametrize("text", blocks("yaml"))
def test_every_config_in_the_docs_is_valid(text: str, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(text)
    rules, problems = check_config(str(config))
    assert [str(problem) for problem in problems] == []
    assert rules is not None
    assert set(yaml.safe_load(text)) <= set(file_schema()["properties"])


@pytest.mark.parametrize("text", blocks("python"))
def test_every_program_in_the_docs_compiles_and_its_names_exist(text: str) -> None:
    tree = ast.parse(text)
    compile(tree, "docs", "exec")
    imports: list[ast.stmt] = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    exec(compile(ast.Module(imports, []), "docs", "exec"), {})


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    for link in LINK.findall(text_of(path)):
        if link.startswith(("http://", "https://")):
            continue
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        assert target.exists(), f"{path.name} links to {link}"
        if anchor:
            assert anchor in anchors_of(target), f"{path.name} links to {link}"


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_cited_tests_and_files_exist(path: Path) -> None:
    text = text_of(path)
    for name, test in CITED_TEST.findall(text):
        file = ROOT / "tests" / name.removeprefix("tests/")
        assert file.exists(), f"{path.name} cites {name}"
        assert test in cited_names(file), f"{path.name} cites {name}::{test}"
    for name in CITED_FILE.findall(text):
        assert list(ROOT.glob(name)) or "*" in name, f"{path.name} cites {name}"


def test_every_row_of_the_parity_matrix_has_its_test() -> None:
    matrix, _, gaps = text_of(ROOT / "docs" / "parity.md").partition("## Known gaps")
    rows = [line for line in matrix.splitlines() if re.match(r"\| (?!reference \|)[^-]", line)]
    assert len(rows) > 100
    assert gaps.count("\n| ") > 3
    for row in rows:
        assert row.count(" | ") == 2, row
        assert CITED_TEST.search(row.rpartition(" | ")[2]) or "(#known-gaps)" in row, row


@cache
def sentences_of_the_product() -> str:
    """Every text in the product's code, one a line, with … in place of what is filled in."""
    found = []
    for room in PRODUCT:
        for path in (ROOT / room).rglob("*.py"):
            for node in ast.walk(ast.parse(text_of(path))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.append(re.sub(r"%[sdg]", "…", node.value))
                elif isinstance(node, ast.JoinedStr):
                    found.append("".join(str(p.value) if isinstance(p, ast.Constant) else "…" for p in node.values))
    return "\n".join(found)


def test_every_sentence_in_troubleshooting_is_one_that_the_product_says() -> None:
    text = text_of(ROOT / "docs" / "troubleshooting.md")
    cells = [cell.strip() for line in text.splitlines() if line.startswith("|") for cell in line.split("|")]
    quoted = [cell.strip("`") for cell in cells if re.fullmatch(r"`[^`]{12,}`", cell)]
    assert len(quoted) > 50
    known = sentences_of_the_product()
    for sentence in quoted:
        for part in re.split(r"[…,;:]", sentence):
            assert part.strip(" ?.") in known, f"nothing says {part!r} (in {sentence!r})"


@pytest.mark.parametrize(("command", "page"), [("edge", "edge.md"), ("run", "guide/cli.md")])
def test_every_option_is_documented(command: str, page: str) -> None:
    text = text_of(ROOT / "docs" / page)
    documented = main.commands[command]
    for parameter in documented.get_params(click.Context(documented)):
        for option in parameter.opts:
            if option.startswith("--") and option != "--help":
                assert option in text or f"`{option[2:]}`" in text, f"{page} does not name {option}"
