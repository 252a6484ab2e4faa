"""Layers around origins, and guards of rules that a request may be taken for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pyconnector.connector.active.routes import Route
from pyconnector.connector.requests.guards import LocalAccess
from pyconnector.ingress import parse_ingress
from pyconnector.origins.layers.base import Gate, Layer, Rejection
from pyconnector.origins.layers.compose import compose
from tests.connector.fakes import FakeOrigin, PathUnderTest, opening

if TYPE_CHECKING:
    from pyconnector.ingress import Rule
    from pyconnector.origins.base import Origin, OriginRequest
from tests.connector.requests.support import aborted

pytestmark = pytest.mark.usefixtures("virtual_time")


def gate(rejection: Rejection | None, seen: list[str], *, enforces: str = "access") -> Layer:
    """A layer that notes whose requests it is asked about, and refuses them if told so."""

    class Noting(Gate):
        async def admit(self, request: OriginRequest) -> None:
            seen.append(request.host)
            if rejection is not None:
                raise rejection

    Noting.enforces = frozenset({enforces})
    return Noting


async def test_a_gate_that_refuses_answers_in_place_of_the_origin() -> None:
    origin = FakeOrigin()
    seen: list[str] = []
    refusal = Rejection(status=403, reason="no token", headers=[(b"X", b"y")], body=b"no")
    under = PathUnderTest(origin, layers=(gate(refusal, seen),))
    found = await under.ask()
    assert (found.status, found.body, found.metadata[b"HttpHeader:X"]) == (403, b"no", b"y")
    assert origin.requests == []
    assert seen == ["app.example"]
    assert under.counters.request_errors == 1
    assert under.counters.responses == {}


async def test_the_first_layer_is_the_outermost() -> None:
    first: list[str] = []
    second: list[str] = []
    refusing = gate(Rejection(status=403, reason="no"), second)
    assert (await PathUnderTest(layers=(gate(None, first), gate(None, second))).ask()).body == b"hello"
    assert (len(first), len(second)) == (1, 1)
    assert (await PathUnderTest(layers=(refusing, gate(None, first))).ask()).status == 403
    assert (len(first), len(second)) == (1, 2)


async def test_a_gate_that_fails_refuses() -> None:
    class Broken(Gate):
        async def admit(self, request: OriginRequest) -> None:
            raise RuntimeError("the key endpoint is down")

    origin = FakeOrigin()
    under = PathUnderTest(origin, layers=(Broken,))
    stream = await under.open(opening())
    assert await aborted(stream)
    assert origin.requests == []


async def test_the_rule_that_a_path_may_be_taken_for_has_a_say(caplog: pytest.LogCaptureFixture) -> None:
    refusal = Rejection(status=403, reason="access refused: no token")
    asked: list[str] = []
    others: list[str] = []

    under = PathUnderTest()
    access = {"access": {"required": True, "teamName": "example", "audTag": ["a"]}}
    rules = parse_ingress(
        {
            "ingress": [
                {
                    "hostname": "app.example",
                    "path": "^/admin",
                    "service": "http://localhost:1",
                    "originRequest": access,
                },
                {"service": "http://localhost:1"},
            ]
        }
    )
    inner = FakeOrigin()
    layers = (gate(refusal, others, enforces="colour"), gate(refusal, asked))
    guarded = compose(inner, rules.rules[0], layers)
    under.orchestrator.routes.ingress = rules
    under.orchestrator.routes.routes = (
        Route(rules.rules[0], guarded.origin, guarded.access),
        Route(rules.rules[1], under.origin, index=1),
    )
    assert (await under.ask(dest="http://app.example//admin")).status == 403
    assert (asked, others) == (["app.example"], [])
    assert (await under.ask(dest="http://app.example/open")).status == 200
    assert (len(asked), inner.requests) == (1, [])
    assert "access refused: no token (the path may be taken for one of ingress[0])" in caplog.text


async def test_local_access_that_is_kept_has_a_say(caplog: pytest.LogCaptureFixture) -> None:
    locked = gate(Rejection(status=403, reason="access refused: no token"), [])

    access = {"access": {"required": True, "teamName": "example", "audTag": ["a"]}}
    rule = {"hostname": "app.example", "service": "http://localhost:2", "originRequest": access}
    local = parse_ingress({"ingress": [rule, {"service": "http_status:404"}]})
    under = PathUnderTest()
    under.orchestrator.routes.local_access = await LocalAccess.of(
        local, [lambda origin, rule: locked(origin, rule) if rule.settings.access else origin]
    )
    assert (await under.ask(host=b"APP.example:80")).status == 403
    assert (await under.ask(host=b"other.example")).status == 200
    assert "access refused: no token (demanded by ingress[0] of the local config)" in caplog.text


async def test_of_a_local_rule_for_somebody_the_access_is_kept_for_everybody() -> None:
    kept: list[tuple[str, ...]] = []

    access = {"access": {"required": True, "teamName": "example", "audTag": ["a"]}}
    rule = {"hostname": "app.example", "service": "http://localhost:2", "originRequest": access}
    local = parse_ingress({"ingress": [rule | {"identity": ["role:a"]}, {"service": "http_status:404"}]})
    locked = gate(Rejection(status=403, reason="access refused: no token"), [])

    def layer(origin: Origin, rule: Rule) -> Origin:
        kept.append(rule.identity)
        return locked(origin, rule)

    under = PathUnderTest()
    under.orchestrator.routes.local_access = await LocalAccess.of(local, [layer])
    assert (await under.ask(host=b"app.example")).status == 403
    assert (await under.ask(host=b"other.example")).status == 200
    assert kept == [()]


def test_a_rule_for_somebody_is_not_served_where_nobody_can_be_told_apart() -> None:
    access = {"access": {"required": True, "teamName": "example", "audTag": ["a"]}}
    rule = {"hostname": "a.test", "service": "http://localhost:2", "originRequest": access, "identity": ["role:a"]}
    rules = parse_ingress({"ingress": [rule, {"service": "http_status:404"}]}).rules
    with pytest.raises(ValueError, match="nothing here can say who asks"):
        compose(FakeOrigin(), rules[0], [gate(Rejection(status=403, reason=""), [])])
