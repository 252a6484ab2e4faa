"""Keys that guard something, recognised in every spelling and at every wrong place.

A key that is passed over leaves open what it should have guarded. So it is an error wherever it has no effect, also
where the user allows unknown keys: beside the right place, at the top of the file, under a key that nothing knows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from pyconnector.ingress.config.errors import MAX_KEY_TO_COMPARE, plain

if TYPE_CHECKING:
    from pyconnector.ingress.config.errors import ConfigPath

#: Keys of originRequest, and of a rule, that guard something.
SECURITY_KEYS = frozenset({"access", "ipRules", "identity"})
#: Keys under which a guarding key may stand, so that a slip in them would hide it.
SECURITY_HOLDERS = frozenset({"originRequest", "ingress"})
#: Where each guarding key belongs. Those within `access` are here too: without the block around them they do nothing.
_PLACES = {
    "access": "under originRequest",
    "ipRules": "under originRequest",
    "identity": "in a rule of ingress, beside its service",
    "teamName": "under access, in originRequest",
    "audTag": "under access, in originRequest",
}
#: What people write for them that is too far away to be taken for a slip.
_OTHER_WORDS = {
    "cloudflareaccess": "access",
    "cfaccess": "access",
    "zerotrust": "access",
    "accesspolicy": "access",
    "requireaccess": "access",
    "accessrequired": "access",
    "iprule": "ipRules",
    "ipallow": "ipRules",
    "ipallowlist": "ipRules",
    "audience": "audTag",
    "aud": "audTag",
    "team": "teamName",
}
_EXACT = {plain(name): name for name in _PLACES} | _OTHER_WORDS
#: Likeness from which a key counts as a slip in a guarding one: `ip_rulez` does, `success` and `accessKey` do not.
_LIKENESS = 0.83
#: Levels of lists and mappings that are searched; what is nested deeper counts as found.
MAX_SEARCH_DEPTH = 40


def guard_meant(name: str) -> str:
    """Return the guarding key that `name` is, or was probably meant to be, or ""."""
    word = plain(name)
    if word in _EXACT:
        return _EXACT[word]
    if not word or len(word) > MAX_KEY_TO_COMPARE:
        return ""
    alike = {_likeness(word, plain(guard)): guard for guard in _PLACES if plain(guard)[0] == word[0]}
    return alike[max(alike)] if alike and max(alike) >= _LIKENESS else ""


def _likeness(one: str, other: str) -> float:
    from difflib import SequenceMatcher  # only for those who made a slip

    return SequenceMatcher(None, one, other).ratio()


def is_guard(name: object) -> bool:
    """Say whether `name` is a guarding key but for case, hyphens and underscores, or another word for one."""
    return isinstance(name, str) and plain(name) in _EXACT


def misplaced(name: str) -> str:
    """Return the sentence for a guarding key (or a slip in one) that has no effect where it stands."""
    meant = guard_meant(name)
    what = "it" if meant == name else meant
    return f"{name} does not belong here; write {what} {_PLACES[meant]}"


def hidden_guards(value: object, path: ConfigPath) -> Iterator[ConfigPath]:
    """Yield the places of guarding keys, and of slips in them, at any depth below a key that is passed over."""
    waiting = [(value, path)]
    while waiting:
        inner, place = waiting.pop()
        if len(place) - len(path) > MAX_SEARCH_DEPTH:
            yield place
        elif isinstance(inner, Mapping):
            for name, below in inner.items():
                deeper = (*place, str(name))
                if isinstance(name, str) and guard_meant(name):
                    yield deeper
                else:
                    waiting.append((below, deeper))
        elif isinstance(inner, list | tuple):
            waiting.extend((below, (*place, index)) for index, below in enumerate(inner))
