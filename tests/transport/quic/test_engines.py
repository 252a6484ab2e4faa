"""Which engine is taken, and what a user hears where it cannot be."""

from __future__ import annotations

import pytest

from pyconnector.transport.errors import ConnectFailed
from pyconnector.transport.quic import connect, engine_name, engines
from pyconnector.transport.settings import ClientTls, QuicSettings


def test_auto_takes_the_fast_engine_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "_is_installed", lambda name: True)
    assert engine_name("auto") == "qh3"
    monkeypatch.setattr(engines, "_is_installed", lambda name: name == "aioquic")
    assert engine_name("auto") == "aioquic"


async def test_an_engine_that_is_missing_or_unknown_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "_is_installed", lambda name: name == "aioquic")
    assert engine_name("aioquic") == "aioquic"
    with pytest.raises(ConnectFailed, match="qh3 is not installed"):
        engine_name("qh3")
    with pytest.raises(ConnectFailed, match="unknown QUIC engine 'quiche'"):
        await connect(("127.0.0.1", 9), tls=ClientTls(), settings=QuicSettings(engine="quiche"))
