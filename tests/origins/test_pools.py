"""Files of authorities are read beside the event loop, and not without end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pyconnector.ingress import parse_ingress
from pyconnector.origins import OriginResources
from pyconnector.origins.base import OriginError
from pyconnector.origins.net import tls
from pyconnector.origins.pools import MAX_POOLS, Pools
from tests.support.identity.certificates import Authority


def rules(*services: str, **settings: Any) -> Any:
    listed = [{"hostname": f"h{n}", "service": service} for n, service in enumerate(services)]
    return parse_ingress({"ingress": [*listed, {"service": "http_status:404"}], "originRequest": settings}).rules


def test_pools_are_loaded_before_origins_ask_for_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = str(Authority(tmp_path).path)
    resources = OriginResources()
    Pools(rules("https://a", "unix+tls:/b", caPool=pool, http2Origin=True)).load(resources)
    monkeypatch.delattr(tls, "read_pool")
    for alpn in ((), ("h2", "http/1.1")):
        assert resources.tls.client(ca_pool=pool, alpn=alpn).get_ca_certs()


def test_only_what_speaks_tls_needs_a_pool() -> None:
    assert not Pools(rules("http://a", "unix:/b", "tcp://c:1", caPool="/none"))
    assert not Pools(rules("https://a"))
    assert Pools(rules("wss://a", caPool="/none"))


def test_a_pool_that_cannot_be_used_is_told_by_the_origin_that_asks(caplog: pytest.LogCaptureFixture) -> None:
    resources = OriginResources()
    Pools(rules("https://a", caPool="/none")).load(resources)
    with pytest.raises(OriginError, match="caPool /none cannot be used"):
        resources.tls.client(ca_pool="/none")
    assert [record.getMessage() for record in caplog.records] == ["caPool /none: No such file or directory"], "once"


def test_the_number_of_pools_is_bounded() -> None:
    def named(count: int) -> Any:
        entry = {"service": "https://a"}
        listed = [{**entry, "hostname": f"h{n}", "originRequest": {"caPool": f"/{n}"}} for n in range(count)]
        return parse_ingress({"ingress": [*listed, entry]}).rules

    assert Pools(named(MAX_POOLS))
    with pytest.raises(OriginError, match="more than 64 different files"):
        Pools(named(MAX_POOLS + 1))
