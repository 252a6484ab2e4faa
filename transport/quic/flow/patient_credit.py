"""Credit of readers who are in no hurry, handed out in steps so that their senders do not all answer at once.

A peer that was held up by slow readers sends what new credit allows in one burst. Many readers that by chance take
their share within the same millisecond make a queue of bursts at both ends, and the small messages of other streams
wait in it. So the credit of a reader who takes much longer for a window than it can wait here is spread out; that of
everyone else is written at once. No rate is capped: the more streams wait, the more get their credit in each step.
When and how much credit is granted is the receiver's choice (RFC 9000 4.2).

Pure: time is an argument.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from pyconnector.transport.quic.flow.receive_window import FAST_ROUND_TRIPS

if TYPE_CHECKING:
    from pyconnector.transport.quic.aioquic_engine.stream import AioquicStream

#: Seconds between two steps; loops can hardly wait for less.
CREDIT_STEP = 0.001
#: Steps that nobody waits longer than.
PATIENCE_STEPS = 16
#: Seconds for a window from which its reader counts as patient: twice what it can wait here.
PATIENT_PERIOD = 2 * PATIENCE_STEPS * CREDIT_STEP


class PatientCredit:
    """The streams that wait for a step, longest first. A stream waits once, and may be over when its turn comes."""

    def __init__(self) -> None:
        self._waiting: deque[AioquicStream] = deque()
        self._each_step = 1  # how many are granted, so that who came last waits `PATIENCE_STEPS`
        self._next_step = 0.0

    def __len__(self) -> int:
        return len(self._waiting)

    def __repr__(self) -> str:
        return f"<PatientCredit waiting={len(self._waiting)}>"

    def hold_back(self, stream: AioquicStream, now: float, round_trip: float) -> bool:
        """Whether the credit of `stream` waits for a step; False where it is to be granted at once."""
        window = stream.window
        # Within a few round trips it would be the path that is slow, and the window about to grow.
        if window.size < window.rate * max(PATIENT_PERIOD, FAST_ROUND_TRIPS * round_trip):
            return False
        if not self._waiting and now >= self._next_step:
            self._next_step = now + CREDIT_STEP
            return False
        if not stream.waits_for_credit:
            stream.waits_for_credit = True
            self._waiting.append(stream)
            self._each_step = max(self._each_step, -(-len(self._waiting) // PATIENCE_STEPS))
        return True

    def step(self, now: float) -> list[AioquicStream]:
        """Return whose credit is granted now."""
        waiting = self._waiting
        granted = [waiting.popleft() for _ in range(min(self._each_step, len(waiting)))]
        for stream in granted:
            stream.waits_for_credit = False
        if not waiting:
            self._each_step = 1
        self._next_step = now + CREDIT_STEP
        return granted
