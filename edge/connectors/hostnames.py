"""Which tunnel serves which hostname: as the settings say, else whoever announced the name first. Pure.

What a connector announces gives it nothing that is somebody else's: no name at or below one of the settings, and no
name that another tunnel announced before and still serves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

T = TypeVar("T")

#: Characters of a hostname (RFC 1035 2.3.4). What is longer is not looked up, for each of its labels would be.
MAX_HOSTNAME = 255


class Hostnames(Generic[T]):
    """Names, perhaps `*.suffix`, and whose they are."""

    def __init__(self) -> None:
        self._set: dict[str, T] = {}
        self._claims: dict[str, dict[T, None]] = {}  # claimants, first come first served
        self._announced: dict[T, tuple[str, ...]] = {}

    def __repr__(self) -> str:
        return f"<Hostnames set={len(self._set)} announced={len(self._claims)}>"

    def set(self, owner: T, names: Iterable[str]) -> None:
        """Give `owner` names by the settings, unless an older one has them; announcements of them end."""
        for name in names:
            self._set.setdefault(name, owner)
        for claimant, announced in list(self._announced.items()):
            self.announce(claimant, announced)

    def route(self, name: str, owner: T | None) -> None:
        """Let `name` be what `owner` serves, as a control plane says, whoever had it; None: nobody does."""
        if owner is None:
            self._set.pop(name, None)
        else:
            self._set[name] = owner

    def announce(self, claimant: T, names: Iterable[str]) -> tuple[str, ...]:
        """Replace what `claimant` announced; return the names among them that are others'.

        A name that another one announced before is this one's as soon as the other withdraws.
        """
        names = tuple(names)
        granted = dict.fromkeys(name for name in names if not self._is_set(name))
        for name in self._announced.get(claimant, ()):
            if name not in granted:
                self._drop(claimant, name)
        for name in granted:
            self._claims.setdefault(name, {})[claimant] = None
        self._announced[claimant] = tuple(granted)
        return tuple(name for name in names if name not in granted or self._first(name) is not claimant)

    def withdraw(self, claimant: T) -> None:
        """Nothing is announced by `claimant` any more. Idempotent."""
        for name in self._announced.pop(claimant, ()):
            self._drop(claimant, name)

    def find(self, host: str) -> T | None:
        """Return whose the lower-case `host` is: by name before suffix, by the longer suffix before the shorter."""
        if len(host) > MAX_HOSTNAME:
            return None
        # Apart, for an announced name never lies within what the settings give.
        for name in _covering(host) if self._set else ():
            if name in self._set:
                return self._set[name]
        for name in _covering(host) if self._claims else ():
            if name in self._claims:
                return self._first(name)
        return None

    def served_by(self, owner: T) -> list[str]:
        """Return the announced names that are `owner`'s now."""
        return [name for name in self._announced.get(owner, ()) if self._first(name) is owner]

    def _is_set(self, name: str) -> bool:
        """Whether `name` is at or below a name of the settings."""
        base = name.removeprefix("*.")
        while base:
            if base in self._set or f"*.{base}" in self._set:
                return True
            base = base.partition(".")[2]
        return False

    def _first(self, name: str) -> T:
        return next(iter(self._claims[name]))

    def _drop(self, claimant: T, name: str) -> None:
        claimants = self._claims[name]
        del claimants[claimant]
        if not claimants:
            del self._claims[name]


def _covering(host: str) -> Iterator[str]:
    yield host
    suffix = host.partition(".")[2]
    while suffix:
        yield f"*.{suffix}"
        suffix = suffix.partition(".")[2]
