"""One connection of the qh3 engine, either side: datagrams into the native core, its events out to streams.

Flow control. The core returns credit, for stream and connection at once, when an event is taken from its one queue.
So events are taken until `Windows.unread` bytes wait unread in the connection's streams, and again as they are read.
What that costs: past that limit a stalled reader slows its neighbours, whose events wait behind its own, of which
there is at most a stream window. While nobody reads at all, a little more is taken now and then (`GRACES`), so that
the neighbours go on and a reset is heard of; at last the fullest streams are given up (`STALL_LIMIT`), lest they hold
the others for ever. What the core holds meanwhile is bounded by its windows and `HELD_EVENTS`.

The core's windows are fixed, so the peer is granted them from the start: they do not grow with the path as the
reference's do.
"""

from __future__ import annotations

import logging
from time import monotonic
from typing import TYPE_CHECKING, Any, cast

from pyconnector.transport.buffers.connection import REFUSED_CODE
from pyconnector.transport.errors import TransportError
from pyconnector.transport.quic.failures import idle_reason
from pyconnector.transport.quic.qh3_engine.configuration import Windows
from pyconnector.transport.quic.qh3_engine.driver import CONNECTED, Qh3Driver
from pyconnector.transport.quic.qh3_engine.numbers import RecentlyOver, SkippedTooMany, StreamNumbers
from pyconnector.transport.quic.qh3_engine.packets import PacketReader
from pyconnector.transport.quic.qh3_engine.pieces import EVERYTHING, OVER, PACKET_OVERHEAD, UNSEEN_LIMIT, PieceWatch
from pyconnector.transport.quic.qh3_engine.stream import Qh3Stream

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from pyconnector.transport.quic.qh3_engine.internals import NativeQuic
    from pyconnector.transport.seam import Address
    from pyconnector.transport.settings import QuicSettings
    from pyconnector.transport.udp.batched import UdpEndpoint

log = logging.getLogger(__name__)

#: Seconds without any reading after which events for one more stream window are taken though the limit is reached.
GRACES = (0.1, 1.0)
#: Seconds without any reading after which streams with most unread bytes are given up.
STALL_LIMIT = 5.0
#: The same for a connection that gave up streams within the last `REPEAT_MEMORY` seconds: whoever caused it most often
#: comes again at once, and everybody else would wait `STALL_LIMIT` every time.
REPEAT_STALL_LIMIT, REPEAT_MEMORY = 0.5, 60.0
#: Unread streams of one reader that are a crowd, and how long it is waited for: it alone is to blame, most likely.
CROWD, CROWD_STALL_LIMIT = 16, 1.0
#: Bytes to be read before events are taken again, so that it is not done for every read.
RESUME_STEP = 64 * 1024
#: Events that may wait in the core while none are taken; then the peer's packets are dropped unread.
HELD_EVENTS = 32768
#: Transport error code (RFC 9000 20.1).
STREAM_LIMIT_ERROR = 0x4

_IDLE_REASON = b"Idle timeout"


