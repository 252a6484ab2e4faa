"""Change the path of a request on its way to an origin (upstream wishes #408 and #563).

Works on the raw target, so that what is not changed goes through byte for byte, query included. In order: the
prefix is stripped, the first `rewritePath` entry that is found replaces what it found, a prefix is put in front.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import quote, unquote_to_bytes

from pyconnector.ingress.rules.path_patterns import MAX_REMOTE_PATTERN, compile_re2

#: Bytes of a target after rewriting.
MAX_TARGET = 64 * 1024
#: Characters of a replacement.
MAX_REPLACEMENT = 2 * 1024
_REFERENCE = re.compile(r"\$(?:(\$)|([0-9]{1,2})|\{([A-Za-z0-9_]{1,64})\}|)", re.ASCII)
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")
_PLAIN = re.compile(r"[\x21-\x7e]*", re.ASCII)
_ABSOLUTE = re.compile(r"https?://[^/$?#\\]+/", re.ASCII | re.IGNORECASE)
#: In a captured piece that goes into the query: what would begin another parameter.
_QUERY_SPECIAL = {ord(char): f"%{ord(char):02X}" for char in "&+;#"}


class TargetTooLong(Exception):
    """Rewriting made a target of more than MAX_TARGET bytes. Caught by the request path, which answers 414."""


@dataclass(frozen=True, slots=True)
class Redirect:
    """Answer the visitor with this status and Location, and do not ask the origin."""

    status: int
    location: str


@dataclass(frozen=True, slots=True)
class PathRewrite:
    """Replace what `match` finds in the raw path. With `redirect` the visitor is sent there with that status."""

    match: str
    replace: str
    redirect: int = 0
    _regex: Any = field(init=False, repr=False, compare=False)
    _path: tuple[str | int, ...] = field(init=False, repr=False, compare=False)
    _query: tuple[str | int, ...] | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        regex = compile_re2(self.match, limit=MAX_REMOTE_PATTERN, latin1=True)
        path, mark, query = self.replace.partition("?")
        _check_replacement(self.replace, absolute=bool(self.redirect))
        object.__setattr__(self, "_regex", regex)
        object.__setattr__(self, "_path", _template(path, regex))
        object.__setattr__(self, "_query", _template(query, regex) if mark else None)

    def apply(self, path: str) -> tuple[str, str | None] | None:
        """Return the new path and the query that the replacement gives (None for none), or None if nothing is found."""
        raw = path.encode("utf-8", "surrogateescape")
        match = self._regex.search(raw)
        if match is None:
            return None
        new = _expand(self._path, match)
        if _ABSOLUTE.match(self.replace) is None:
            start, end = match.span()
            new = _text(raw[:start]) + new + _text(raw[end:])
        if self._query is None:
            return new, None
        return new, _expand(self._query, match, escape=True)


def _check_replacement(text: str, *, absolute: bool) -> None:
    if len(text) > MAX_REPLACEMENT:
        raise ValueError(f"the replacement is longer than {MAX_REPLACEMENT} characters")
    if _PLAIN.fullmatch(text) is None or "#" in text:
        raise ValueError("the replacement holds a space, a # or a character that a URL must escape")
    if text.count("?") > 1:
        raise ValueError("the replacement holds more than one question mark")
    if "://" in text and not (absolute and _ABSOLUTE.match(text)):
        raise ValueError("the replacement is a URL, which only a redirect can have, with a / after its host")


def _template(text: str, regex: Any) -> tuple[str | int, ...]:
    parts: list[str | int] = []
    position = 0
    names = {name.decode(): index for name, index in regex.groupindex.items()}
    for match in _REFERENCE.finditer(text):
        parts.append(text[position : match.start()])
        position = match.end()
        dollar, number, name = match.groups()
        if dollar:
            parts.append("$")
        elif number is None and name is None:
            raise ValueError("a $ in the replacement must be followed by a group, as in $1 or ${name}, or be $$")
        else:
            parts.append(_group(number or name, names, regex.groups))
    parts.append(text[position:])
    return tuple(part for part in parts if part != "")


def _group(name: str, names: dict[str, int], count: int) -> int:
    index = int(name) if name.isdigit() and len(name) < 4 else names.get(name, -1)
    if not 0 <= index <= count:
        raise ValueError(f"the replacement names the group {name}, which the expression does not have")
    return index


def _expand(template: tuple[str | int, ...], match: Any, *, escape: bool = False) -> str:
    size = 0
    out = []
    for part in template:
        piece = part if isinstance(part, str) else _text(match.group(part) or b"")
        if escape and isinstance(part, int):
            piece = piece.translate(_QUERY_SPECIAL)
        size += len(piece)
        if size > MAX_TARGET:
            raise TargetTooLong
        out.append(piece)
    return "".join(out)


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


class RewritingKeys(Protocol):
    """The settings of a rule that say how its targets are rewritten, as `ingress.config.settings` has them."""

    @property
    def strip_path_prefix(self) -> str:
        """What is taken off the front."""

    @property
    def rewrite_path(self) -> tuple[PathRewrite, ...]:
        """What is replaced."""

    @property
    def add_path_prefix(self) -> str:
        """What is put in front."""


@dataclass(frozen=True, slots=True)
class TargetRewriter:
    """All that a rule does to the target of its requests."""

    strip: str = ""
    rules: tuple[PathRewrite, ...] = ()
    prefix: str = ""

    @classmethod
    def of(cls, settings: RewritingKeys) -> TargetRewriter:
        """Return what a rule's settings ask for; false where that is nothing."""
        return cls(strip=settings.strip_path_prefix, rules=settings.rewrite_path, prefix=settings.add_path_prefix)

    def __bool__(self) -> bool:
        return bool(self.strip or self.rules or self.prefix)

    def rewrite(self, target: str) -> str | Redirect:
        """Return the target for the origin, or where the visitor is to be sent.

        Targets that are no path (`*`, an authority) come back as they are.

        Raises:
            TargetTooLong: the result would be longer than MAX_TARGET.
        """
        if not target.startswith("/"):
            return target
        old, mark, query = target.partition("?")
        path = strip_prefix(old, self.strip) if self.strip else old
        for rule in self.rules:
            if (result := rule.apply(path)) is not None:
                path, extra = result
                if extra is not None:
                    mark, query = "?", f"{extra}&{query}" if extra and query else extra or query
                if rule.redirect:
                    return Redirect(rule.redirect, _bounded(_location(path) + mark + query))
                break
        if path != old:
            path = "/" + path.lstrip("/")
        return _bounded(self.prefix + path + mark + query)


