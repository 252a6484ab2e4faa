"""Every decoder against damaged and random bytes, for a bounded time: it answers, or raises ProtocolError.

PYCONNECTOR_FUZZ_SECONDS sets the time for each decoder, PYCONNECTOR_SEED repeats a run; a failure prints the seed and
the bytes.
"""

from __future__ import annotations

import os
import random
import time
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from pyconnector.protocol.capnp_format.framing import read_frame
from pyconnector.protocol.datagrams import decode_v2, decode_v3
from pyconnector.protocol.errors import ProtocolError
from pyconnector.protocol.http.headers import parse_serialized_headers, request_head, response_head
from pyconnector.protocol.rpc.edge_rpc import EdgeRpcClient, EdgeRpcServer
from pyconnector.protocol.rpc.registration import RegistrationClient, RegistrationServer
from pyconnector.protocol.streams import connect_codec
from pyconnector.protocol.streams.connect import ConnectRequest
from pyconnector.protocol.streams.openings import ConnectResponseDecoder, OpeningDecoder
from pyconnector.protocol.tokens import decode_token
from tests.support.wire.strategies import damaged
from tests.support.wire.vectors import vectors
from tests.support.wire.wire import broken_messages, framed, illegal_openings

if TYPE_CHECKING:
    from collections.abc import Callable

SECONDS = float(os.environ.get("PYCONNECTOR_FUZZ_SECONDS", "1.5"))
SEED = int(os.environ.get("PYCONNECTOR_SEED") or random.SystemRandom().getrandbits(32))

REQUESTS = [bytes.fromhex(case["hex"]) for case in vectors("streams")["connect_requests"] if len(case["hex"]) < 4_000]
RESPONSES = [bytes.fromhex(case["hex"]) for case in vectors("streams")["connect_responses"]]


def conversation(side: str) -> list[bytes]:
    """What that side said in each recorded session."""
    return [
        b"".join(bytes.fromhex(part["hex"]) for part in session["transcript"] if part["from"] == side)
        for session in vectors("registration")["sessions"]
    ]


def opening(data: bytes) -> None:
    request = OpeningDecoder().feed(data)
    if isinstance(request, ConnectRequest):
        request_head(request)


def answer(data: bytes) -> None:
    response = ConnectResponseDecoder().feed(data)
    if response is not None:
        response_head(response)


def both_readers(data: bytes) -> None:
    """What the fast reader accepts, the thorough one reads the same."""
    segment = data[16 : len(data) // 8 * 8]
    fast = connect_codec.fast_request(data, 16, 16 + len(segment))
    if fast is not None:
        message = framed(segment)
        try:
            assert connect_codec.decode_request(message, read_frame(message, 0, 1 << 20), 0) == fast
        except ProtocolError as error:
            raise AssertionError("the fast reader accepted what the thorough one refuses") from error


def halves(decoder: Any, data: bytes) -> None:
    middle = len(data) // 2
    decoder.receive_data(data[:middle])
    decoder.receive_data(data[middle:])
    decoder.receive_eof()
    decoder.bytes_to_send()


def registering() -> RegistrationClient:
    from tests.protocol.rpc.test_registration_vectors import REGISTRATION

    client = RegistrationClient()
    client.register(REGISTRATION)
    return client


def edge_calls() -> list[bytes]:
    from ipaddress import ip_address

    client, server = EdgeRpcClient(), EdgeRpcServer()
    client.update_configuration(1, b'{"ingress":[]}')
    client.register_udp_session(UUID(int=1), ip_address("10.0.0.1"), 53, 1.0, "t")
    client.unregister_udp_session(UUID(int=1), "bye")
    calls = client.bytes_to_send()
    server.receive_data(calls)
    return [calls]


DECODERS: dict[str, tuple[Callable[[bytes], object], list[bytes]]] = {
    "openings": (opening, REQUESTS + list(illegal_openings().values())),
    "answers": (answer, RESPONSES),
    "both readers": (both_readers, REQUESTS + [bytes(8) + message for message in broken_messages().values()]),
    "registration, edge": (lambda data: halves(RegistrationServer(), data), conversation("connector")),
    "registration, connector": (lambda data: halves(registering(), data), conversation("edge")),
    "edge calls": (lambda data: halves(EdgeRpcServer(), data), edge_calls()),
    "serialized headers": (
        parse_serialized_headers,
        [case["serialized"].encode() for case in vectors("response_headers")["cases"]],
    ),
    "tokens": (lambda data: decode_token(data.decode("latin-1")), [c["token"].encode() for c in vectors("tokens")]),
    "datagrams v2": (decode_v2, [bytes.fromhex(case["hex"]) for case in vectors("datagrams")["v2"]]),
    "datagrams v3": (decode_v3, [bytes.fromhex(case["hex"]) for case in vectors("datagrams")["v3"]]),
}


@pytest.mark.parametrize("name", DECODERS)
def test_only_protocol_errors_come_out(name: str) -> None:
    decode, samples = DECODERS[name]
    rng = random.Random(f"{SEED} {name}")
    end = time.monotonic() + SECONDS
    count = accepted = 0
    while time.monotonic() < end:
        for _ in range(50):
            data = damaged(rng.choice(samples), rng) if rng.random() < 0.95 else rng.randbytes(rng.randrange(200))
            try:
                decode(data)
                accepted += 1
            except ProtocolError:
                pass
            except BaseException:
                print(f"PYCONNECTOR_SEED={SEED}\n{data.hex()}")
                raise
            count += 1
    assert count >= 50
    print(f"{name}: {count} inputs, {accepted} accepted")
