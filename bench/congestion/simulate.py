"""Two real aioquic connections, client and server, through a simulated path; the server sends, the client counts."""

from __future__ import annotations

import bisect
import datetime
import functools
import math
import random
import ssl
from collections.abc import Sequence
from dataclasses import dataclass

from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import ConnectionTerminated, StreamDataReceived
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.x509.oid import NameOID

from bench.congestion.network import EPOCH, EventQueue, Link, Path
from pyconnector.transport.quic.aioquic_engine.bbr import attach
from pyconnector.transport.quic.aioquic_engine.recovery import make_recovery

CLIENT = ("192.0.2.1", 40000)
SERVER = ("192.0.2.2", 7844)
PACKET_SIZE = 1232
#: Flow control must not be what limits the flow.
WINDOW = 64 * 1024 * 1024
#: Timers fire on whole milliseconds after they were set, as in an event loop on epoll, and never exactly in time.
TIMER_TICK = 0.001
TIMER_LATENESS = 0.01


@functools.cache
def _identity() -> tuple[x509.Certificate, ed25519.Ed25519PrivateKey]:
    # Ed25519, because its signatures have one length: the handshake is then the same in every run.
    key = ed25519.Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "simulated")])
    begin = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, begin, begin + datetime.timedelta(days=36500))
    return builder.sign(key, None), key


def _connection(*, algorithm: str, is_client: bool, rng: random.Random, destination: bytes = b"") -> QuicConnection:
    configuration = QuicConfiguration(
        alpn_protocols=["simulated"],
        congestion_control_algorithm="reno" if algorithm == "bbr" else algorithm,
        is_client=is_client,
        max_data=WINDOW,
        max_stream_data=WINDOW,
        max_datagram_size=PACKET_SIZE,
        server_name="simulated",
        verify_mode=ssl.CERT_NONE,
    )
    if is_client:
        connection = QuicConnection(configuration=configuration)
    else:
        configuration.certificate, configuration.private_key = _identity()
        connection = QuicConnection(configuration=configuration, original_destination_connection_id=destination)
    if algorithm == "bbr":
        attach(connection, uniform=rng.random)
    else:
        connection._loss = make_recovery(connection, algorithm)  # noqa: SLF001 - as the engine does
    return connection


