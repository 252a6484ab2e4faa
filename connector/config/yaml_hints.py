"""What the slips of every day in YAML are, in a sentence with a place, in place of the parser's own words."""

from __future__ import annotations

import re

import yaml

from pyconnector.connector.config.problems import Problem

#: What the parser says (with its context behind it), and what to do about it. The first that is found counts.
_HINTS: tuple[tuple[str, str], ...] = (
    (r"'\\t'|tab character", "a tab cannot be used here, YAML is indented with spaces"),
    (r"scanning an alias|undefined alias", 'a text that begins with * must be in quotes, as in "*.example.com"'),
    (r"scanning an anchor", "a text that begins with & must be in quotes"),
    (
        r"escape (sequence|character)",
        r"in double quotes a backslash begins an escape; use single quotes, as in 'C:\file', or write it twice",
    ),
    (r"end of stream.*quoted scalar|document separator.*quoted", "the quotes that begin here are never closed"),
    (
        r"mapping values are not allowed",
        'a text with ": " in it must be in quotes; the keys of a mapping begin in one column',
    ),
    (r"could not find expected ':'", "a key must be followed by a colon and a space"),
    (r"character '[@`%]' that cannot start", "a text that begins with @, ` or % must be in quotes"),
    (r"flow (mapping|sequence)", "a { or [ is not closed; a text that begins with one must be in quotes"),
    (r"<block end>, but found '<scalar>'", "something follows a text in quotes, or the line is indented wrongly"),
    (r"block (mapping|collection|end)", "the line is indented unlike those that it belongs with"),
    (r"chomping or indentation indicators", "a text that begins with | or > must be in quotes"),
    (r"(scanning|parsing) a (tag|directive)", "a text that begins with ! or % must be in quotes"),
)
_FORBIDDEN = yaml.reader.Reader.NON_PRINTABLE


def syntax_problem(error: yaml.YAMLError, data: bytes, file: str) -> Problem:
    """Return the sentence for `error`, which parsing `data` raised."""
    if isinstance(error, yaml.MarkedYAMLError):
        said = ", ".join(part for part in (error.problem, error.context) if part)
        text = next((hint for pattern, hint in _HINTS if re.search(pattern, said)), said or "this is not valid YAML")
        mark = error.problem_mark or error.context_mark
        if "end of stream" in said or "document separator" in said or "expected ':'" in said:
            mark = error.context_mark or mark  # where it began, for where it fails is the end of the file
        line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        return Problem(message=f"not valid YAML: {text}", file=file, line=line, column=column)
    if isinstance(error, yaml.reader.ReaderError):
        return _unreadable(data, file)
    return Problem(message="not valid YAML", file=file)


def _unreadable(data: bytes, file: str) -> Problem:
    encoding = "utf-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8"
    data = data.removeprefix(b"\xef\xbb\xbf")
    what, before = "it cannot be read", ""
    try:
        text = data.decode(encoding)
        if found := _FORBIDDEN.search(text):
            what, before = (
                f"it holds the character U+{ord(found.group()):04X}, which YAML forbids",
                text[: found.start()],
            )
    except UnicodeDecodeError as error:
        what, before = "it is not UTF-8 text", data[: error.start].decode(encoding, "replace")
    line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
    return Problem(message=f"not valid YAML: {what}", file=file, line=line, column=column)
