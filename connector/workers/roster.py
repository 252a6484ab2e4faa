"""Which workers run now, and how often any of them had to be started again."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyconnector.connector.workers.member import Member


@dataclass(slots=True, eq=False)
class Roster:
    """The workers by number; one that died is not in it until its successor runs."""

    members: dict[int, Member] = field(default_factory=dict)
    restarts: int = 0