class Endpoint:
    """One connection on the virtual clock: what an asyncio protocol does, without sockets."""

    def __init__(self, events: EventQueue, connection: QuicConnection, link: Link, address: tuple[str, int]) -> None:
        self.connection = connection
        self.address = address
        self.received = 0
        self.received_log: list[tuple[float, int]] = []
        self.finished_at: float | None = None
        self.answer = 0
        "Bytes to send back once the peer's request is whole."
        self.terminated: str | None = None
        self.peer: Endpoint | None = None
        self._events = events
        self._link = link
        self._timer_at: float | None = None

    def deliver(self, data: bytes, source: tuple[str, int]) -> None:
        """Take a datagram in and answer."""
        self.connection.receive_datagram(data, source, self._events.now)
        self.turn()

    def turn(self) -> None:
        """Handle events, send what may be sent, and set the timer."""
        while (event := self.connection.next_event()) is not None:
            if isinstance(event, StreamDataReceived):
                self.received += len(event.data)
                self.received_log.append((self._events.now, self.received))
                if event.end_stream:
                    self.finished_at = self._events.now
                    if self.answer:
                        self.connection.send_stream_data(event.stream_id, bytes(self.answer), end_stream=True)
            elif isinstance(event, ConnectionTerminated):
                self.terminated = event.reason_phrase
        peer = self.peer
        assert peer is not None
        for data, _ in self.connection.datagrams_to_send(self._events.now):
            self._link.send(len(data), functools.partial(peer.deliver, data, self.address))
        self._set_timer()

    def _set_timer(self) -> None:
        timer_at = self.connection.get_timer()
        if timer_at is not None and timer_at != self._timer_at:
            ticks = math.ceil((timer_at - self._events.now) / TIMER_TICK + TIMER_LATENESS)
            self._events.at(self._events.now + ticks * TIMER_TICK, functools.partial(self._on_timer, timer_at))
        self._timer_at = timer_at

    def _on_timer(self, timer_at: float) -> None:
        if timer_at == self._timer_at:
            self._timer_at = None
            self.connection.handle_timer(self._events.now)
            self.turn()


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowPlan:
    """One download: which controller sends it, when it begins, and how much it carries."""

    algorithm: str
    size: int
    start: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowOutcome:
    """What the client of one flow saw. Times in seconds from the beginning of the simulation."""

    algorithm: str
    start: float
    finish: float | None
    "None if it was not complete when the simulation ended."
    received: int
    log: Sequence[tuple[float, int]]
    "Time and total of bytes received, at each arrival."
    sender: QuicConnection

    @property
    def goodput(self) -> float:
        """Bytes per second from the first packet of the handshake to the last byte."""
        end = self.finish if self.finish is not None else self.log[-1][0] if self.log else math.inf
        return self.received / (end - self.start)

    def goodput_between(self, begin: float, end: float) -> float:
        """Bytes per second within a time span."""
        times = [time for time, _ in self.log]
        first, last = (bisect.bisect_right(times, time) - 1 for time in (begin, end))
        return ((self.log[last][1] if last >= 0 else 0) - (self.log[first][1] if first >= 0 else 0)) / (end - begin)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What happened on the path."""

    flows: tuple[FlowOutcome, ...]
    queue_delays: Sequence[tuple[float, float]]
    "Time and delay in the bottleneck's queue, of each packet through it."
    dropped: int
    lost: int
    sent: int

    def mean_queue_delay(self, begin: float = 0.0) -> float:
        """Mean seconds in the queue of the packets that came after `begin`."""
        delays = [delay for time, delay in self.queue_delays if time >= begin]
        return sum(delays) / len(delays) if delays else 0.0

    def queue_delay_quantile(self, quantile: float, begin: float = 0.0) -> float:
        """Seconds in the queue that this share of the packets did not exceed."""
        delays = sorted(delay for time, delay in self.queue_delays if time >= begin)
        return delays[min(int(quantile * len(delays)), len(delays) - 1)] if delays else 0.0


def jain_index(rates: Sequence[float]) -> float:
    """Return the fairness of shares: 1 if all are equal, 1/n if one has everything."""
    squares = sum(rate * rate for rate in rates)
    return sum(rates) ** 2 / (len(rates) * squares) if squares else 0.0


def simulate(path: Path, plans: Sequence[FlowPlan], *, seed: int, duration: float) -> Outcome:
    """Run the downloads over one bottleneck until all are complete or `duration` virtual seconds have passed."""
    rng = random.Random(seed)
    events = EventQueue()
    down = Link(events, rate=path.rate, delay=path.rtt / 2, queue_bytes=path.queue_bytes, loss=path.loss, rng=rng)
    up = Link(events, rate=path.return_rate, delay=path.rtt / 2, queue_bytes=math.inf, loss=path.loss, rng=rng)
    clients = [_start_flow(events, plan, up=up, down=down, rng=rng) for plan in plans]
    events.run(until=EPOCH + duration, stop=lambda: all(client.finished_at is not None for client in clients))
    return Outcome(
        flows=tuple(_outcome(plan, client) for plan, client in zip(plans, clients, strict=True)),
        queue_delays=[(time - EPOCH, delay) for time, delay in down.queue_delays],
        dropped=down.dropped,
        lost=down.lost,
        sent=down.sent,
    )


def _start_flow(events: EventQueue, plan: FlowPlan, *, up: Link, down: Link, rng: random.Random) -> Endpoint:
    client = Endpoint(events, _connection(algorithm=plan.algorithm, is_client=True, rng=rng), up, CLIENT)
    server = Endpoint(
        events,
        _connection(
            algorithm=plan.algorithm,
            is_client=False,
            rng=rng,
            destination=client.connection.original_destination_connection_id,
        ),
        down,
        SERVER,
    )
    client.peer, server.peer = server, client
    server.answer = plan.size

    def start() -> None:
        client.connection.connect(SERVER, now=events.now)
        client.connection.send_stream_data(0, b"GET", end_stream=True)
        client.turn()

    events.at(EPOCH + plan.start, start)
    return client


def _outcome(plan: FlowPlan, client: Endpoint) -> FlowOutcome:
    if client.terminated is not None:
        raise RuntimeError(f"a simulated connection ended: {client.terminated}")
    peer = client.peer
    assert peer is not None
    return FlowOutcome(
        algorithm=plan.algorithm,
        start=plan.start,
        finish=None if client.finished_at is None else client.finished_at - EPOCH,
        received=client.received,
        log=[(time - EPOCH, total) for time, total in client.received_log],
        sender=peer.connection,
    )