class Qh3Connection(Qh3Driver):
    """What the core's events mean, and how many of them are taken."""

    def __init__(self, quic: NativeQuic, endpoint: UdpEndpoint, peer_address: Address, settings: QuicSettings) -> None:
        super().__init__(quic, endpoint, peer_address, settings)
        quic.on_events = self._take_handshake_events
        self.on_connection_id: Callable[[bytes, bool], None] | None = None
        "Told of each connection ID that the core issues (True) or retires (False)."
        self._parity = 1 if self._is_client else 0  # of the numbers of streams that the peer opens
        self._numbers = StreamNumbers(self._parity)
        self._unidirectional = StreamNumbers(self._parity | 2)
        self._unread = 0
        windows = Windows.of(settings)
        self._usual_limit = self._unread_limit = windows.unread
        self._grace_size = windows.stream
        self._graces = 0  # how many were granted since unread bytes were last below the usual limit
        self._is_crowded = False  # whether one reader had so many unread streams when the last grace was granted
        self._is_held = False  # whether unread bytes keep events from being taken
        self._held_since = 0.0  # or since something was read last
        self._held_events = 0
        self._fed_events = 1  # of the latest datagrams
        self._repeat_until = 0.0
        self._resuming = False
        self._qh3_streams = cast("dict[int, Qh3Stream]", self.streams)
        self._packets = 0  # of the peer, since the handshake
        self._unseen = 0  # bytes in these from which nothing was delivered
        self._watch: PieceWatch | None = None
        self._over = RecentlyOver()

    # -- in ------------------------------------------------------------------------------------------------------

    def receive(self, datagrams: list[bytes], address: Address) -> None:
        """Take what arrived from `address`: the one entrance of the network."""
        if self.stood_still():
            return
        self._receiving = True
        try:
            if self.quic.is_established:
                self._receive_established(datagrams, address)
            else:
                self._receive_handshake(datagrams, address)
        finally:
            self._receiving = False
        if self._flush_wanted:
            self.flush()
        elif not self._is_gone and not (
            len(datagrams) == 1 and self.acknowledgement_can_wait(brought=self._fed_events > 0)
        ):
            # Acknowledgements and credit go with what those tasks write that were woken just now.
            self.want_flush()

    def _receive_established(self, datagrams: list[bytes], address: Address) -> None:
        if self._held_events > HELD_EVENTS:
            return
        if self._watch is not None:
            self._feed_watched(self._watch, datagrams, address)
            return
        self._feed(datagrams, address)
        self.take_events()
        if self._unseen > UNSEEN_LIMIT:
            reader = PacketReader(self.quic.receive_secret, len(self.quic.host_cid), self._packets)
            self._watch = PieceWatch(reader, self._delivered)

    def _feed(self, datagrams: list[bytes], address: Address) -> int:
        """Give datagrams to the core; returns in how many packets it found something new."""
        now = monotonic()
        try:
            report = self.core.receive_many_datagrams(datagrams, address, now)
        except (ValueError, RuntimeError) as exc:
            self.fail(f"the QUIC core failed: {exc}")
            return 0
        packets = report[2]
        if packets:
            self._last_heard = self._heard = now
            self._packets += packets
        self._unseen += report[1] - PACKET_OVERHEAD * report[0]
        events = self._fed_events = report[5]
        self.queued += events
        if self._is_held or self.prepared.waiting:
            self._held_events += events
        if self.prepared.are_left:
            self.prepared.withhold(events, len(self.streams))
            self.flush()
        return packets

    def _feed_watched(self, watch: PieceWatch, datagrams: list[bytes], address: Address) -> None:
        """Give datagrams to the core, those that the watch chooses one at a time, and let it see these."""
        while self.closed is None and (chosen := watch.choose(len(datagrams))) is not None:
            watch.passed(self._feed(datagrams[:chosen], address))
            found = self._feed(datagrams[chosen : chosen + 1], address)
            self.take_events()
            failure = watch.note(datagrams[chosen], found)
            if failure is not None:
                self.fail(failure)
            datagrams = datagrams[chosen + 1 :]
        watch.passed(self._feed(datagrams, address))
        self.take_events()

    def _delivered(self, stream_id: int) -> int:
        """Return how many bytes of a stream's beginning the core keeps no more; `OVER` where it forgot the stream."""
        stream = self._qh3_streams.get(stream_id)
        if stream is None:
            if stream_id in self._over:
                return EVERYTHING
            numbers = self._unidirectional if stream_id & 2 else self._numbers
            return OVER if numbers.was_seen(stream_id) else 0
        return EVERYTHING if stream.is_aborted else stream.arrived

    def _receive_handshake(self, datagrams: list[bytes], address: Address) -> None:
        quic = self.quic
        self._last_heard = self._heard = monotonic()
        failure = None
        try:
            quic.receive_many_datagrams(datagrams, address, self._last_heard)
        except Exception as exc:  # noqa: BLE001 - TLS is Python here and fed by strangers: this peer alone shall suffer
            failure = f"the handshake failed: {exc!r}"
        if not quic.is_started or not (self._is_client or quic.core.received_authenticated_packet):
            # Not even one good packet: whatever it was, it deserves no state.
            self.abandon()
            return
        self.core = quic.core
        if failure is not None:
            self.fail(failure)
        elif quic.failure is not None:
            self.lost(*quic.failure, local=True)
        elif quic.is_established and not self.handshake_over.done():
            self.handshake_over.set_result(None)
        self.want_flush()

    def _take_handshake_events(self) -> None:
        self.core = self.quic.core  # a Retry makes a new one
        self.take_events()

    def take_events(self) -> None:
        """See `Qh3Driver`. Once the connection ends no more can come, and the rest is taken whatever waits.

        Nothing is sent meanwhile: frames would be prepared of streams whose end is the next event (see `prepared`).
        """
        was_receiving, self._receiving = self._receiving, True
        try:
            self._take_events()
        finally:
            self._receiving = was_receiving
        if self._flush_wanted and not was_receiving:
            self._loop.call_soon(self._flush_if_wanted)

    def _take_events(self) -> None:
        next_event = self.core.next_event
        streams = self._qh3_streams
        limit = self._unread_limit
        prepared = self.prepared
        left = prepared.free(self.queued) if prepared.waiting and self.core.state == CONNECTED else -1
        taken = 0
        while left and (self._unread < limit or self.core.state != CONNECTED):
            left -= 1
            event = next_event()
            if event is None:
                self._not_held()
                return
            taken += 1
            kind = event[0]
            if kind == "stream_data":
                data = event[2]
                size = len(data)
                self._unseen -= size
                stream = streams.get(event[1])
                if stream is not None:
                    self._unread += size
                    stream.arrived += size
                    stream.data_received(data, event[3])
                elif self.closed is None and self._is_new(event[1]):
                    self._opened(event[1], data, event[3])
            elif kind == "stream_finished":
                stream_id = event[1]
                if (stream := streams.get(stream_id)) is not None:
                    stream.release_share()
                prepared.forget_stream(stream_id)
                self.forget_stream(stream_id, peer_opened=stream_id & 1 == self._parity)
                self._over.add(stream_id)
            else:
                self._take_rare_event(kind, event)
                if left > 0 and kind == "stop_sending":  # what follows waits for the frame that answers it
                    self._count_taken(taken)
                    left, taken = prepared.free(self.queued), 0
        self._count_taken(taken)
        if not self._is_held and left and self.core.has_events:
            self._is_held = True
            self._held_since = monotonic()

    def _count_taken(self, events: int) -> None:
        self.prepared.taken(events, self.queued)
        self.queued = max(self.queued - events, 0)

    def _not_held(self) -> None:
        self.queued = 0
        self.prepared.nothing_waits()
        self._is_held = False
        self._held_events = 0
        if self._graces and self._unread < self._usual_limit:
            self._graces = 0
            self._unread_limit = self._usual_limit

    def _opened(self, stream_id: int, data: bytes, finished: bool) -> None:
        stream = Qh3Stream(self, stream_id)
        if stream_id & 2:
            stream.has_one_direction(sends=False)
        stream.arrived = len(data)
        self._unread += stream.arrived
        # Data first, so that a handler finds the opening already there.
        stream.data_received(data, finished)
        self.peer_opened(stream)

    def _is_new(self, stream_id: int) -> bool:
        try:
            return (self._unidirectional if stream_id & 2 else self._numbers).is_new(stream_id)
        except SkippedTooMany:
            self.fail("the peer skipped too many streams", STREAM_LIMIT_ERROR)
            return False

    def _take_rare_event(self, kind: str, event: tuple[Any, ...]) -> None:
        if kind == "crypto_data":
            self._take_crypto(event)
        elif kind == "stream_reset":
            self._take_reset(event[1], event[2])
        elif kind == "stop_sending":
            self._take_stop(event[1], event[2])
        elif kind == "datagram":
            self._unseen -= len(event[1])
            self.datagram_arrived(event[1])
        elif kind == "streams_available":
            if not event[1]:  # not unidirectional ones
                self.streams_available()
        elif kind == "path_validated":
            self.peer_address = self.core.active_path[2][:2]
        elif kind in ("connection_id_issued", "connection_id_retired"):
            if self.on_connection_id is not None:
                self.on_connection_id(event[1], kind == "connection_id_issued")
        elif kind == "handshake_done":
            self.quic.confirm()
        else:
            self._take_end(kind, event)

    def _take_reset(self, stream_id: int, code: int) -> None:
        stream = self.streams.get(stream_id)
        if stream is not None:
            stream.peer_reset(code)
        elif self.closed is None and self._is_new(stream_id):
            # Opened and aborted before a byte came: nothing that a user could act upon.
            stream = Qh3Stream(self, stream_id)
            self.streams[stream_id] = stream
            self.peer_streams += 1
            stream.peer_reset(code)
            stream.reset(REFUSED_CODE)

    def _take_stop(self, stream_id: int, code: int) -> None:
        stream = self.streams.get(stream_id)
        if stream is None and self.closed is None and self._is_new(stream_id):
            stream = Qh3Stream(self, stream_id)
            self.peer_opened(stream)
        if stream is not None:
            self.stream_given_up()  # the core answers with a reset
            self.prepared.reset_asked(stream_id)
            stream.peer_stopped(code)

    def _take_crypto(self, event: tuple[Any, ...]) -> None:
        if not self.quic.is_established:
            self.quic.take_crypto(event)  # `_receive_handshake` sees what becomes of it
            return
        try:
            self.quic.take_crypto(event)
        except Exception as exc:  # noqa: BLE001 - see _receive_handshake
            self.fail(f"TLS failed: {exc!r}")
        if self.quic.failure is not None:
            self.lost(*self.quic.failure, local=True)

    def _take_end(self, kind: str, event: tuple[Any, ...]) -> None:
        if kind == "peer_closed":
            self.lost(event[2], event[4].decode("utf-8", "replace"), local=False)
            self._leave()
        elif kind == "protocol_error":
            self.lost(event[1], f"the peer broke the protocol: {event[3]}", local=True)
            self.want_flush()
        elif kind == "connection_terminated":
            if event[3] == _IDLE_REASON:
                self.lost(0, idle_reason(self._settings.idle_timeout), local=False, idle=True)
            else:
                self.lost(event[1], event[3].decode("utf-8", "replace"), local=False)
            self._leave()

    # -- reading gives credit back -------------------------------------------------------------------------------

    def consumed(self, count: int) -> None:
        """`count` bytes were read or dropped: take events again once that makes room."""
        self._unread -= count
        if not self._is_held:
            return
        self._held_since = monotonic()
        limit = self._unread_limit
        if not self._resuming and self._unread <= limit - min(RESUME_STEP, limit // 4):
            self._resuming = True
            self._loop.call_soon(self._resume)

    def events_are_free(self) -> None:
        """See `Qh3Driver`."""
        if not self._resuming and not self._receiving and self._unread < self._unread_limit:
            self._resuming = True
            self._loop.call_soon(self._resume)

    def _resume(self) -> None:
        self._resuming = False
        if not self._is_gone:
            self.take_events()
            self.flush()

    def own_deadline(self) -> float | None:
        """See `Qh3Driver`."""
        if not self._is_held:
            return None
        waits = self._stall_waits()
        return self._held_since + waits[min(self._graces, len(waits) - 1)]

    def _stall_waits(self) -> tuple[float, ...]:
        """How long nobody may have read anything before each grace, and at last before streams are given up."""
        if monotonic() < self._repeat_until:
            return (*GRACES[:1], REPEAT_STALL_LIMIT)
        if self._is_crowded and self._graces:
            return (*GRACES[:1], CROWD_STALL_LIMIT)
        return (*GRACES, STALL_LIMIT)

    def on_own_deadline(self) -> None:
        """Nobody read anything for a while, and all streams wait for it."""
        if self._graces < len(self._stall_waits()) - 1:
            self._graces += 1
            self._is_crowded = max(map(len, self._unread_by_reader()), default=0) >= CROWD
            self._unread_limit += self._grace_size
            self.take_events()
            return
        self._give_up_stalled()

    def _give_up_stalled(self) -> None:
        """Give up streams until nothing is held: all of one reader together, of whoever leaves most unread first."""
        by_size = sorted(self._unread_by_reader(), key=lambda streams: sum(stream.buffered for stream in streams))
        alive, waited = len(self.streams), self._stall_waits()[-1]
        given_up, size = 0, 0
        while self._is_held and by_size:
            for stream in by_size.pop():
                given_up += 1
                size += stream.buffered
                stream.refuse(0)
            self.take_events()
        if given_up:
            self._repeat_until = monotonic() + REPEAT_MEMORY
            log.warning("gave up %d of %d streams: %d bytes were unread for %g s", given_up, alive, size, waited)
        # What else is unread belongs to streams that are over on the wire: only their readers can help that.
        self._held_since = monotonic()

    def _unread_by_reader(self) -> list[list[Qh3Stream]]:
        """Return the streams of which something is unread, those of one reader together."""
        readers: dict[Hashable, list[Qh3Stream]] = {}
        for stream in self._qh3_streams.values():
            if stream.buffered:
                readers.setdefault(stream if stream.reader is None else stream.reader, []).append(stream)
        return list(readers.values())

    # -- streams of this side ------------------------------------------------------------------------------------

    def open_unidirectional(self) -> Qh3Stream:
        """See `Connection.open_unidirectional`."""
        if self.closed is not None:
            raise self.closed_error()
        try:
            stream_id = self.core.open_stream(True)
        except (ValueError, RuntimeError):
            raise TransportError("the peer allows no more unidirectional streams") from None
        stream = Qh3Stream(self, stream_id)
        stream.has_one_direction(sends=True)
        self.add_stream(stream)
        return stream

    def engine_open_stream(self) -> Qh3Stream | None:
        """See `BufferedConnection`."""
        try:
            stream_id = self.core.open_stream(False)
        except (ValueError, RuntimeError):
            return None
        stream = Qh3Stream(self, stream_id)
        self.add_stream(stream)
        return stream
