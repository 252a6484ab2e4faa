"""Path rules: RE2 expressions searched in the decoded path, unanchored (reference/ingress.md 4.2).

RE2 takes linear time whatever a visitor sends. Memory is bounded per expression, and the text of those that come
from the edge is short.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from pyconnector.ingress.config.errors import quoted

#: Bytes of memory that one compiled expression may use, its caches included.
PATTERN_MEMORY = 2 * 1024 * 1024
#: Characters of an expression in the local config.
MAX_PATTERN = 16 * 1024
#: Characters of an expression that the edge sends.
MAX_REMOTE_PATTERN = 2 * 1024
_SURROGATES = re.compile("[\ud800-\udfff]")
_NOT_IN_RE2 = ("(?=", "(?!", "(?<=", "(?<!", "(?>", "(?(")


@dataclass(frozen=True, slots=True)
class PathPattern:
    """A compiled path rule. Equal to any other of the same text."""

    text: str
    _regex: Any = field(repr=False, compare=False)

    def search(self, path: str) -> bool:
        """Say whether the expression is found anywhere in the decoded `path`."""
        return self._regex.search(to_bytes(path)) is not None


def compile_path(text: str, *, limit: int = MAX_PATTERN) -> PathPattern:
    """Compile a path rule.

    Raises:
        ValueError: it is no RE2 expression, or too large; its message is a sentence.
    """
    return PathPattern(text, compile_re2(text, limit=limit))


def fold_case(pattern: PathPattern) -> PathPattern:
    """Return the pattern without regard to case."""
    return PathPattern(pattern.text, compile_re2(pattern.text, folded=True))


def compile_re2(text: str, *, limit: int = MAX_PATTERN, latin1: bool = False, folded: bool = False) -> Any:
    """Compile an expression that searches bytes: UTF-8, or with `latin1` bytes as they are; `folded` without case.

    Raises:
        ValueError: it is no RE2 expression, or too large; its message is a sentence.
    """
    if len(text) > limit:
        raise ValueError(f"the expression is longer than {limit} characters")
    import re2  # 3 MB that rules without a path need not carry

    options = re2.Options()
    # Ignoring case makes of a class of letters some more ranges: an expression that fits must fit then, too.
    options.max_mem = PATTERN_MEMORY * (4 if folded else 1)
    options.case_sensitive = not folded
    options.log_errors = False
    if latin1:
        options.encoding = re2.Options.Encoding.LATIN1
    if _has_byte_escape(text):
        raise ValueError(r"invalid escape sequence: \C")
    try:
        return re2.compile(text.encode(), options)
    except UnicodeEncodeError as error:
        raise ValueError("the expression holds half of a character") from error
    except re2.error as error:
        raise ValueError(_reason(error, text)) from error


def _reason(error: Exception, text: str) -> str:
    cause = error.args[0] if error.args else b""
    reason = cause.decode(errors="replace") if isinstance(cause, bytes) else str(cause)
    if "pattern too large" in reason:
        return (
            f"the expression needs more than {PATTERN_MEMORY // (1024 * 1024)} MiB of memory; use smaller repetitions"
        )
    if any(mark in text for mark in _NOT_IN_RE2) or re.search(r"\\[1-9]", text):
        reason += "; RE2 has no look-around and no back-references"
    elif text.startswith(("*", "?")):
        reason += f"; an expression is not a file name pattern: write .{text[0]} for {text[0]}"
    return quoted(reason)[1:-1] if len(reason) <= 60 else reason[:400]


def _has_byte_escape(text: str) -> bool:
    r"""Find `\C`, which this RE2 knows and the reference's does not."""
    return any(match[0] == r"\C" for match in re.finditer(r"\\Q.*?(?:\\E|$)|\\.", text, re.DOTALL))


def to_bytes(path: str) -> bytes:
    """Encode a path; each byte that was no UTF-8 counts as one U+FFFD, as it does for the reference."""
    try:
        return path.encode()
    except UnicodeEncodeError:
        return _SURROGATES.sub("\ufffd", path).encode()
