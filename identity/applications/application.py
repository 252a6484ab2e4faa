"""One application: the host and path that it stands for, and what it says of its callers (access.md 2). Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

#: Characters of a pattern, and `*` in its path.
MAX_PATTERN = 1024
MAX_STARS = 4
#: Patterns and policies of one application.
MAX_PATTERNS = 50
MAX_POLICIES = 100
#: Seconds for which what is issued is valid where nobody says.
DEFAULT_SESSION = 24 * 3600.0
_HOST = re.compile(r"[a-z0-9_*-]+(?:\.[a-z0-9_*-]+)*|\[[0-9a-f:.]+\]")
_PATH = re.compile(r"[A-Za-z0-9._~!$&'()+,=:@*/-]*")
_TOKEN_HEADER = re.compile(r"[A-Za-z0-9-]{1,64}")
_AUDIENCE = re.compile(r"[0-9a-f]{64}")
#: Headers that mean something else here, or at every service.
_RESERVED = frozenset(
    ("host", "connection", "content-length", "transfer-encoding", "upgrade", "te", "trailer", "expect", "cookie",
     "keep-alive", "proxy-connection")
)  # fmt: skip


class ApplicationError(Exception):
    """An application that makes no sense. The text is one sentence for whoever wrote it."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """A host, each of whose labels may have one `*`, and a path, in which `*` stands for any text."""

    host: str
    path: str
    "Without the slash it begins with; empty for all of the host."

    @property
    def text(self) -> str:
        """As people write it."""
        return f"{self.host}/{self.path}" if self.path else self.host

    @property
    def specificity(self) -> tuple[bool, int, int, bool]:
        """What makes one pattern come before another: a host without `*`, more of a host, then the same of the path."""
        return (
            "*" not in self.host, len(self.host.replace("*", "")), len(self.path.replace("*", "")),
            "*" not in self.path,
        )  # fmt: skip

    def takes_host(self, host: str) -> bool:
        """Return whether a lower-case `host` is meant; `*` covers a label or part of one."""
        if "*" not in self.host:
            return host == self.host
        wanted, labels = self.host.split("."), host.split(".")
        return len(wanted) == len(labels) and all(map(_label_fits, wanted, labels))

    def takes_path(self, path: str) -> bool:
        """Return whether a decoded path, with its slash, is meant: what the pattern says, and all below it.

        `alpha/*` means what lies below `alpha` and not `alpha` itself.
        """
        return not self.path or _path_fits(self.path, path[1:])


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """One application as an edge knows it."""

    id: str
    name: str
    audience: str
    patterns: tuple[Pattern, ...]
    policy_ids: tuple[str, ...] = ()
    "In their order."
    session_seconds: float = DEFAULT_SESSION
    token_header: str = ""
    "Lower-case name of the one header that may carry both halves of a service token as JSON."
    valid_after: float = 0.0
    "Tokens that were issued for it earlier are worth nothing any more."
    identity_headers: bool = False
    "Whether the service is told role, labels and owner in headers (an extension)."
    provider_ids: tuple[str, ...] = ()
    "The identity providers that people may log in with; all where it is empty."
    to_provider_at_once: bool = False
    "Whether the login page is left out where there is one provider alone."


def parse_pattern(text: str) -> Pattern:
    """Return the pattern of a `host/path`.

    Raises:
        ApplicationError: it is none.
    """
    shown = repr(text[:100])
    if "://" in text:
        raise ApplicationError(f"{shown} begins with a scheme: write host and path alone.")
    if "?" in text or "#" in text:
        raise ApplicationError(f"{shown} has a query or a fragment, which no application is told apart by.")
    host, _, path = text.partition("/")
    host = host.lower().removesuffix(".")
    if len(text) > MAX_PATTERN or not _HOST.fullmatch(host):
        raise ApplicationError(f"{shown} does not begin with the name of a host, without a port.")
    if any(label.count("*") > 1 for label in host.split(".")):
        raise ApplicationError(f"{shown} has more than one * in a label of its host.")
    if not _PATH.fullmatch(path) or any(part in ("", ".", "..") for part in path.removesuffix("/").split("/") if path):
        raise ApplicationError(f"{shown} has a path that no service understands in one way only.")
    if path.count("*") > MAX_STARS:
        raise ApplicationError(f"{shown} has more than {MAX_STARS} * in its path.")
    return Pattern(host, path.removesuffix("/"))


def parse_application(application_id: str, value: Mapping[str, Any]) -> Application:
    """Return an application of its JSON: `name`, `aud`, `patterns`, `policies` and what else edges are told.

    Raises:
        ApplicationError: it makes no sense, with one sentence.
    """
    name, audience = value.get("name"), value.get("aud")
    patterns, policies = value.get("patterns"), value.get("policies", [])
    header = value.get("token_header", "")
    if not isinstance(name, str) or not isinstance(audience, str) or not _AUDIENCE.fullmatch(audience):
        raise ApplicationError("An application has a name and an audience tag of 64 hexadecimal digits.")
    if not _are_texts(patterns, MAX_PATTERNS) or not patterns:
        raise ApplicationError(f"An application has 1 to {MAX_PATTERNS} places, each a host and perhaps a path.")
    if not _are_texts(policies, MAX_POLICIES):
        raise ApplicationError(f"An application has at most {MAX_POLICIES} policies, named by their ids.")
    if not isinstance(header, str) or (header and (not _TOKEN_HEADER.fullmatch(header) or header.lower() in _RESERVED)):
        raise ApplicationError("read_service_tokens_from_header is no name of a header that could carry a token.")
    providers = value.get("allowed_idps", [])
    if not _are_texts(providers, MAX_POLICIES):
        raise ApplicationError(f"An application names at most {MAX_POLICIES} identity providers, by their ids.")
    session, valid_after = value.get("session_seconds", DEFAULT_SESSION), value.get("valid_after", 0.0)
    for number in (session, valid_after):
        if isinstance(number, bool) or not isinstance(number, int | float) or not 0 <= number < 2**53:
            raise ApplicationError("Durations and moments are numbers of seconds.")
    return Application(
        id=application_id, name=name, audience=audience, patterns=tuple(map(parse_pattern, patterns)),
        policy_ids=tuple(policies), session_seconds=float(session), token_header=header.lower(),
        valid_after=float(valid_after), identity_headers=value.get("identity_headers") is True,
        provider_ids=tuple(providers), to_provider_at_once=value.get("auto_redirect_to_identity") is True,
    )  # fmt: skip


def _are_texts(value: object, limit: int) -> bool:
    return isinstance(value, list) and len(value) <= limit and all(isinstance(entry, str) for entry in value)


def _label_fits(wanted: str, label: str) -> bool:
    before, star, after = wanted.partition("*")
    if not star:
        return wanted == label
    return len(label) >= len(before) + len(after) and label.startswith(before) and label.endswith(after)


def _path_fits(pattern: str, path: str) -> bool:
    """Match from left to right, each text at its first place: the work is linear, whatever a visitor sends."""
    first, *rest = pattern.split("*")
    if not rest:
        return path == first or (path.startswith(first) and (first.endswith("/") or path[len(first)] == "/"))
    if not path.startswith(first):
        return False
    at = len(first)
    for part in rest[:-1]:
        found = path.find(part, at)
        if found < 0:
            return False
        at = found + len(part)
    last = rest[-1]
    if not last:
        return True
    while (found := path.find(last, at)) >= 0:
        end = found + len(last)
        if end == len(path) or path[end] == "/" or last.endswith("/"):
            return True
        at = found + 1
    return False
