"""A path for one `Bbr` without QUIC: a bottleneck, a delay, and an acknowledgment for every packet, in virtual time.

The sender always obeys window and pacing rate. Tests change the fields while it runs.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from pyconnector.transport.congestion import Bbr

if TYPE_CHECKING:
    from pyconnector.transport.congestion.bbr_states import State

SIZE = 1000
#: Packets acknowledged after a missing one before it counts as lost (RFC 9002 6.1.1).
REORDERING = 3


class Pipe:
    """Sends packets of 1000 bytes, numbered from 0, from time 100 on."""

    def __init__(self, *, rate: float, rtt: float, queue: float = math.inf) -> None:
        self.rate = rate
        "Bytes per second of the bottleneck."
        self.rtt = rtt
        self.queue = queue
        "Bytes that the bottleneck's queue holds."
        self.app_rate = math.inf
        "Bytes per second that the application writes; `write_at` changes it."
        self.ack_interval = 0.0
        "Seconds between aggregates of acknowledgments; 0 for one each."
        self.loses: Callable[[int], bool] = lambda packet_id: False
        self.after_ack: Callable[[], None] = lambda: None
        "Called after each batch of acknowledgments."
        self.now = 100.0
        self.bbr = Bbr(smss=SIZE, initial_cwnd=10 * SIZE, uniform=lambda: 0.5)
        self.states: list[tuple[float, State]] = []
        self.delivered_total = 0
        self.dropped = 0
        self._next_id = 0
        self._next_send = 0.0
        self._app_bytes = 0.0
        self._app_time = self.now
        self._waiting: deque[int] = deque()
        self._served_at = math.inf
        self._acks: list[tuple[float, int]] = []
        self._missing: list[int] = []

    @property
    def state(self) -> State:
        return self.bbr.machine.state

    def at(self, *states: State) -> bool:
        """Whether the flow is in one of these states."""
        return self.state in states

    def run(self, *, until: Callable[[], bool] | None = None, seconds: float = 30.0) -> None:
        """Run until the condition holds after an event; fail if `seconds` pass first, unless no condition was given."""
        end = self.now + seconds
        while True:
            if until is not None and until():
                return
            when, act = self._next_event()
            if when > end:
                break
            self.now = max(self.now, when)
            act()
        self.now = end
        assert until is None, f"not within {seconds} s: {self.bbr!r} {self.bbr.model!r} {self.bbr.controls!r}"

    def run_to(self, *states: State, seconds: float = 30.0) -> None:
        """Run until the flow is in one of these states."""
        self.run(until=lambda: self.state in states, seconds=seconds)

    def write_at(self, rate: float) -> None:
        """Let the application write at this rate from now on."""
        self.app_rate = rate
        self._app_time = self.now
        self._app_bytes = 0.0

    def _next_event(self) -> tuple[float, Callable[[], None]]:
        ack_at = self._acks[0][0] if self._acks else math.inf
        send_at = math.inf
        if self.bbr.sampler.inflight + SIZE <= self.bbr.controls.cwnd:
            send_at = max(self.now, self._next_send, self._data_at())
        return min((send_at, 2, self._send), (ack_at, 1, self._acknowledge), (self._served_at, 0, self._serve))[::2]

    def _data_at(self) -> float:
        """When the application will have a whole packet's worth of data."""
        if math.isinf(self.app_rate):
            return 0.0
        self._app_bytes += (self.now - self._app_time) * self.app_rate
        self._app_time = self.now
        missing = SIZE - self._app_bytes
        if missing <= 1e-6:
            return 0.0
        ready_at = self.now + missing / self.app_rate if self.app_rate else math.inf
        if ready_at > self._next_send:
            self.bbr.on_out_of_data()
        return ready_at

    def _send(self) -> None:
        bbr, packet_id = self.bbr, self._next_id
        self._next_id += 1
        if not math.isinf(self.app_rate):
            self._data_at()
            self._app_bytes -= SIZE
        bbr.on_packet_sent(packet_id, SIZE, self.now)
        self._next_send = max(self.now, self._next_send) + SIZE / bbr.controls.pacing_rate
        if self.loses(packet_id) or len(self._waiting) * SIZE > self.queue:
            self.dropped += 1
            self._missing.append(packet_id)
            return
        self._waiting.append(packet_id)
        if len(self._waiting) == 1:
            self._served_at = self.now + SIZE / self.rate

    def _serve(self) -> None:
        """Let the packet at the head of the queue through."""
        packet_id = self._waiting.popleft()
        self._served_at = self.now + SIZE / self.rate if self._waiting else math.inf
        arrives = self.now + self.rtt
        if self.ack_interval:
            arrives = math.ceil(arrives / self.ack_interval) * self.ack_interval
        heapq.heappush(self._acks, (arrives, packet_id))

    def _acknowledge(self) -> None:
        bbr = self.bbr
        while self._acks and self._acks[0][0] <= self.now:
            _, packet_id = heapq.heappop(self._acks)
            bbr.on_packet_acked(packet_id, self.now)
            self.delivered_total += SIZE
            while self._missing and self._missing[0] <= packet_id - REORDERING:
                bbr.on_packet_lost(self._missing.pop(0), self.now)
        before = self.state
        bbr.on_ack_end(self.now)
        if self.state is not before:
            self.states.append((self.now, self.state))
        self.after_ack()
