"""Who was let pass a moment ago by a token, so that the same request again is not judged from the beginning. Pure.

What is remembered holds for exactly the state of Access under which it was decided, for one token at one application
from one address, and for seconds: any change at all, a revocation among them, makes it worth nothing at once.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from pyconnector.edge.access.identify import Identified
    from pyconnector.edge.access.people import IdentifiedPerson
    from pyconnector.identity.policies.policy import Decision
    from pyconnector.identity.policies.rules import Caller

    Headers = list[tuple[bytes, bytes]]

#: Decisions that are remembered, and seconds for which one is.
MAX_RECALLED, RECALL_SECONDS = 10_000, 10.0
#: The token, what a browser shows beside it (None where it is no cookie), the application, and the address.
Key: TypeAlias = tuple[bytes, bytes | None, str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recalled:
    """One decision, and what goes on to the service under it."""

    revision: int
    "Of the state under which it was made."
    until: float
    "Seconds since the epoch."
    caller: Caller
    decision: Decision
    identified: Identified | IdentifiedPerson
    added: Headers = field(repr=False)


class Recall:
    """The decisions of one gate."""

    def __init__(self) -> None:
        self._known: OrderedDict[Key, Recalled] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def get(self, key: Key, revision: int, now: float) -> Recalled | None:
        """Return what was decided under `revision`; `now` is seconds since the epoch."""
        found = self._known.get(key)
        return found if found is not None and found.revision == revision and now < found.until else None

    def put(self, key: Key, recalled: Recalled) -> None:
        """Remember a decision; the oldest one makes room."""
        self._known[key] = recalled
        self._known.move_to_end(key)
        if len(self._known) > MAX_RECALLED:
            self._known.popitem(last=False)
