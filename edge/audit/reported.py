"""What the control plane is told of requests: the last records, who was let in where, and how pushed jobs are doing.

One report a second takes it along; what does not fit is left out, and never waits.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyconnector.edge.audit.jobs import LogpushJobs

#: Records and logins in one report.
MAX_RECORDS, MAX_LOGINS = 100, 500
#: Identities at an application whose use is remembered, and the seconds after which one is told of again.
MAX_KNOWN, TOLD_AGAIN = 10_000, 3600.0
#: Characters of a text in a report.
MAX_TEXT = 255
_LOGIN_TEXTS = {
    "app_uid": "AppUUID", "app_domain": "AppDomain", "app_name": "AppName", "ip_address": "SourceIP", "ray_id": "RayID",
    "user_email": "Email", "user_id": "UserID", "service_token_id": "ServiceTokenID",
    "service_token_name": "ServiceTokenName", "reason": "Reason",
}  # fmt: skip


class Reported:
    """Fed with every record, emptied by each report."""

    def __init__(self, ticks: Callable[[], float], jobs: LogpushJobs) -> None:
        self._ticks = ticks
        self.jobs = jobs
        self._records: deque[dict[str, Any]] = deque(maxlen=MAX_RECORDS)
        self._logins: deque[tuple[float, dict[str, Any]]] = deque(maxlen=MAX_LOGINS)
        self._known: OrderedDict[tuple[str, str, str], float] = OrderedDict()

    def record(self, record: dict[str, Any]) -> None:
        """Take one of anything."""
        self._records.append(record)

    def is_login(self, application: str, who: str, address: str, *, allowed: bool) -> bool:
        """Return whether a decision is to be told of: refusals are, and the first use of an identity in an hour."""
        if not allowed:
            return True
        key, now = (application, who, address), self._ticks()
        before = self._known.get(key)
        if before is not None and now - before < TOLD_AGAIN:
            return False
        self._known[key] = now
        self._known.move_to_end(key)
        if len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)
        return True

    def login(self, record: dict[str, Any]) -> None:
        """Take the record of a login."""
        told: dict[str, Any] = {name: str(record.get(key, ""))[:MAX_TEXT] for name, key in _LOGIN_TEXTS.items()}
        told["allowed"] = bool(record.get("Allowed"))
        told["connection"] = str(record.get("Connection") or record.get("ActorType", ""))[:MAX_TEXT]
        self._logins.append((self._ticks(), told))

    def take(self) -> dict[str, Any]:
        """Return what is new since the last call."""
        now = self._ticks()
        records, logins = list(self._records), list(self._logins)
        self._records.clear()
        self._logins.clear()
        return {
            "records": records,
            "decisions": [{"age": max(0.0, now - moment), **told} for moment, told in logins],
            "logpush": self.jobs.status(),
        }

    def give_back(self, taken: dict[str, Any]) -> None:
        """Take back what could not be told, as far as there is room."""
        now = self._ticks()
        for record in reversed(taken["records"]):
            if len(self._records) < MAX_RECORDS:
                self._records.appendleft(record)
        for told in reversed(taken["decisions"]):
            if len(self._logins) < MAX_LOGINS:
                left = dict(told)
                self._logins.appendleft((now - left.pop("age"), left))
