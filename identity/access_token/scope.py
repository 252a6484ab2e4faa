"""What a narrowed token may still be used for: a path and what lies below it, and methods. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from pyconnector.identity.applications.path_spellings import decode_path, spellings

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Methods that one token may be narrowed to, and characters of its path.
MAX_METHODS = 16
MAX_PATH = 1024
_METHOD = re.compile(r"[A-Z]{1,20}")


class ScopeError(ValueError):
    """A narrowing that makes no sense. The text is one sentence."""


def parse_scope(path: str, methods: str) -> tuple[str, tuple[str, ...]]:
    """Return the path and the methods of a narrowing, each empty where it does not narrow that.

    `methods` are separated by commas.

    Raises:
        ScopeError: a path could be understood in several ways, or a method is none.
    """
    if path in ("", "/"):
        path = ""
    elif path[0] != "/" or len(path) > MAX_PATH or "?" in path or spellings(path) != frozenset((path,)):
        raise ScopeError("path has to begin with / and to be spelt in the one way that every service understands")
    wanted = tuple(dict.fromkeys(methods.split(","))) if methods else ()
    if len(wanted) > MAX_METHODS or not all(map(_METHOD.fullmatch, wanted)):
        raise ScopeError("methods has to be a list such as GET,HEAD")
    return path.rstrip("/"), wanted


def is_within(claims: Mapping[str, Any], method: str, raw_path: str) -> bool:
    """Return whether a request is within what a verified narrowed token names.

    Every path that a service may take `raw_path` for has to lie below the token's, in the same case.
    """
    methods, path = claims.get("methods"), claims.get("path")
    if methods is not None and (not isinstance(methods, list) or method not in methods):
        return False
    if path is None:
        return True
    if not isinstance(path, str):
        return False
    forms = spellings(decode_path(raw_path.partition("?")[0]))
    return forms is not None and all(form == path or form.startswith(path + "/") for form in forms)
