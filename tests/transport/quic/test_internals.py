"""What the engines use of private parts of aioquic and qh3: the lists are true of packages and engines alike."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import textwrap
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from pyconnector.transport.quic import aioquic_engine, qh3_engine
from pyconnector.transport.quic.aioquic_engine import internals as of_aioquic
from pyconnector.transport.quic.qh3_engine import internals as of_qh3

ENGINES = [
    pytest.param(aioquic_engine, of_aioquic, "aioquic", id="aioquic"),
    pytest.param(qh3_engine, of_qh3, "qh3", id="qh3"),
]


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


def foreign_class(path: str) -> type:
    module, _, name = path.rpartition(".")
    found: type = getattr(importlib.import_module(module), name)
    return found


def defined_by(cls: type) -> set[str]:
    """The private names of a class: methods, and the attributes that its methods set."""
    names = {name for name in vars(cls) if is_private(name) and name != "_abc_impl"}
    for node in ast.walk(syntax_of(cls)):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and is_private(node.attr):
            names.add(f"_{cls.__name__}{node.attr}" if node.attr.startswith("__") else node.attr)
    return names


def syntax_of(cls: type) -> ast.Module:
    return ast.parse(textwrap.dedent(inspect.getsource(cls)))


def own_classes(engine: ModuleType) -> Iterator[type]:
    for info in pkgutil.iter_modules(engine.__path__):
        module = importlib.import_module(f"{engine.__name__}.{info.name}")
        yield from (c for c in vars(module).values() if inspect.isclass(c) and c.__module__ == module.__name__)


def foreign_bases(cls: type, package: str) -> list[type]:
    return [base for base in cls.__mro__ if base.__module__.partition(".")[0] == package]


def used_by(engine: ModuleType, package: str) -> dict[str, set[str]]:
    """The private names of the package's classes that subclasses of the engine read, write or override."""
    used: dict[str, set[str]] = defaultdict(set)
    for cls in own_classes(engine):
        body = syntax_of(cls)
        names = {node.attr for node in ast.walk(body) if isinstance(node, ast.Attribute) and is_private(node.attr)}
        names |= {name for name in vars(cls) if is_private(name)}
        for base in foreign_bases(cls, package):
            used[f"{base.__module__}.{base.__qualname__}"] |= names & defined_by(base)
    return {path: names for path, names in used.items() if names}


def reached(internals: ModuleType) -> set[str]:
    """Private names that the file itself reaches from outside of a class."""
    tree = ast.parse(inspect.getsource(internals))
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and is_private(node.attr)
        if not (isinstance(node.value, ast.Name) and node.value.id in ("self", "quic"))
    }


@pytest.mark.parametrize(("engine", "internals", "package"), ENGINES)
def test_the_package_has_every_name_on_the_list(engine: ModuleType, internals: ModuleType, package: str) -> None:
    missing = {path: sorted(names - defined_by(foreign_class(path))) for path, names in internals.NAMES.items()}
    assert {path: names for path, names in missing.items() if names} == {}


@pytest.mark.parametrize(("engine", "internals", "package"), ENGINES)
def test_the_list_has_every_name_that_the_engine_uses(engine: ModuleType, internals: ModuleType, package: str) -> None:
    """Also one that the engine made up and a new version of the package begins to use."""
    listed: dict[str, frozenset[str]] = internals.NAMES
    unlisted = {path: names - listed.get(path, frozenset()) for path, names in used_by(engine, package).items()}
    assert {path: sorted(names) for path, names in unlisted.items() if names} == {}
    assert reached(internals) <= set().union(*listed.values())


@pytest.mark.parametrize(("engine", "internals", "package"), ENGINES)
def test_nothing_on_the_list_is_stale(engine: ModuleType, internals: ModuleType, package: str) -> None:
    used, outside = used_by(engine, package), reached(internals)
    stale = {path: names - used.get(path, set()) - outside for path, names in internals.NAMES.items()}
    assert {path: sorted(names) for path, names in stale.items() if names} == {}


@pytest.mark.parametrize(("engine", "internals", "package"), ENGINES)
def test_overridden_methods_have_the_parameters_of_theirs(
    engine: ModuleType, internals: ModuleType, package: str
) -> None:
    different = []
    for cls in own_classes(engine):
        for name in set(vars(cls)) & set().union(*internals.NAMES.values()):
            for base in foreign_bases(cls, package):
                theirs, ours = vars(base).get(name), vars(cls)[name]
                if inspect.isfunction(theirs) and inspect.isfunction(ours) and not fits(theirs, ours):
                    different.append(f"{cls.__name__}.{name}")
    assert different == []


def fits(theirs: object, ours: object) -> bool:
    """Whether a method may stand in for another: the same parameters, or any that come."""
    wanted, taken = (inspect.signature(method).parameters for method in (theirs, ours))  # type: ignore[arg-type]
    kinds = {parameter.kind for parameter in taken.values()}
    if inspect.Parameter.VAR_POSITIONAL in kinds or inspect.Parameter.VAR_KEYWORD in kinds:
        return True
    return list(wanted) == list(taken)


@pytest.mark.parametrize(("engine", "internals", "package"), ENGINES)
def test_private_modules_are_imported_in_one_file(engine: ModuleType, internals: ModuleType, package: str) -> None:
    for path in engine.__path__:
        for file in Path(path).glob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(f"{package}._"):
                    assert file.name == "internals.py"


def test_a_name_that_an_upgrade_takes_away_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = {**of_aioquic.NAMES, "aioquic.quic.recovery.QuicPacketPacer": frozenset({"_gone"})}
    monkeypatch.setattr(of_aioquic, "NAMES", listed)
    with pytest.raises(AssertionError, match="_gone"):
        test_the_package_has_every_name_on_the_list(aioquic_engine, of_aioquic, "aioquic")
