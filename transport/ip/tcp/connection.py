"""One TCP connection of a client, from its SYN on (RFC 9293, with the checks of RFC 5961). Pure.

It is not accepted before `accept`, so that a client sees a connection when its destination is reached, and not sooner.
Seconds come from any clock that only goes forward.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pyconnector.transport.ip.tcp.congestion import NewReno
from pyconnector.transport.ip.tcp.receiving import RECEIVE_BUFFER, Receiver
from pyconnector.transport.ip.tcp.round_trip import RoundTrip
from pyconnector.transport.ip.tcp.segment import ACK, FIN, PSH, RST, SYN, Segment, unwrap
from pyconnector.transport.ip.tcp.sending import Sender
from pyconnector.transport.ip.tcp.values import Ended, FlowKey, Start, State

if TYPE_CHECKING:
    from collections.abc import Callable


#: Seconds that an acknowledgement waits for data to go with it.
ACK_DELAY: Final = 0.02
#: Seconds for a destination to be reached; how often an answer, and data, is sent again before the peer is given up.
DECISION_TIMEOUT: Final = 30.0
SYN_RETRIES, RETRIES = 4, 10
#: Seconds that a peer may keep its window closed.
STALL_TIMEOUT: Final = 600.0
#: Acknowledgements of a connection that answer what it should not have been sent, in a second (RFC 5961 7).
CHALLENGES_A_SECOND: Final = 10
#: What a peer takes that names no MSS (RFC 9293 3.7.1), and the least that is believed.
DEFAULT_MSS: Final = {4: 536, 16: 1_220}
LEAST_MSS: Final = 64
#: Shift of windows that are told here: room for the whole buffer.
SCALE: Final = max((RECEIVE_BUFFER >> 16).bit_length(), 0)


class Connection:
    """Sends by `emit`; says by `on_change` that it can be read, written, or is over."""

    def __init__(self, key: FlowKey, syn: Segment, emit: Callable[[Segment], None], start: Start) -> None:
        """`syn` is the segment that asks for it."""
        now = start.now
        self.key = key
        self.state = State.ASKED
        self.ended: Ended | None = None
        self.on_change: Callable[[], None] = lambda: None
        self.retransmitted = 0
        "Segments that were sent again."
        mss = syn.mss if syn.mss else DEFAULT_MSS[len(key.source)]
        self._mss = start.mss
        self._emit = emit
        self._after = start.after
        self._scale = syn.scale
        self._first = syn.sequence
        self._receiver = Receiver(syn.sequence + 1, start.receive_pool)
        self._sender = Sender(start.isn, max(min(mss, start.mss), LEAST_MSS), start.send_pool)
        self._sender.window = self._sender.max_window = syn.window
        self._congestion = NewReno(self._sender.mss, start.isn + 1)
        self._round_trip = RoundTrip()
        self._timed: tuple[int, float] | None = None
        self._retries = 0
        self._unacknowledged = 0  # segments that brought something and have no acknowledgement
        self._told_edge = self._receiver.next
        self._resend_at: float | None = now + DECISION_TIMEOUT
        self._probe_at: float | None = None
        self._ack_at: float | None = None
        self._stalled_since: float | None = None
        self._challenges = (now, 0)
        self._peer_ended_first = False

    def __repr__(self) -> str:
        return f"<Connection {self.state.value} {self._sender!r} {self._receiver!r}>"

    # -- for whoever uses it -------------------------------------------------------------------------------------

    @property
    def room(self) -> int:
        """Bytes that `write` takes now."""
        return self._sender.room if self.state is not State.CLOSED else 0

    @property
    def readable(self) -> int:
        """Bytes that `read` has."""
        return self._receiver.ready

    @property
    def peer_ended(self) -> bool:
        """Whether the client sends no more than what is readable."""
        return self._receiver.ended

    @property
    def is_half_open(self) -> bool:
        """Whether the client has not confirmed it."""
        return self.state in {State.ASKED, State.ANSWERED}

    @property
    def needs_time_wait(self) -> bool:
        """Whether its addresses must rest a while, since the client may not know that its FIN arrived."""
        return self.ended is Ended.BOTH and not self._peer_ended_first

    @property
    def sequences(self) -> tuple[int, int]:
        """What comes next of the client, and what would be sent next."""
        return self._receiver.next, self._sender.highest

    def accept(self, now: float) -> None:
        """The destination is reached: let the client know."""
        if self.state is State.ASKED:
            self.state = State.ANSWERED
            self._sender.next = self._sender.highest = self._sender.una + 1
            self._timed = (self._sender.next, now)
            self._answer(now)
            self._after(self)

    def refuse(self) -> None:
        """The destination is not reached: let the client know, as by a port on which nobody listens."""
        if self.state is State.ASKED:
            self._emit(self._segment(0, RST | ACK, self._receiver.next))
            self._close(Ended.ABORTED)
            self._after(self)

    def forget(self) -> None:
        """End without a word to the client, and hold nothing any more. Idempotent."""
        if self.state is not State.CLOSED:
            self._close(Ended.ABORTED)
            self._after(self)
        self._receiver.release()

    def read(self, limit: int) -> bytes:
        """Return up to `limit` bytes, b"" where there are none now."""
        data = self._receiver.take(limit)
        if data and self.state is State.OPEN:
            could = self._receiver.could_promise()
            if could >= min(RECEIVE_BUFFER // 2, 2 * self._mss) and self._told_edge - self._receiver.next < could:
                self._acknowledge()
                self._after(self)
        return data

    def write(self, data: bytes, now: float) -> None:
        """Send bytes, not more than `room`.

        Raises:
            ValueError: they are more.
        """
        if len(data) > self.room:
            raise ValueError(f"{len(data)} bytes are more than there is room for")
        self._sender.write(data)
        self._transmit(now)
        self._after(self)

    def finish(self, now: float) -> None:
        """Send no more than what was written. Idempotent."""
        if self.state in {State.ANSWERED, State.OPEN} and not self._sender.finishing:
            self._sender.finishing = True
            self._transmit(now)
            self._after(self)

    def abort(self) -> None:
        """Break off, so that the client sees it. Idempotent."""
        if self.state is State.ASKED:
            self.refuse()
        elif self.state is not State.CLOSED:
            self._emit(self._segment(self._sender.highest, RST | ACK, self._receiver.next))
            self._close(Ended.ABORTED)
            self._after(self)

    # -- time ----------------------------------------------------------------------------------------------------

    @property
    def next_timer(self) -> float | None:
        """When `on_timer` is due."""
        due = [at for at in (self._resend_at, self._probe_at, self._ack_at) if at is not None]
        return min(due) if due else None

    def on_timer(self, now: float) -> None:
        """Do what is due."""
        if self._ack_at is not None and self._ack_at <= now:
            self._acknowledge()
        if self._probe_at is not None and self._probe_at <= now:
            self._probe(now)
        if self._resend_at is not None and self._resend_at <= now:
            self._resend(now)

    def _resend(self, now: float) -> None:
        if self.state is State.ASKED:
            self._close(Ended.TIMEOUT)
            return
        answered = self.state is State.ANSWERED
        if self._retries >= (SYN_RETRIES if answered else RETRIES):
            if not answered:
                self._emit(self._segment(self._sender.highest, RST | ACK, self._receiver.next))
            self._close(Ended.TIMEOUT)
            return
        self._retries += 1
        self.retransmitted += 1
        self._timed = None
        self._round_trip.back_off()
        if answered:
            self._answer(now)
            return
        sender = self._sender
        self._congestion.timed_out(sender.highest, sender.flight, again=self._retries > 1)
        sender.start_again()
        self._resend_at = now + self._round_trip.timeout
        self._transmit(now)

    def _probe(self, now: float) -> None:
        if self._stalled_since is not None and now - self._stalled_since >= STALL_TIMEOUT:
            self.abort()
            return
        self._send_piece(*self._sender.probe())
        self._round_trip.back_off()
        self._probe_at = now + self._round_trip.timeout

    # -- segments ------------------------------------------------------------------------------------------------

    def receive(self, segment: Segment, now: float) -> None:
        """Take a segment of the client."""
        sequence = unwrap(segment.sequence, self._receiver.next)
        if self.state is State.ASKED:
            if segment.flags & RST and sequence == self._receiver.next:
                self._close(Ended.RESET)
            return  # a SYN that is sent again has its answer when there is one
        if self.state is State.CLOSED:
            return
        if self.state is State.ANSWERED and segment.flags & SYN and segment.sequence == self._first:
            self._answer(now)
            return
        if not self._fits(segment, sequence):
            if segment.payload:
                self._acknowledge()  # one for one: sent again, since what acknowledged it was lost
            elif not segment.flags & RST:
                self._challenge(now)
            return
        if segment.flags & RST:
            if sequence == self._receiver.next:
                self._close(Ended.RESET)
            else:
                self._challenge(now)
            return
        if segment.flags & SYN:
            self._challenge(now)
            return
        if segment.flags & ACK and self._take_acknowledgement(segment, sequence, now):
            self._take_data(segment, sequence, now)
            self._transmit(now)
            self._look_whether_over()

    def _fits(self, segment: Segment, sequence: int) -> bool:
        """Whether some of a segment is within the window (RFC 9293 3.10.7.4)."""
        receiver = self._receiver
        if not segment.length:
            return receiver.next <= sequence < receiver.edge or sequence == receiver.next
        if not receiver.window:
            return sequence == receiver.next  # what it acknowledges counts, its data does not
        return sequence < receiver.edge and sequence + segment.length > receiver.next

    def _take_acknowledgement(self, segment: Segment, sequence: int, now: float) -> bool:
        sender = self._sender
        upto = unwrap(segment.acknowledgement, sender.una)
        if self.state is State.ANSWERED:
            if upto != sender.next:
                self._emit(self._segment(upto, RST, None))
                return False
            self.state = State.OPEN
            self._retries = 0
            self._resend_at = None
            self._measure(upto, now)
            sender.acknowledged(upto)
            sender.updated(sequence, upto, segment.window << (self._scale or 0))
            self.on_change()
            return True
        if upto > sender.highest or upto < sender.una - max(sender.max_window, 1):
            self._challenge(now)  # RFC 5961 5.2
            return False
        before = sender.una
        changed = upto >= sender.una and sender.updated(sequence, upto, segment.window << (self._scale or 0))
        if upto > before:
            self._progress(upto, now)
        elif upto == before and not segment.length and not changed and sender.flight:
            if self._congestion.duplicate(before, sender.highest, sender.flight):
                self._send_first()
        return True

    def _progress(self, upto: int, now: float) -> None:
        sender = self._sender
        self._measure(upto, now)
        count = sender.acknowledged(upto)
        self._retries = 0
        self._round_trip.progressed()
        if self._congestion.acknowledged(count, sender.una, sender.flight) and sender.flight:
            self._send_first()
        self._resend_at = now + self._round_trip.timeout if sender.flight else None
        self.on_change()

    def _measure(self, upto: int, now: float) -> None:
        if self._timed is not None and upto >= self._timed[0]:
            self._round_trip.measured(max(now - self._timed[1], 0.0))
            self._timed = None

    def _take_data(self, segment: Segment, sequence: int, now: float) -> None:
        if not segment.length:
            return
        receiver = self._receiver
        before, had_gap = receiver.next, receiver.has_gap
        receiver.arrived(sequence, segment.payload, fin=bool(segment.flags & FIN))
        self._unacknowledged += 1
        if receiver.next == before or had_gap or receiver.ended or self._unacknowledged >= 2:
            self._acknowledge()
        elif self._ack_at is None:
            self._ack_at = now + ACK_DELAY
        if receiver.ended and not self._sender.fin_sent:
            self._peer_ended_first = True
        if receiver.next > before:
            self.on_change()

    def _look_whether_over(self) -> None:
        sender = self._sender
        if self.state is State.OPEN and self._receiver.ended and sender.finishing and sender.is_idle:
            self._close(Ended.BOTH)

    # -- sending -------------------------------------------------------------------------------------------------

    def _transmit(self, now: float) -> None:
        if self.state is not State.OPEN:
            return
        sender = self._sender
        while (piece := sender.next_piece(self._congestion.window)) is not None:
            behind = sender.next
            if self._timed is None and behind == sender.highest and not self._retries:
                self._timed = (behind, now)
            self._send_piece(*piece)
        if not sender.flight:
            self._resend_at = None
        elif self._resend_at is None:
            self._resend_at = now + self._round_trip.timeout
        waits = not sender.is_idle and not sender.flight
        if not waits:
            self._probe_at = self._stalled_since = None
        elif self._probe_at is None:
            self._stalled_since = self._stalled_since or now
            self._probe_at = now + self._round_trip.timeout

    def _send_first(self) -> None:
        self.retransmitted += 1
        self._timed = None
        self._send_piece(*self._sender.first_piece())

    def _send_piece(self, sequence: int, data: bytes, fin: bool) -> None:
        flags = ACK | (PSH if data else 0) | (FIN if fin else 0)
        self._emit(self._with_window(sequence, flags, data))

    def _acknowledge(self) -> None:
        self._emit(self._with_window(self._sender.next, ACK))

    def _challenge(self, now: float) -> None:
        since, count = self._challenges
        if now - since >= 1.0:
            since, count = now, 0
        if count < CHALLENGES_A_SECOND:
            self._challenges = (since, count + 1)
            self._acknowledge()

    def _answer(self, now: float) -> None:
        self._resend_at = now + self._round_trip.timeout
        receiver = self._receiver
        scale = None if self._scale is None else SCALE
        self._told_edge = receiver.next + min(receiver.window, 0xFFFF)
        key = self.key
        self._emit(
            Segment(
                source_port=key.destination_port, destination_port=key.source_port, sequence=self._sender.una,
                acknowledgement=receiver.next, flags=SYN | ACK, window=min(receiver.window, 0xFFFF), mss=self._mss,
                scale=scale,
            )
        )  # fmt: skip

    def _with_window(self, sequence: int, flags: int, data: bytes = b"") -> Segment:
        receiver = self._receiver
        could = receiver.could_promise()
        if could >= min(RECEIVE_BUFFER // 2, 2 * self._mss) or not receiver.window:
            receiver.promise()
        self._unacknowledged = 0
        self._ack_at = None
        shift = 0 if self._scale is None else SCALE
        told = min(receiver.window >> shift, 0xFFFF)
        self._told_edge = receiver.next + (told << shift)
        return self._segment(sequence, flags, receiver.next, told, data)

    def _segment(self, sequence: int, flags: int, ack: int | None, window: int = 0, data: bytes = b"") -> Segment:
        return Segment(
            source_port=self.key.destination_port, destination_port=self.key.source_port, sequence=sequence,
            acknowledgement=ack or 0, flags=flags, window=window, payload=data,
        )  # fmt: skip

    def _close(self, why: Ended) -> None:
        self.state, self.ended = State.CLOSED, why
        self._resend_at = self._probe_at = self._ack_at = None
        self._sender.release()
        if why is Ended.BOTH:
            self._receiver.settle()  # what came may still be read
        else:
            self._receiver.release()
        self.on_change()
