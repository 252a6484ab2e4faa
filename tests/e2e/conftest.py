"""Fixtures of the end-to-end tests."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from tests.support.loops import each_loop as each_loop


@pytest.fixture(scope="session", autouse=True)
def _quick_collections() -> Iterator[None]:
    """Each of these tests collects garbage to prove that nothing is left; what all other tests imported need not be
    looked through every time."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(params=["aioquic", "qh3"])
def engine(request: pytest.FixtureRequest) -> str:
    """The QUIC engine of the connector."""
    if request.param == "qh3":
        pytest.importorskip("qh3", reason="the extra `fast` is not installed")
    return str(request.param)
