"""How the text of a config becomes YAML nodes: scalars as the reference reads them, tabs where YAML has them."""

from __future__ import annotations

import re
from typing import Any

import yaml

PREFIX = "tag:yaml.org,2002:"
MERGE = f"{PREFIX}merge"
_BREAKS = "\r\n\x85\u2028\u2029"
_INDICATORS_AND_TAB = re.compile(r"(?:[+-][1-9]?|[1-9][+-]?)?(?=\t)")


class Loader(yaml.SafeLoader):
    """SafeLoader with other scalars (no dates, no base-60 numbers), and with tabs as white space.

    The library forbids tabs everywhere. YAML forbids them only as indentation (YAML 1.2.2, 6.1 and 6.2): they may
    separate what stands on one line, and fill lines that hold nothing else.
    """

    def scan_to_next_token(self) -> None:
        """Skip white space, comments and line breaks, tabs included where they indent nothing."""
        super().scan_to_next_token()
        while self.peek() == "\t" and (self.flow_level or not self.allow_simple_key or self._is_blank_line()):
            self._skip_blanks()
            super().scan_to_next_token()

    def scan_plain_spaces(self, indent: int, start_mark: yaml.Mark) -> list[str] | None:
        """Return what separates two words of a text that is not in quotes."""
        length = 0
        while self.peek(length) in " \t":
            length += 1
        blanks = self.prefix(length)
        if "\t" in blanks:
            self.forward(length)
            if self.peek() not in _BREAKS:
                return [blanks]
        chunks: list[str] | None = super().scan_plain_spaces(indent, start_mark)
        if chunks and self.column >= indent:
            self._skip_blanks()  # behind the indentation of a further line
        return chunks

    def scan_block_scalar_indicators(self, start_mark: yaml.Mark) -> tuple[bool | None, int | None]:
        """Return what follows the `|` or `>` of a text of several lines."""
        if found := _INDICATORS_AND_TAB.match(self.prefix(3)):
            self.forward(found.end())
            chomping, width = found.group().strip("123456789"), found.group().strip("+-")
            return (chomping == "+" if chomping else None), (int(width) if width else None)
        return super().scan_block_scalar_indicators(start_mark)

    def scan_block_scalar_ignored_line(self, start_mark: yaml.Mark) -> None:
        """Skip what follows the `|` or `>` of a text of several lines."""
        self._skip_blanks()
        super().scan_block_scalar_ignored_line(start_mark)

    def _skip_blanks(self) -> None:
        while self.peek() in " \t":
            self.forward()

    def _is_blank_line(self) -> bool:
        length = 0
        while self.peek(length) in " \t":
            length += 1
        return self.peek(length) in "#\0" + _BREAKS


_KEPT_TAGS = (f"{PREFIX}null", MERGE)
Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag in _KEPT_TAGS]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_SCALARS: tuple[tuple[str, str, str], ...] = (
    # yes, no, on and off stay text: a hostname may be called so, and who wants a truth value takes them as one.
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?(?:0b[01_]+|0o?[0-7_]+|0x[0-9a-fA-F_]+|0|[1-9][0-9_]*)", "-+0123456789"),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?", "-+0123456789."),
    ("float", r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", "-+."),
)
for _tag, _pattern, _first in _SCALARS:
    Loader.add_implicit_resolver(PREFIX + _tag, re.compile(f"^(?:{_pattern})$"), list[Any](_first))
