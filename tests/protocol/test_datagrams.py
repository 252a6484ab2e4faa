"""Datagrams of both versions, against recorded ones; and what is too short, too long or unknown."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyconnector.protocol.datagrams import (
    MAX_ERROR_BYTES,
    MAX_PAYLOAD_BYTES,
    MAX_V2_BYTES,
    IcmpPacket,
    IpPacket,
    ResponseCode,
    SessionPayload,
    SessionRegistration,
    SessionResponse,
    TraceIdentity,
    TracingSpans,
    UdpPayload,
    decode_v2,
    decode_v3,
    session_head_v3,
    session_tail_v2,
    split_payload_v2,
    split_payload_v3,
)
from pyconnector.protocol.errors import ProtocolError
from tests.support.wire.vectors import vectors

V2, V3 = vectors("datagrams")["v2"], vectors("datagrams")["v3"]
SESSION = UUID("8e7636c4-a49c-181f-ff81-5e20955bf9ff")
TRACE = TraceIdentity(trace_id=0xEC31AD8A01FDE11FDCABE2EFDCE36873, span_id=0x52726F6CABC144F5, flags=1)


@pytest.mark.parametrize("case", V2)
def test_recorded_datagrams_of_version_2(case: dict[str, Any]) -> None:
    raw = bytes.fromhex(case["hex"])
    value = decode_v2(raw)
    assert value.encode() == raw
    if case["kind"] == "udp":
        assert value == UdpPayload(session_id=UUID(case["session_id"]), payload=bytes.fromhex(case["payload"]))
        return
    body = bytes.fromhex(case["body"])
    if case["kind"] == "type-1":
        assert value == IpPacket(packet=body)
        return
    assert isinstance(value, IpPacket | TracingSpans)
    assert value.trace is not None
    assert value.trace.encode() == body[-25:]
    assert (value.packet if isinstance(value, IpPacket) else value.spans) == body[:-25]
    assert isinstance(value, IpPacket) is (case["kind"] == "type-2")


def split_destination(text: str) -> tuple[Any, int]:
    host, _, port = text.rpartition(":")
    return ip_address(host.strip("[]")), int(port)


@pytest.mark.parametrize("case", V3)
def test_recorded_datagrams_of_version_3(case: dict[str, Any]) -> None:
    raw = bytes.fromhex(case["hex"])
    value = decode_v3(raw)
    assert value.encode() == raw
    request_id = bytes.fromhex(case.get("request_id", ""))
    payload = bytes.fromhex(case.get("payload", ""))
    if case["kind"] == "registration":
        address, port = split_destination(case["dest"])
        assert value == SessionRegistration(
            request_id=request_id,
            destination_ip=address,
            destination_port=port,
            idle_seconds=case["idle_seconds"],
            payload=payload,
            traced=case["traced"],
        )
    elif case["kind"] == "payload":
        assert value == SessionPayload(request_id=request_id, payload=payload)
    elif case["kind"] == "icmp":
        assert value == IcmpPacket(packet=payload)
    else:
        assert value == SessionResponse(
            request_id=request_id, code=ResponseCode(case["response_type"]), error=case["error"]
        )


def test_a_trace_identity_is_big_endian() -> None:
    assert TRACE.encode().hex() == "ec31ad8a01fde11fdcabe2efdce36873" + "52726f6cabc144f5" + "01"
    assert decode_v2(IpPacket(packet=b"ip", trace=TRACE).encode()) == IpPacket(packet=b"ip", trace=TRACE)
    assert decode_v2(TracingSpans(spans=b"", trace=TRACE).encode()) == TracingSpans(spans=b"", trace=TRACE)


def test_empty_packets_of_a_session_travel() -> None:
    assert decode_v2(UdpPayload(session_id=SESSION, payload=b"").encode()).payload == b""  # type: ignore[union-attr]
    assert decode_v3(SessionPayload(request_id=bytes(16), payload=b"").encode()).payload == b""  # type: ignore[union-attr]


def test_no_idle_time_means_the_usual_one() -> None:
    value = SessionRegistration(
        request_id=bytes(16), destination_ip=ip_address("10.0.0.7"), destination_port=53, idle_seconds=0
    )
    decoded = decode_v3(value.encode())
    assert isinstance(decoded, SessionRegistration)
    assert decoded.idle_seconds == 210


def test_bytes_after_a_registration_count_only_where_it_says_so() -> None:
    value = SessionRegistration(request_id=bytes(16), destination_ip=ip_address("10.0.0.7"), destination_port=53)
    assert decode_v3(value.encode() + b"stray") == value


@pytest.mark.parametrize("raw", [b"", b"\x00", bytes(16), b"\x02" * 25, b"\x03" * 25, b"\x04", b"\xff" * 40])
def test_broken_datagrams_of_version_2_are_refused(raw: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode_v2(raw)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x00",
        b"\x00" * 25,
        b"\x00\x01" + bytes(35),  # IPv6, and a byte short of it
        b"\x00\x04" + bytes(24) + b"x" * (MAX_PAYLOAD_BYTES + 1),
        b"\x01" + bytes(15),
        b"\x01" + bytes(16) + b"x" * (MAX_PAYLOAD_BYTES + 1),
        b"\x02",
        b"\x02" + b"x" * (MAX_PAYLOAD_BYTES + 1),
        b"\x03\x00" + bytes(17),
        b"\x03\x00" + bytes(16) + b"\x00\x01",
        b"\x03\x00" + bytes(16) + b"\x00\x00x",
        b"\x03\x07" + bytes(18),
        b"\x03\x00" + bytes(16) + (MAX_ERROR_BYTES + 1).to_bytes(2) + b"x" * (MAX_ERROR_BYTES + 1),
        b"\x04" + bytes(30),
    ],
)
def test_broken_datagrams_of_version_3_are_refused(raw: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode_v3(raw)


def test_the_largest_datagrams_fit_and_larger_ones_are_refused() -> None:
    largest = b"x" * MAX_PAYLOAD_BYTES
    payload, icmp = SessionPayload(request_id=bytes(16), payload=largest), IcmpPacket(packet=largest)
    assert decode_v3(payload.encode()) == payload
    assert decode_v3(icmp.encode()) == icmp
    full = b"x" * (MAX_V2_BYTES - 17)
    udp = UdpPayload(session_id=SESSION, payload=full)
    assert decode_v2(udp.encode()) == udp
    with pytest.raises(ProtocolError, match="1351 bytes"):
        UdpPayload(session_id=SESSION, payload=full + b"x").encode()
    with pytest.raises(ProtocolError, match="1351 bytes"):
        decode_v2(b"x" * MAX_V2_BYTES + b"\x01")
    for value in (
        SessionPayload(request_id=bytes(16), payload=largest + b"x"),
        IcmpPacket(packet=largest + b"x"),
        IcmpPacket(packet=b""),
        SessionPayload(request_id=bytes(15), payload=b""),
    ):
        with pytest.raises(ProtocolError):
            value.encode()


def test_a_long_error_is_cut() -> None:
    value = SessionResponse(request_id=bytes(16), code=ResponseCode.ERROR, error="x" * 5_000)
    decoded = decode_v3(value.encode())
    assert isinstance(decoded, SessionResponse)
    assert decoded.error == "x" * MAX_ERROR_BYTES


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=80))
def test_whatever_is_accepted_is_written_back(raw: bytes) -> None:
    for decode in (decode_v2, decode_v3):
        try:
            value = decode(raw)
        except ProtocolError:
            continue
        assert decode(value.encode()) == value


@given(st.binary(max_size=MAX_V2_BYTES + 40).flatmap(lambda raw: st.sampled_from([raw, raw + b"\x00", b"\x01" + raw])))
@settings(max_examples=500)
def test_the_short_way_finds_the_same_payloads_as_the_decoders(raw: bytes) -> None:
    for split, decode in ((split_payload_v2, decode_v2), (split_payload_v3, decode_v3)):
        try:
            value = decode(raw)
        except ProtocolError:
            value = None
        found = split(raw)
        if isinstance(value, UdpPayload):
            assert found == (value.session_id.bytes, value.payload)
            assert value.payload + session_tail_v2(found[0]) == raw
        elif isinstance(value, SessionPayload):
            assert found == (value.request_id, value.payload)
            assert session_head_v3(found[0]) + value.payload == raw
        else:
            assert found is None


@pytest.mark.parametrize("write", [session_tail_v2, session_head_v3])
def test_an_id_of_another_length_frames_nothing(write: Any) -> None:
    with pytest.raises(ProtocolError, match="15 bytes"):
        write(bytes(15))
