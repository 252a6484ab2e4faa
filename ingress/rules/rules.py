"""Rules and how a request finds its own (reference/ingress.md 4.2; names are compared as in `ingress.rules.hostnames`).

`Ingress.match` gives the same answer as asking every rule in turn, but looks host names up: for each name and each
wildcard suffix that a rule mentions, the rules that can apply are listed once, in order.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias, cast

from pyconnector.ingress.config.services import Service, StatusService
from pyconnector.ingress.config.settings import AccessSettings, OriginSettings
from pyconnector.ingress.rules.guarded_paths import GuardedPaths, demand_of, differing, is_safe
from pyconnector.ingress.rules.hostnames import ANY_HOST, comparable, host_matches, strip_port
from pyconnector.ingress.rules.path_patterns import PathPattern, compile_path, fold_case
from pyconnector.ingress.rules.path_set import ASKED_TOGETHER, PathSet

if TYPE_CHECKING:
    from pyconnector.ingress.config.errors import RuleProblem

#: Ways of verifying who asks (`access` blocks) among the rules of one hostname that have an `identity`: each may cost a
#: request a signature.
MAX_ASKED = 16


@dataclass(frozen=True, slots=True)
class Rule:
    """Requests for `hostname` whose path has `path` in it go to `service`.

    Raises:
        ValueError: `path` is no RE2 expression.
    """

    hostname: str
    path: str
    service: Service
    settings: OriginSettings = field(default_factory=OriginSettings)
    pattern: PathPattern | None = field(default=None, repr=False, compare=False)
    "`path` compiled; done here where it is not given."
    identity: tuple[str, ...] = ()
    "Who requests must come from, any of them, as `AccessSettings.allow` has it; everybody where it is empty."
    compared_hostname: str = field(init=False, repr=False, compare=False)
    "The hostname as it is compared: without case and final dot, in IDNA form; empty where the rule is for every host."

    def __post_init__(self) -> None:
        if self.path and self.pattern is None:
            object.__setattr__(self, "pattern", compile_path(self.path))
        compared = "" if self.hostname in ANY_HOST else comparable(self.hostname)
        object.__setattr__(self, "compared_hostname", compared)

    @property
    def is_catch_all(self) -> bool:
        """True where every request matches."""
        return self.hostname in ANY_HOST and not self.path and not self.identity

    def matches_host(self, host: str) -> bool:
        """Say whether the rule is for `host`, which has no port."""
        return self.hostname in ANY_HOST or host_matches(self.compared_hostname, comparable(host))

    def matches_path(self, path: str) -> bool:
        """Say whether the rule is for the decoded `path`."""
        return self.pattern is None or self.pattern.search(path)

    def matches(self, host: str, path: str) -> bool:
        """Say whether the rule is for `host` (without a port) and the decoded `path`, whoever asks."""
        return self.matches_host(host) and self.matches_path(path)


@dataclass(frozen=True, slots=True)
class Match:
    """The rule that a request met, and its place in the list, counted from 0."""

    index: int
    rule: Rule
    guards: tuple[int, ...] = ()
    "Further rules whose access the request must satisfy: a service may take its path for one that they guard."
    asks: tuple[int, ...] = ()
    "Not empty: this is no answer yet, who asks has to be known. One rule for each `access` to verify it by."


_Candidates: TypeAlias = tuple[tuple[Callable[[str], bool] | None, Match], ...]
#: Whether the verified identity of a request is one that a rule with an `identity` is for.
Fits: TypeAlias = Callable[[Rule], bool]


class RuleTable:
    """For each host name that rules mention, the rules that can apply to it, in order."""

    def __init__(self, rules: tuple[Rule, ...]) -> None:
        self._matches = [Match(index, rule) for index, rule in enumerate(rules)]
        self._last = self._matches[-1]
        exact: dict[str, list[int]] = {}
        wild: dict[str, list[int]] = {}
        anywhere = [index for index, rule in enumerate(rules) if rule.hostname in ANY_HOST]
        for index, rule in enumerate(rules):
            name = rule.compared_hostname
            if rule.hostname not in ANY_HOST:
                exact.setdefault(name, []).append(index)
                if name.startswith("*."):
                    wild.setdefault(name[1:], []).append(index)
        self._longest_suffix = max(map(len, wild), default=0)
        self._guarded: dict[int, GuardedPaths] = {}
        "By the identity of the candidates, which are never let go of."
        self._sets: dict[int, PathSet] = {}
        "The same, where they are many."
        self._folded: dict[str, PathPattern] = {}
        self._differing: dict[tuple[int, int], None] = {}
        self._with_access = any(demand_of(rule) is not None for rule in rules)
        self._asking: dict[int, tuple[int, ...]] = {}
        "By the identity of the candidates, as `_guarded`: those among which some rule has an identity."
        self.asking_too_much: list[int] = []
        "Rules of hostnames where more than MAX_ASKED ways of verifying would be tried."
        self._others = self._candidates(anywhere)
        self._by_suffix = {suffix: self._candidates(anywhere, *_hits(wild, suffix)) for suffix in wild}
        self._by_name = {
            name: self._candidates(anywhere, indexes, *_hits(wild, name)) for name, indexes in exact.items()
        }

    def _candidates(self, *groups: list[int]) -> _Candidates:
        """Merge ascending lists of rules, up to the first that asks for no path."""
        found: list[tuple[Callable[[str], bool] | None, Match]] = []
        for index in heapq.merge(*groups):
            match = self._matches[index]
            search = match.rule.pattern.search if match.rule.pattern is not None else None
            if not found or found[-1][1] is not match:
                found.append((search, match))
            if search is None and not match.rule.identity:
                break
        candidates = tuple(found)
        patterns = [match.rule.pattern for _, match in found if match.rule.pattern is not None]
        if len(patterns) >= ASKED_TOGETHER and not any(match.rule.identity for _, match in found):
            self._sets[id(candidates)] = PathSet(patterns)
        if self._with_access:
            self._guard(candidates)
        return candidates

    def _guard(self, candidates: _Candidates) -> None:
        matches = [match for _, match in candidates]
        ways: dict[AccessSettings | None, int] = {}
        for match in matches:
            if match.rule.identity:
                ways.setdefault(match.rule.settings.access, match.index)
        if ways:
            self._asking[id(candidates)] = tuple(ways.values())
        if len(ways) > MAX_ASKED:
            self.asking_too_much.append(list(ways.values())[MAX_ASKED])
        pair = differing(matches)
        if pair is not None:
            self._guarded[id(candidates)] = GuardedPaths(matches, self._fold)
            if not is_safe(matches):
                self._differing[pair[0].index, pair[1].index] = None

    def _fold(self, pattern: PathPattern) -> PathPattern:
        if pattern.text not in self._folded:
            self._folded[pattern.text] = fold_case(pattern)
        return self._folded[pattern.text]

    @property
    def differing(self) -> list[tuple[int, int]]:
        """Pairs of rules of one hostname that differ in access by path, so that other spellings matter."""
        return sorted(self._differing)

    def find(self, host: str, path: str, fits: Fits | None = None) -> Match:
        """Return the rule for a host without its port and a decoded path; see `Ingress.match`."""
        met = self._last
        candidates = self._by_name.get(host)
        if candidates is None and self._by_name:  # not written as it is compared, or named by no rule
            host = comparable(host)
            candidates = self._by_name.get(host)
        if candidates is None:
            candidates = self._others if not self._by_suffix else self._wildcards(host)
        if self._asking and (asks := self._asking.get(id(candidates))) is not None:
            return self._find_for(candidates, path, fits, asks)
        place = self._sets[id(candidates)].first(path) if self._sets and id(candidates) in self._sets else None
        # Rules with a path stand first: the first that asks for none ends the list.
        for search, match in candidates if place is None else candidates[place : place + 1]:
            if place is not None or search is None or search(path):
                met = match
                break
        if self._guarded and (guarded := self._guarded.get(id(candidates))) is not None:
            further = guarded.further(path, met)
            return Match(met.index, met.rule, further) if further else met
        return met

    def _find_for(self, candidates: _Candidates, path: str, fits: Fits | None, asks: tuple[int, ...]) -> Match:
        """As `find`, among candidates of which some are for somebody."""
        guarded = self._guarded.get(id(candidates))
        met = self._last
        for search, match in candidates:
            if search is not None and not search(path):
                continue
            if match.rule.identity:
                if fits is None:
                    return Match(match.index, match.rule, asks=asks)
                if not fits(match.rule):
                    continue
            met = match
            break
        if guarded is None:
            return met
        if fits is None:  # which rules other spellings of the path meet hangs on who asks too
            return Match(met.index, met.rule, asks=asks)
        further = guarded.further(path, met, fits)
        return Match(met.index, met.rule, further) if further else met

    def _wildcards(self, host: str) -> _Candidates:
        # Only the end of a host that is as long as a rule's suffix can be one, so a long host costs no more.
        dot = host.find(".", max(0, len(host) - self._longest_suffix))
        while dot >= 0:
            found = self._by_suffix.get(host[dot:])
            if found is not None:
                return found
            dot = host.find(".", dot + 1)
        return self._others


def _hits(wild: Mapping[str, list[int]], host: str) -> list[list[int]]:
    """Return the wildcard rules of every suffix of `host` that begins with a dot."""
    dots = (index for index, char in enumerate(host) if char == ".")
    return [wild[host[dot:]] for dot in dots if host[dot:] in wild] if wild else []


@dataclass(frozen=True, slots=True)
class Ingress:
    """Rules in order; the last one is for every request that no other is for."""

    rules: tuple[Rule, ...]
    warnings: tuple[RuleProblem, ...] = field(default=(), compare=False)
    "What is useless or surprising in the config."
    is_default: bool = False
    "True where there were no rules and every request gets a 503."
    table: RuleTable = field(default=cast("RuleTable", None), repr=False, compare=False)
    "How `rules` are looked up; made here where it is not given."

    def __post_init__(self) -> None:
        if not self.rules:
            raise ValueError("at least one rule is needed")
        if cast("RuleTable | None", self.table) is None:
            object.__setattr__(self, "table", RuleTable(self.rules))

    def match(self, hostname: str, path: str, fits: Fits | None = None) -> Match:
        """Return the rule for a request's Host (a port is ignored) and decoded path. There always is one.

        Where that hangs on who asks and `fits` is not given, the answer has `asks`: verify, and ask again with it.
        """
        return self.table.find(strip_port(hostname) if ":" in hostname else hostname, path, fits)


def default_ingress() -> Ingress:
    """Return the rules for a config without any: 503 for every request."""
    return Ingress((Rule("", "", StatusService(503)),), is_default=True)


def unreachable_rules(rules: Iterable[Rule]) -> list[tuple[int, int]]:
    """Return pairs (rule, earlier rule that takes all its requests), counted from 0.

    Of a rule with an `identity` earlier ones may take a part each: the last of them is named.
    """
    first: dict[tuple[str, str], int] = {}
    for_somebody: dict[tuple[str, str, AccessSettings | None, str], int] = {}
    pairs = []
    for index, rule in enumerate(rules):
        host = rule.compared_hostname
        dots = [dot for dot, char in enumerate(host) if char == "."]
        names = {host, "", *("*" + host[dot:] for dot in dots)}
        hiders = [first[name, path] for name in names for path in ("", rule.path) if (name, path) in first]
        if hiders:
            pairs.append((index, min(hiders)))
        if not rule.identity:
            first.setdefault((host, rule.path), index)
            continue
        access = rule.settings.access
        taken = [
            [
                for_somebody[key]
                for name in names
                for path in ("", rule.path)
                if (key := (name, path, access, who)) in for_somebody
            ]
            for who in rule.identity
        ]
        if not hiders and all(taken):
            pairs.append((index, max(map(min, taken))))
        for who in rule.identity:
            for_somebody.setdefault((host, rule.path, access, who), index)
    return pairs
