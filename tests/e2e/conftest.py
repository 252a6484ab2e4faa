"""Fixtures of the end-to-end tests."""

from __future__ import annotations

import gc
import importlib.util
from collections.abc import Iterator

import pytest

#: How a connector reaches the edge: over QUIC with either engine, or over HTTP/2.
ENGINES = ("aioquic", "qh3", "http2")


@pytest.fixture(scope="session", autouse=True)
def _quick_collections() -> Iterator[None]:
    """Each of these tests collects garbage to prove that nothing is left; what all other tests imported need not be
    looked through every time."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run tests that have `engine` with each; those of a module with `QUIC_ONLY`, which speak QUIC themselves, but for
    HTTP/2."""
    if "engine" not in metafunc.fixturenames:
        return
    without = pytest.mark.skipif(importlib.util.find_spec("qh3") is None, reason="the extra `fast` is not installed")
    metafunc.parametrize(
        "engine",
        [
            pytest.param(name, marks=without if name == "qh3" else ())
            for name in ENGINES
            if name != "http2" or not getattr(metafunc.module, "QUIC_ONLY", False)
        ],
    )