def strip_prefix(path: str, prefix: str) -> str:
    """Take `prefix` (as `check_prefix` returns it) off the front of a raw path.

    An escaped spelling of the prefix counts (`/%78` for `/x`), but an escaped slash is no slash. Whole segments
    only: `/x` is not a prefix of `/xy`.
    """
    raw = path.encode("utf-8", "surrogateescape")
    position = 0
    for byte in unquote_to_bytes(prefix):
        escape = _ESCAPE.match(raw, position)
        octets = bytes.fromhex(escape[1].decode()) if escape else raw[position : position + 1]
        if octets[:1] != bytes((byte,)) or (escape and octets == b"/"):
            return path
        position += 3 if escape else 1
    rest = _text(raw[position:])
    if rest and not rest.startswith("/"):
        return path
    return "/" + rest.lstrip("/")


def _location(path: str) -> str:
    """A Location that stays on this host unless the config says otherwise: `//host` and `/\\host` would not."""
    if _ABSOLUTE.match(path) is None:
        path = "/" + path.lstrip("/\\")
    raw = path.encode("utf-8", "surrogateescape")
    return "".join(chr(byte) if 0x21 <= byte <= 0x7E and byte not in b'\\"<>' else f"%{byte:02X}" for byte in raw)


def _bounded(target: str) -> str:
    if len(target) > MAX_TARGET:
        raise TargetTooLong
    return target


def check_prefix(text: str) -> str:
    """Return a path prefix without its trailing slash, escaped where it holds more than ASCII.

    Raises:
        ValueError: it is no path; its message is a sentence.
    """
    prefix = "".join(char if char.isascii() else quote(char) for char in text.rstrip("/"))
    if not re.fullmatch(r"/[\x21-\x7e]+", prefix) or prefix.startswith("//") or "?" in prefix or "#" in prefix:
        raise ValueError("expected a path that begins with one slash and is more than that, such as /app")
    return prefix
