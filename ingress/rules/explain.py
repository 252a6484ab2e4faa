"""Why a request meets the rule that it meets, and why each rule before it does not (`pyconnector ingress rule`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyconnector.identity.applications.path_spellings import decode_path
from pyconnector.ingress.config.errors import quoted
from pyconnector.ingress.config.urls import parse_url
from pyconnector.ingress.rules.hostnames import ANY_HOST, comparable, strip_port

if TYPE_CHECKING:
    from pyconnector.identity.access_token import Identity
    from pyconnector.ingress.rules.rules import Ingress, Match, Rule


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one rule says about a request. `reason` is empty for the rule that takes it."""

    index: int
    rule: Rule
    reason: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """The host and path that are compared, the rule that matches, and the verdicts up to and with it."""

    host: str
    path: str
    match: Match
    verdicts: tuple[Verdict, ...]


def explain(ingress: Ingress, hostname: str, path: str, who: Identity | None = None) -> Explanation:
    """Say which rule takes a request for `hostname` (with or without a port) and the decoded `path`, and why.

    `who` is whose it is, for rules with an `identity`; nobody's where it is None.
    """
    host = strip_port(hostname)
    match = ingress.match(hostname, path, lambda rule: who is not None and who.is_any_of(rule.identity))
    verdicts = [
        Verdict(index, rule, "" if index == match.index else _reason(rule, host, path))
        for index, rule in enumerate(ingress.rules[: match.index + 1])
    ]
    return Explanation(host, path, match, tuple(verdicts))


def split_request_url(url: str) -> tuple[str, str]:
    """Return the host and the decoded path of a URL that a user wants explained.

    Raises:
        ValueError: it is no URL, or has no host; its message is a sentence.
    """
    try:
        parts = parse_url(url)
    except ValueError as error:
        raise ValueError(f"{quoted(url)} is not a valid URL: {error}") from error
    if not parts.hostname:
        if parts.scheme or url.startswith("//") or not parts.path.strip("/"):
            raise ValueError(f"{quoted(url)} has no host")
        raise ValueError(f"{quoted(url)} doesn't have a hostname, consider adding a scheme, as in https://{url[:200]}")
    return parts.hostname, decode_path(parts.path)


def _reason(rule: Rule, host: str, path: str) -> str:
    reasons = []
    if not rule.matches_host(host):
        reasons.append(_host_reason(rule, host))
    if not rule.matches_path(path):
        reasons.append(_path_reason(rule, path))
    if not reasons:  # for somebody else
        reasons.append(f"it is for {' or '.join(quoted(entry)[1:-1] for entry in rule.identity)}, and others ask")
    return " and ".join(reasons)


def _host_reason(rule: Rule, host: str) -> str:
    name = rule.hostname
    differs = f"the host {quoted(host)} is not {quoted(name)}"
    if name.startswith("*."):
        if comparable(host) == rule.compared_hostname[2:]:
            return (
                f"the host {quoted(host)} is not a subdomain of itself: {quoted(name)} needs something before the dot"
            )
        return f"the host {quoted(host)} does not end in {quoted(name[1:])}"
    if name.startswith("*") and name not in ANY_HOST:
        return f"{differs}: without a dot after it the * stands for itself"
    return differs


def _path_reason(rule: Rule, path: str) -> str:
    text = f"the path {quoted(path)} has nothing in it that matches {quoted(rule.path)}"
    if rule.matches_path(path.lower()) or rule.matches_path(path.upper()):
        text += ": upper and lower case count (write (?i) before the expression if they should not)"
    return text
