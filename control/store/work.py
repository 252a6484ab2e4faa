"""One write under way: what it changes, who does it, and what has to be told with it."""

from __future__ import annotations

import datetime
import uuid
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, text, update

from pyconnector.control.store.models import AuditRecord, Change, Feed

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

#: Changes that are kept for edges that were away; one that missed more takes a snapshot.
KEPT_CHANGES = 10_000
#: PostgreSQL channel on which changes are announced.
CHANNEL = "pyconnector_changes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Who asks, and with which request."""

    account_id: str
    token_id: str = ""
    token_name: str = "system"
    scopes: frozenset[str] = frozenset()
    ip_address: str = ""
    method: str = ""
    uri: str = ""
    user_agent: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What the audit log says of one object. `request` and `response` hold no secrets."""

    action: str
    "create, update or delete."
    resource_type: str
    resource_id: str
    description: str
    request: dict[str, Any] | None = None
    response: dict[str, Any] | None = None
    zone_id: str | None = None


class Work:
    """A write transaction: use its session, then say what to audit and what edges need to know."""

    def __init__(self, session: AsyncSession, actor: Actor, now: datetime.datetime) -> None:
        self.session = session
        self.actor = actor
        self.now = now
        self._entries: list[Entry] = []
        self._changes: list[tuple[str, str, dict[str, Any] | None]] = []

    @property
    def account_id(self) -> str:
        """Whose objects are changed."""
        return self.actor.account_id

    @property
    def published(self) -> bool:
        """Whether edges need to know anything of it."""
        return bool(self._changes)

    def audit(self, entry: Entry) -> None:
        """Record a change of one object."""
        self._entries.append(replace(entry, description=entry.description[:1000]))

    def publish(self, kind: str, object_id: str, value: dict[str, Any] | None) -> None:
        """Tell edges of an object as it is now; None: it is gone."""
        self._changes.append((kind, object_id, value))

    async def finish(self, *, notify: bool) -> None:
        """Write audit records and changes, last before the commit. Cancel leaves the transaction to be undone."""
        # So that an edit that was overtaken fails before it waits for the feed.
        await self.session.flush()
        actor = self.actor
        for entry in self._entries:
            self.session.add(
                AuditRecord(
                    id=str(uuid.uuid4()), account_id=actor.account_id, zone_id=entry.zone_id, time=self.now,
                    action=entry.action, description=entry.description, resource_type=entry.resource_type,
                    resource_id=entry.resource_id, request=entry.request, response=entry.response,
                    token_id=actor.token_id, token_name=actor.token_name, ip_address=actor.ip_address,
                    method=actor.method, uri=actor.uri, user_agent=actor.user_agent,
                )
            )  # fmt: skip
        if self._changes:
            await self._number_changes(notify=notify)
        await self.session.flush()

    async def _number_changes(self, *, notify: bool) -> None:
        # The row is locked until the commit: numbers appear in their order and without gaps. A sequence would let a
        # later number be seen first, and an edge would never ask for the earlier one again.
        count = len(self._changes)
        statement = update(Feed).where(Feed.id == 1).values(last=Feed.last + count).returning(Feed.last)
        last = (await self.session.execute(statement)).scalar_one()
        for number, (kind, object_id, value) in enumerate(self._changes, last - count + 1):
            self.session.add(Change(number=number, kind=kind, object_id=object_id, value=value))
        await self.session.execute(delete(Change).where(Change.number <= last - KEPT_CHANGES))
        if notify:
            await self.session.execute(text(f"NOTIFY {CHANNEL}"))
