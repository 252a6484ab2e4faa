"""What each visit does, from the seed alone: who comes, what is asked of which origin, and when the visitor leaves."""

from __future__ import annotations

import random
from dataclasses import dataclass

from bench.stress.body import SMALLEST

#: Moments of an exchange at which a visitor may leave.
MOMENTS = ("connected", "head sent", "half sent", "sent", "head received", "half received")
#: Leaving by the clock happens within one of these times, in seconds: a handshake, a small exchange, a long one.
LEAVES_WITHIN = (0.003, 0.012, 0.1)
#: The share of visitors who rest in the middle of sending and of reading, and for how many seconds at the most.
SLOW, LONGEST_PAUSE = 0.1, 0.3
_KIB, _MIB = 1 << 10, 1 << 20

#: What an origin does with a request, and how often.
BEHAVIOURS: dict[str, dict[str, int]] = {
    "http": {
        "plain": 40,
        "chunked": 15,
        "late": 12,
        "interim": 4,
        "head": 4,
        "early": 5,
        "early-close": 3,
        "last": 5,
        "silent-last": 4,
        "cut": 3,
        "reset": 3,
        "reset-mid": 2,
        "close": 3,
    },
    "ws": {"echo": 60, "late": 20, "cut": 10, "refuse": 10},
    "tcp": {"echo": 60, "early": 15, "late": 10, "cut": 8, "reset": 7},
    "grpc": {"plain": 50, "pieces": 20, "late": 12, "error": 8, "cut": 5, "goaway": 5},
}
#: After these the visitor has to be told that something failed; a whole answer would be made up.
FAILING = frozenset({"cut", "reset", "reset-mid", "close"})
#: After these either is right: what is still on its way to an origin that goes need not be sent again.
EITHER = frozenset({"early-close", "goaway"})
#: The kinds of visitors, by the origin that they go to.
KINDS = {"http1": "http", "http2": "http", "ws": "ws", "tcp": "tcp", "private": "tcp", "grpc": "grpc"}


@dataclass(frozen=True, slots=True)
class Leave:
    """How a visitor leaves: at a moment of the exchange, or some seconds after its begin."""

    manner: str
    "reset, close, or stream for the stream of an HTTP/2 connection alone."
    moment: str = ""
    after: float = 0.0


@dataclass(frozen=True, slots=True)
class Plan:
    """One visit."""

    kind: str
    number: int
    behaviour: str
    upload: int
    "Bytes; 0 for none."
    download: int
    messages: int
    "Of a WebSocket or gRPC conversation."
    chunked: bool
    "Whether the upload comes in chunks."
    leave: Leave | None
    pause: float = 0.0
    "Seconds that the visitor rests in the middle of sending, and of reading."

    def __str__(self) -> str:
        more = f", rests {self.pause:.3f} s" if self.pause else ""
        if self.leave is not None:
            when = f"at {self.leave.moment!r}" if self.leave.moment else f"after {self.leave.after * 1e3:.1f} ms"
            more += f", leaves {when} by {self.leave.manner}"
        return f"{self.kind} {self.behaviour} number {self.number}, {self.upload} up, {self.download} down{more}"


def make_plan(seed: int, kind: str, worker: int, index: int, *, leavers: float, stream: int = 0) -> Plan:
    """Return visit `index` of a worker; with `leavers`, the share of those who leave."""
    random_ = random.Random(f"{seed}/{kind}/{worker}/{index}/{stream}")
    behaviours = BEHAVIOURS[KINDS[kind]]
    (behaviour,) = random_.choices(list(behaviours), list(behaviours.values()))
    upload = _size(random_) if random_.random() < 0.4 else 0
    if behaviour in ("silent-last", "head"):
        upload = 0  # an origin that goes without a word is for requests that may be sent twice
    elif KINDS[kind] in ("tcp", "grpc") or behaviour in ("early", "early-close"):
        upload = _size(random_)
    return Plan(
        kind=kind,
        number=((worker * 10_000_000 + index) * 8 + stream) * 8 + list(KINDS).index(kind),
        behaviour=behaviour,
        upload=upload,
        download=_size(random_),
        messages=random_.choice((0, 1, 2, 5, 20)),
        chunked=random_.random() < 0.3,
        leave=_leave(random_, kind) if random_.random() < leavers else None,
        pause=random_.uniform(0, LONGEST_PAUSE) if random_.random() < SLOW else 0.0,
    )


def _size(random_: random.Random) -> int:
    limit = random_.choices((4 * _KIB, 100 * _KIB, _MIB, 3 * _MIB), (75, 16, 7, 2))[0]
    return random_.randint(SMALLEST, limit)


def _leave(random_: random.Random, kind: str) -> Leave:
    manners = ("stream", "stream", "reset") if kind in ("http2", "grpc") else ("reset", "close")
    manner = random_.choice(manners)
    if random_.random() < 0.4:
        return Leave(manner, moment=random_.choice(MOMENTS))
    return Leave(manner, after=random_.uniform(0, random_.choice(LEAVES_WITHIN)))
