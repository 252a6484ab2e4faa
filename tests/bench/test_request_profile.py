"""Where a request's time goes: looked at for a moment, and sorted into steps."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.request_profile import ALL_STEPS, REST, STEPS, TLS, Profile, profile, step_of, table

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.mark.parametrize(
    ("stack", "step"),
    [
        (["transport/udp/batched.py:_receive",
          "transport/udp/batched.py:_on_readable"], "datagrams in: recvmsg, GRO"),
        (["transport/udp/batched.py:_send_run",
          "transport/quic/qh3_engine/driver.py:flush"], "datagrams out: sendmsg, GSO"),
        (["lib/aioquic/buffer.py:pull",
          "transport/quic/aioquic_engine/packets.py:a", "transport/quic/x.py:on_datagrams"],
         "packets or frames in"),
        (["transport/quic/aioquic_engine/packets.py:a", "transport/quic/aioquic_engine/sending.py:b"],
         "packets or frames out"),
        (["lib/python/ssl.py:read", "lib/asyncio/runners.py:run"], TLS),
        (["transport/http2/core.py:take", "transport/http2/outgoing.py:pump"], "packets or frames out"),
        (["transport/http2/field_sections.py:decode", "transport/http2/incoming.py:work"], "packets or frames in"),
        (["protocol/streams/connect_codec.py:_encode"], "response metadata written"),
        (["protocol/streams/connect_codec.py:_fast_metadata"], "opening read"),
        (["connector/requests/path.py:_route"], "rule matched"),
        (["connector/requests/path.py:_relay"], "request path: order of the steps, counters"),
        (["lib/asyncio/tasks.py:new", "connector/tasks.py:spawn", "transport/quic/x.py:on_datagrams"], "tasks"),
        (["lib/asyncio/runners.py:run"], REST),
    ],
)  # fmt: skip
def test_the_innermost_frame_of_ours_says_which_step_it_is(stack: list[str], step: str) -> None:
    assert step_of(stack) == step
    assert step in ALL_STEPS


def test_every_step_has_its_place_in_the_table_and_every_file_is_there() -> None:
    for step, places in STEPS:
        assert step in ALL_STEPS or f"{step} in" in ALL_STEPS
        for place in places:
            assert (ROOT / place.partition(":")[0]).exists() or list((ROOT / place).parent.glob(f"{Path(place).name}*"))


def test_the_parts_add_up_to_the_whole() -> None:
    found = Profile(100.0)
    found.add(3, ["connector/tasks.py:spawn"])
    found.add(1, ["elsewhere"])
    assert found.microseconds("tasks") == 75.0
    assert "| tasks | 75.0 |" in table({"engine": found})
    assert "| **all** | **100.0** |" in table({"engine": found})


async def test_a_connector_is_looked_at_while_it_carries_requests() -> None:
    found = await profile("aioquic", in_flight=8, seconds=0.5, edge_engine="aioquic")
    assert found.looks > 5
    assert found.per_request > 0
    seen = {step for step in ALL_STEPS if found.microseconds(step) > 0}
    assert len(seen) > 3
    assert found.microseconds(REST) < found.per_request / 4
