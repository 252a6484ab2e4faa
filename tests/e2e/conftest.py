"""Fixtures of the end-to-end tests."""

from __future__ import annotations

import pytest


@pytest.fixture(params=["aioquic", "qh3"])
def engine(request: pytest.FixtureRequest) -> str:
    """The QUIC engine of the connector."""
    if request.param == "qh3":
        pytest.importorskip("qh3", reason="the extra `fast` is not installed")
    return str(request.param)
