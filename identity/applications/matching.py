"""Which applications a request meets, on normal names and on every spelling of its path. Pure.

A service may take `//admin`, `/x/../admin`, `/%61dmin` or `/ADMIN` for `/admin`. So a request meets the application of
the path that it names, and beside it those of all paths that it might be taken for: each has to let it pass.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from pyconnector.identity.applications.application import Application, Pattern
from pyconnector.identity.applications.path_spellings import decode_path, spellings

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Hosts whose applications are remembered.
MAX_HOSTS = 1024
#: Plain paths of one host whose applications are remembered.
MAX_PATHS = 256
#: Spellings of one path, times the places of its host. Above it all applications of the host have to agree.
MAX_JUDGING = 2000


class _Host:
    """The applications of one host, the most particular first."""

    __slots__ = ("_folded", "entries", "paths", "whole")

    def __init__(self, entries: list[tuple[Pattern, Application]]) -> None:
        self.entries = entries
        self._folded = [(Pattern(pattern.host, pattern.path.lower()), application) for pattern, application in entries]
        self.paths: dict[str, tuple[Application, ...]] = {}
        # Where the most particular one has no path, every path of the host belongs to it.
        self.whole = (entries[0][1],) if not entries[0][0].path else None

    def find(self, path: str) -> Application | None:
        return next((application for pattern, application in self.entries if pattern.takes_path(path)), None)

    def find_in_any_case(self, path: str) -> Application | None:
        path = path.lower()
        return next((application for pattern, application in self._folded if pattern.takes_path(path)), None)


class Applications:
    """All applications of an edge, by id and by the places that they stand for."""

    def __init__(self) -> None:
        self._by_id: dict[str, Application] = {}
        self._by_audience: dict[str, Application] = {}
        self._places: dict[str | int, list[tuple[Pattern, Application]]] = {}
        self._hosts: OrderedDict[str, _Host | None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._by_id)

    def __repr__(self) -> str:
        return f"<Applications {len(self)} hosts_remembered={len(self._hosts)}>"

    def get(self, application_id: str) -> Application | None:
        """Return an application by its id."""
        return self._by_id.get(application_id)

    def of_audience(self, audience: str) -> Application | None:
        """Return an application by its audience tag."""
        return self._by_audience.get(audience)

    def all(self) -> Iterable[Application]:
        """Return every application."""
        return self._by_id.values()

    def put(self, application: Application) -> None:
        """Add an application, or change it."""
        self.drop(application.id)
        self._by_id[application.id] = application
        self._by_audience[application.audience] = application
        for pattern in application.patterns:
            self._places.setdefault(_key(pattern), []).append((pattern, application))
        self._hosts.clear()

    def drop(self, application_id: str) -> None:
        """Forget an application. Idempotent."""
        before = self._by_id.pop(application_id, None)
        if before is None:
            return
        self._by_audience.pop(before.audience, None)
        for key in set(map(_key, before.patterns)):
            kept = [entry for entry in self._places[key] if entry[1] is not before]
            if kept:
                self._places[key] = kept
            else:
                del self._places[key]
        self._hosts.clear()

    def of_host(self, host: str) -> tuple[Application, ...]:
        """Return the applications that any path of a lower-case `host` (no port) belongs to."""
        found = self._host(host)
        return () if found is None else tuple(application for _, application in found.entries)

    def met(self, host: str, raw_path: str) -> tuple[Application, ...]:
        """Return the applications of a request for a lower-case `host` (no port) and a path as it was sent.

        The first is the one whose callers it belongs to; of more than one each must let it pass. A query is no path.
        """
        found = self._host(host)
        if found is None:
            return ()
        raw_path = raw_path.partition("?")[0]
        if found.whole is not None:
            return found.whole
        if (known := found.paths.get(raw_path)) is not None:
            return known
        met = _judged(found, raw_path)
        if len(found.paths) < MAX_PATHS:
            found.paths[raw_path] = met
        return met

    def _host(self, host: str) -> _Host | None:
        if host in self._hosts:
            self._hosts.move_to_end(host)
            return self._hosts[host]
        entries = list(self._places.get(host, ()))
        entries += [entry for entry in self._places.get(host.count("."), ()) if entry[0].takes_host(host)]
        entries.sort(key=lambda entry: entry[0].specificity, reverse=True)
        found = self._hosts[host] = _Host(entries) if entries else None
        if len(self._hosts) > MAX_HOSTS:
            self._hosts.popitem(last=False)
        return found


def _key(pattern: Pattern) -> str | int:
    """Where a pattern is kept: by its host, or with all that have a `*` by the number of dots."""
    return pattern.host.count(".") if "*" in pattern.host else pattern.host


def _judged(host: _Host, raw_path: str) -> tuple[Application, ...]:
    path = decode_path(raw_path)
    own = host.find(path)
    met: dict[str, Application] = {} if own is None else {own.id: own}
    forms = spellings(path)
    if forms is None or (len(forms) > 1 and len(forms) * len(host.entries) > MAX_JUDGING):
        return tuple((met | {application.id: application for _, application in host.entries}).values())
    for form in forms:
        for other in (host.find(form), host.find_in_any_case(form)):
            if other is not None:
                met.setdefault(other.id, other)
    return tuple(met.values())
