"""Rules of one hostname that differ in `access` by path, and which of them have a say in a request.

A request is served by the rule that its path meets, as everywhere. But where a service may take that path for another,
which a rule with `access` guards, the demand of that rule holds too: `//admin` is let in only by what lets in `/admin`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from pyconnector.identity.applications.path_spellings import spellings, toggled_slash
from pyconnector.ingress.config.services import HelloService, StatusService

if TYPE_CHECKING:
    from pyconnector.ingress.config.settings import AccessSettings
    from pyconnector.ingress.rules.path_patterns import PathPattern
    from pyconnector.ingress.rules.rules import Fits, Match, Rule

#: Work on one odd path: searches, times the characters of the path and some more for the search itself. Above it every
#: demand of the hostname holds.
MAX_JUDGING = 500_000
_SEARCH_COST = 64
#: A path rule that is one path and no more: no other spelling of anything can meet it.
_EXACT = re.compile(r"\^(?:[A-Za-z0-9/_~-]|\\\.)*\$")

_Search: TypeAlias = "Callable[[str], bool] | None"


def demand_of(rule: Rule) -> AccessSettings | None:
    """Return what a rule demands of visitors, or None where it lets everybody in."""
    access = rule.settings.access
    return access if access is not None and access.required else None


@dataclass(frozen=True, slots=True)
class _Entry:
    index: int
    demand: AccessSettings | None
    exact_case: _Search
    any_case: _Search
    for_somebody: Rule | None
    "The rule, where it has an identity: others go on to the rules below it."


class GuardedPaths:
    """The rules of one hostname, in order, of which some demand another `access` than others."""

    def __init__(self, matches: Sequence[Match], fold: Callable[[PathPattern], PathPattern]) -> None:
        """`fold` returns a pattern without regard to case; many hostnames share theirs."""
        self._entries = [
            _Entry(
                index=match.index,
                demand=demand_of(match.rule),
                exact_case=match.rule.pattern.search if match.rule.pattern is not None else None,
                any_case=fold(match.rule.pattern).search if match.rule.pattern is not None else None,
                for_somebody=match.rule if match.rule.identity else None,
            )
            for match in matches
        ]
        self._demanding: dict[AccessSettings, int] = {}
        for entry in self._entries:
            if entry.demand is not None and entry.for_somebody is None:
                self._demanding.setdefault(entry.demand, entry.index)

    def further(self, path: str, met: Match, fits: Fits | None = None) -> tuple[int, ...]:
        """Return the rules whose access a request must satisfy beside that of the rule that its path met.

        `fits` says for which rules with an identity it is; they are passed over where it is not given.
        """
        if _answers_by_itself(met.rule):
            return ()
        own = demand_of(met.rule)
        found: dict[AccessSettings, int] = {}
        forms = spellings(path)
        if forms is None or self._is_too_much(forms, path):
            found = dict(self._demanding)
        else:
            for form in forms:
                self._judge(form, found, fits)
                # A slash at the end is how most sites tell a page from a folder, not a disguise: what is open by an
                # earlier rule stays so.
                self._judge(toggled_slash(form), found, fits, before=met.index)
        found.pop(own, None)  # type: ignore[arg-type]  # None is no key of it
        return tuple(sorted(found.values()))

    def _is_too_much(self, forms: frozenset[str], path: str) -> bool:
        # A path in its only spelling is judged always: that costs no more than finding its rule did.
        return len(forms) > 1 and 4 * len(forms) * len(self._entries) * (len(path) + _SEARCH_COST) > MAX_JUDGING

    def _judge(
        self, path: str, found: dict[AccessSettings, int], fits: Fits | None, *, before: int | None = None
    ) -> None:
        for any_case in (False, True):
            for entry in self._entries:
                if before is not None and entry.index >= before:
                    break
                search = entry.any_case if any_case else entry.exact_case
                if search is None or search(path):
                    if entry.for_somebody is not None and (fits is None or not fits(entry.for_somebody)):
                        continue
                    if entry.demand is not None:
                        found.setdefault(entry.demand, entry.index)
                    break


def differing(matches: Sequence[Match]) -> tuple[Match, Match] | None:
    """Return two rules of one hostname that differ in access and lead to a service, the first of each kind."""
    # A rule for somebody opens nothing to others, and who it is for has satisfied its access already.
    serving = [match for match in matches if not match.rule.identity and not _answers_by_itself(match.rule)]
    guarded = next((match for match in serving if demand_of(match.rule) is not None), None)
    if guarded is None:
        return None
    other = next((match for match in serving if demand_of(match.rule) != demand_of(guarded.rule)), None)
    return None if other is None else (guarded, other)


def is_safe(matches: Sequence[Match]) -> bool:
    """Say whether what is let in more easily is let in by exact paths only, with the stricter rule for all the rest."""
    last = demand_of(matches[-1].rule)
    others = [
        match.rule
        for match in matches
        if demand_of(match.rule) != last and not match.rule.identity and not _answers_by_itself(match.rule)
    ]
    return last is not None and all(demand_of(rule) is None and _EXACT.fullmatch(rule.path) for rule in others)


def _answers_by_itself(rule: Rule) -> bool:
    return isinstance(rule.service, StatusService | HelloService) and not rule.settings.backends
