"""A network in virtual time: an event queue, and links with a rate, a delay, a drop-tail queue and random loss.

Nothing here knows QUIC. Two runs with the same seed and the same packets are the same run.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

#: Bytes that IP and UDP add to a datagram on the wire.
WIRE_OVERHEAD = 28
#: The virtual clock does not begin at 0, which some controllers take for "never".
EPOCH = 1000.0

Action: TypeAlias = Callable[[], None]


class EventQueue:
    """Virtual time: actions run in the order of their times, and of their scheduling where these are equal."""

    def __init__(self) -> None:
        self.now = EPOCH
        self._heap: list[tuple[float, int, Action]] = []
        self._count = 0

    def at(self, time: float, action: Action) -> None:
        """Run `action` at `time`, or now if that has passed."""
        self._count += 1
        heapq.heappush(self._heap, (max(time, self.now), self._count, action))

    def run(self, *, until: float, stop: Callable[[], bool]) -> None:
        """Run actions up to `until`, or until `stop` holds after one of them."""
        while self._heap and self._heap[0][0] <= until:
            self.now, _, action = heapq.heappop(self._heap)
            action()
            if stop():
                return
        self.now = max(self.now, until)


@dataclass(frozen=True, slots=True, kw_only=True)
class Path:
    """A bottleneck with the path around it."""

    rate: float
    "Bottleneck rate in bytes per second, towards the receiver of the data."
    rtt: float
    "Seconds there and back through empty queues."
    loss: float = 0.0
    "Probability that a packet is lost, in either direction."
    queue: float = 1.0
    "Size of the bottleneck's queue in bandwidth-delay products."
    return_rate: float = 125e6
    "Rate towards the sender: acknowledgments do not queue."

    @property
    def queue_bytes(self) -> float:
        """The queue's size in bytes."""
        return self.queue * self.rate * self.rtt


class Link:
    """One direction: loses, queues, serializes and delays packets."""

    def __init__(
        self, events: EventQueue, *, rate: float, delay: float, queue_bytes: float, loss: float, rng: random.Random
    ) -> None:
        self._events = events
        self._rate = rate
        self._delay = delay
        self._queue_bytes = queue_bytes
        self._loss = loss
        self._rng = rng
        self._free_at = 0.0
        self.sent = 0
        self.lost = 0
        "Packets taken by random loss."
        self.dropped = 0
        "Packets that found the queue full."
        self.queue_delays: list[tuple[float, float]] = []
        "Time of arrival and delay in the queue of each packet that went through."

    def send(self, size: int, deliver: Action) -> None:
        """Carry a datagram of `size` bytes; `deliver` runs when and if it arrives."""
        now = self._events.now
        self.sent += 1
        if self._loss and self._rng.random() < self._loss:
            self.lost += 1
            return
        wait = max(0.0, self._free_at - now)
        if wait * self._rate > self._queue_bytes:
            self.dropped += 1
            return
        self.queue_delays.append((now, wait))
        self._free_at = now + wait + (size + WIRE_OVERHEAD) / self._rate
        self._events.at(self._free_at + self._delay, deliver)
