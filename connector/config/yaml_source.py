"""A YAML file as plain values that remember where each of them stood.

The file is composed into nodes first, because nodes know their line and column; values are built here, within bounds
on size, depth and the number of values, so that aliases cannot blow up. Called by `connector.config.load`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

import yaml

from pyconnector.connector.api.errors import ConfigError
from pyconnector.connector.config.problems import Path, Problem
from pyconnector.connector.config.yaml_hints import syntax_problem
from pyconnector.connector.config.yaml_loader import MERGE, PREFIX, Loader
from pyconnector.ingress.config.errors import describe
from pyconnector.ingress.config.keys.guards import guard_meant

#: Largest config file that is read.
MAX_FILE_BYTES = 1024 * 1024
#: Values a file may hold, with every alias counted as often as it is used.
MAX_VALUES = 50_000
#: Deepest nesting.
MAX_DEPTH = 40

_TAGS = frozenset(PREFIX + name for name in ("map", "seq", "str", "int", "float", "bool", "null", "merge"))
_CONSTRUCTOR = yaml.constructor.SafeConstructor()


@dataclass(slots=True)
class Source:
    """What a config file holds, and where."""

    file: str
    values: dict[str, Any] = field(default_factory=dict)
    warnings: list[Problem] = field(default_factory=list)
    keys: dict[Path, tuple[int, int]] = field(default_factory=dict)
    "Line and column of each mapping key or list item, 1-based."
    places: dict[Path, tuple[int, int]] = field(default_factory=dict)
    "Line and column of each value, 1-based."

    def problem(
        self, path: Path, message: str, *, suggestion: str = "", warning: bool = False, key: bool = False
    ) -> Problem:
        """Make a Problem at `path`, or at the nearest value around it that exists."""
        line, column = self._place(path, self.keys if key else self.places)
        return Problem(
            message=message, file=self.file, line=line, column=column, path=path, suggestion=suggestion, warning=warning
        )

    def _place(self, path: Path, places: dict[Path, tuple[int, int]]) -> tuple[int, int]:
        if path in places:
            return places[path]
        for length in range(len(path) - 1, 0, -1):
            if path[:length] in self.keys:
                return self.keys[path[:length]]
        return (0, 0)


def read_source(file: str) -> Source:
    """Read and parse the config file `file`.

    Raises:
        ConfigError: it is missing, unreadable, too large, or no YAML mapping.
    """
    return parse_source(_read(file), file)


def parse_source(data: bytes, file: str) -> Source:
    """Parse the bytes of a config file; `file` is what problems call it.

    Raises:
        ConfigError: they are no YAML mapping.
    """
    source = Source(file=file)
    try:
        node = _compose(data, source)
    except yaml.YAMLError as error:
        raise ConfigError([syntax_problem(error, data, file)]) from error
    except RecursionError:
        raise ConfigError([Problem(message="the values are nested too deeply", file=file)]) from None
    if node is None:
        source.warnings.append(Problem(message="the config file is empty", file=file, warning=True))
        return source
    builder = _Builder(source)
    value = builder.build(node, (), 0)
    if builder.problems:
        raise ConfigError(builder.problems)
    if not isinstance(value, dict):
        line, column = source.places[()]
        message = f"a config file holds keys and values, this one holds {describe(value)}"
        raise ConfigError([Problem(message=message, file=file, line=line, column=column)])
    source.values = value
    return source


def _read(file: str) -> bytes:
    path = FilePath(file).expanduser()
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        problem = "there is no such config file"
    except IsADirectoryError:
        problem = "this is a directory, not a config file"
    except OSError as error:
        problem = f"the config file cannot be read: {(error.strerror or 'unknown error').lower()}"
    else:
        if len(data) <= MAX_FILE_BYTES:
            return data
        problem = f"the config file is larger than {MAX_FILE_BYTES} bytes"
    raise ConfigError([Problem(message=problem, file=file)])


def _compose(data: bytes, source: Source) -> yaml.Node | None:
    loader = Loader(data)
    try:
        node: yaml.Node | None = loader.get_node() if loader.check_node() else None
        if node is not None and loader.check_node():
            message = "only the first YAML document of the file is used"
            source.warnings.append(Problem(message=message, file=source.file, warning=True))
            _refuse_guards(loader, source.file)
        return node
    finally:
        loader.dispose()


def _refuse_guards(loader: Loader, file: str) -> None:
    """Refuse guarding keys in the documents that are passed over, of which `loader` has the first before it."""
    seen: set[int] = set()
    while loader.check_node():
        waiting = [loader.get_node()]
        while waiting:
            node = waiting.pop()
            if id(node) in seen or not isinstance(node, yaml.CollectionNode):
                continue
            seen.add(id(node))
            if isinstance(node, yaml.SequenceNode):
                waiting += node.value
                continue
            for key, value in node.value:
                if isinstance(key, yaml.ScalarNode) and guard_meant(key.value):
                    message = f"{key.value} has no effect here: only the first YAML document of the file is used"
                    mark = key.start_mark
                    raise ConfigError([Problem(message=message, file=file, line=mark.line + 1, column=mark.column + 1)])
                waiting.append(value)


class _Builder:
    """Turns nodes into values, within bounds, and remembers their places."""

    def __init__(self, source: Source) -> None:
        self.problems: list[Problem] = []
        self._source = source
        self._left = MAX_VALUES
        self._open: set[int] = set()

    def build(self, node: yaml.Node, path: Path, depth: int) -> Any:
        start = (node.start_mark.line + 1, node.start_mark.column + 1)
        # A mapping or list begins where its first entry does: what is wrong with all of it is shown at its key.
        self._source.places[path] = (
            self._source.keys.get(path, start) if isinstance(node, yaml.CollectionNode) else start
        )
        if not self._admit(node, path, depth):
            return None
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.MappingNode):
                return self._mapping(node, path, depth)
            if isinstance(node, yaml.SequenceNode):
                for index, item in enumerate(node.value):
                    self._source.keys[(*path, index)] = (item.start_mark.line + 1, item.start_mark.column + 1)
                return [self.build(item, (*path, index), depth + 1) for index, item in enumerate(node.value)]
            return self._scalar(node, path)
        finally:
            self._open.discard(id(node))

    def _admit(self, node: yaml.Node, path: Path, depth: int) -> bool:
        self._left -= 1
        if self._left == -1:
            self._problem(path, f"the file holds more than {MAX_VALUES} values, aliases counted as often as used")
        elif id(node) in self._open:
            self._problem(path, "an alias refers to the value that it is part of")
        elif node.tag not in _TAGS:
            self._problem(path, f"the YAML tag {node.tag.removeprefix(PREFIX)[:40]} is not supported")
        elif depth > MAX_DEPTH:
            self._problem(path, f"values are nested more than {MAX_DEPTH} deep")
        else:
            return self._left >= 0
        return False

    def _mapping(self, node: yaml.MappingNode, path: Path, depth: int) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key_node, value_node in self._entries(node, path, depth):
            if not isinstance(key_node, yaml.ScalarNode):
                self._problem(path, "a key must be text")
                continue
            key = key_node.value
            place = (key_node.start_mark.line + 1, key_node.start_mark.column + 1)
            if key in values:
                self._duplicate((*path, key), place)
                continue
            self._source.keys[(*path, key)] = place
            values[key] = self.build(value_node, (*path, key), depth + 1)
        return values

    def _entries(self, node: yaml.MappingNode, path: Path, depth: int) -> Iterator[tuple[yaml.Node, yaml.Node]]:
        """The mapping's own entries, then those of `<<` that it does not have itself."""
        merged: list[yaml.MappingNode] = []
        own = set()
        for key_node, value_node in node.value:
            if key_node.tag != MERGE:
                own.add(key_node.value if isinstance(key_node, yaml.ScalarNode) else None)
                yield key_node, value_node
            elif isinstance(value_node, yaml.MappingNode):
                merged.append(value_node)
            elif isinstance(value_node, yaml.SequenceNode):
                merged.extend(item for item in value_node.value if isinstance(item, yaml.MappingNode))
            else:
                self._problem(path, "<< must be followed by an alias of a mapping")
        for other in merged:
            if depth < MAX_DEPTH and self._admit(other, path, depth):
                for key_node, value_node in self._entries(other, path, depth + 1):
                    if isinstance(key_node, yaml.ScalarNode) and key_node.value not in own:
                        own.add(key_node.value)
                        yield key_node, value_node

    def _scalar(self, node: yaml.Node, path: Path) -> Any:
        tag = node.tag.rsplit(":", 1)[-1]
        if tag == "str":
            return node.value
        try:
            return _integer(node.value) if tag == "int" else _CONSTRUCTOR.construct_object(node)
        except (yaml.YAMLError, ValueError, KeyError):
            self._problem(path, f"{node.value[:40]!r} cannot be read as {tag}")
            return None

    def _duplicate(self, path: Path, place: tuple[int, int]) -> None:
        line, column = place
        first = self._source.keys[path][0]
        message = f"the key is given twice, first in line {first}"
        self.problems.append(Problem(message=message, file=self._source.file, line=line, column=column, path=path))

    def _problem(self, path: Path, message: str) -> None:
        self.problems.append(self._source.problem(path, message))


def _integer(text: str) -> int:
    digits = text.replace("_", "").lstrip("+-")
    if digits[:2] in ("0x", "0b"):
        number = int(digits, 0)
    elif digits.startswith("0") and len(digits) > 1:
        number = int(digits.replace("0o", "0"), 8)
    else:
        number = int(digits)
    return -number if text.startswith("-") else number
