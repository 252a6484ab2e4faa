"""The qh3 engine does what every transport must, with itself and with the aioquic engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

pytest.importorskip("qh3", reason="the qh3 engine is not installed")

from tests.transport.conformance_connections import CONNECTION_CHECKS
from tests.transport.conformance_streams import STREAM_CHECKS
from tests.transport.pairs.qh3_pair import make_pair_of

if TYPE_CHECKING:
    from tests.transport.conformance import Check

CHECKS = STREAM_CHECKS + CONNECTION_CHECKS
#: qh3 gives credit from one queue for all streams of a connection: test_qh3_flow.py says what holds instead.
ONLY_WITH_CREDIT_PER_STREAM = {"a_stalled_reader_stops_its_sender_and_no_other"}
ONLY_OF_ONE_ENGINE = {"statistics_count_bytes_and_streams"}


@pytest.fixture(autouse=True)
def little_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A check that fills windows and abandons what fills them waits for this."""
    monkeypatch.setattr("pyconnector.transport.quic.qh3_engine.connection.STALL_LIMIT", 1.0)
    monkeypatch.setattr("pyconnector.transport.quic.qh3_engine.connection.GRACES", (0.05, 0.2))


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_qh3_transport(check: Check) -> None:
    if check.__name__ in ONLY_WITH_CREDIT_PER_STREAM:
        pytest.skip("qh3 gives credit from one queue for all streams: see test_qh3_flow.py")
    await check(make_pair_of("qh3", "qh3"))


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize(("client", "server"), [("qh3", "aioquic"), ("aioquic", "qh3")])
async def test_engines_understand_each_other(check: Check, client: str, server: str) -> None:
    if check.__name__ in ONLY_WITH_CREDIT_PER_STREAM:
        pytest.skip("qh3 gives credit from one queue for all streams: see test_qh3_flow.py")
    if check.__name__ in ONLY_OF_ONE_ENGINE:
        pytest.skip("compares the names of the engines")
    await check(make_pair_of(client, server))
