"""Tunnels that connectors come for before an edge was told of them: it may be told in the next moment. Pure."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uuid import UUID

#: Seconds in which a tunnel that nobody knows may just have been made at the control plane.
NEWS = 5.0
#: Tunnels that are remembered as unknown.
MAX_REMEMBERED = 1000


class UnknownTunnels:
    """When each was asked for first."""

    def __init__(self) -> None:
        self._asked_at: OrderedDict[UUID, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._asked_at)

    def may_be_new(self, tunnel_id: UUID, now: float) -> bool:
        """Return whether a tunnel may yet become known; `now` is seconds of any clock."""
        asked_at = self._asked_at.setdefault(tunnel_id, now)
        self._bound()
        return now - asked_at < NEWS

    def is_gone(self, tunnel_id: UUID) -> None:
        """Remember that a tunnel was known and is no longer."""
        self._asked_at[tunnel_id] = float("-inf")
        self._bound()

    def is_known(self, tunnel_id: UUID) -> None:
        """Forget a tunnel that became known."""
        self._asked_at.pop(tunnel_id, None)

    def _bound(self) -> None:
        if len(self._asked_at) > MAX_REMEMBERED:
            self._asked_at.popitem(last=False)
