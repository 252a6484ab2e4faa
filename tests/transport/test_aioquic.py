"""The aioquic engine does what every transport must."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.transport.conformance_connections import CONNECTION_CHECKS
from tests.transport.conformance_streams import STREAM_CHECKS
from tests.transport.pairs.aioquic_pair import make_aioquic_pair

if TYPE_CHECKING:
    from tests.transport.conformance import Check

pytestmark = pytest.mark.usefixtures("loop_errors")


@pytest.mark.parametrize("check", STREAM_CHECKS + CONNECTION_CHECKS, ids=lambda check: check.__name__)
async def test_aioquic_transport(check: Check) -> None:
    await check(make_aioquic_pair)
