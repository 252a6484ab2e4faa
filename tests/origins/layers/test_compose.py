"""Layers around an origin: their order, those that a rule's keys ask for, and a demand that nothing meets."""

from __future__ import annotations

from typing import Any

import pytest

from pyconnector.ingress import Rule, parse_ingress
from pyconnector.origins.base import Origin, OriginRequest, RequestKind
from pyconnector.origins.builtin.status import StatusOrigin
from pyconnector.origins.layers.base import Gate, LayeredOrigin
from pyconnector.origins.layers.compose import access_gates, compose, origin_of
from pyconnector.origins.layers.failover import FailoverOrigin
from pyconnector.origins.layers.rewriting import RewritingOrigin
from tests.support.wire.bodies import Body

ACCESS: dict[str, Any] = {"access": {"required": True, "teamName": "example", "audTag": ["a"]}}


def rule_of(service: str = "http_status:204", **settings: Any) -> Rule:
    return parse_ingress({"originRequest": settings, "ingress": [{"service": service}]}).rules[0]


class Open(Gate):
    enforces = frozenset({"access"})

    async def admit(self, request: OriginRequest) -> None:
        request.headers.append((b"Passed", type(self).__name__.encode()))


class Other(Open):
    enforces = frozenset[str]()


class Plain(LayeredOrigin):
    pass


async def test_the_first_of_the_list_is_the_outermost() -> None:
    inner = StatusOrigin(204)
    composed = compose(inner, rule_of(), (Plain, Open, Other))
    assert isinstance(composed.origin, Plain)
    assert [type(gate) for gate in composed.access] == [Open]
    assert composed.access[0] is composed.origin.inner
    request = OriginRequest(kind=RequestKind.HTTP, method="GET", target="/", host="a.test", headers=[])
    await composed.origin.serve(request, Body())
    assert [value for _, value in request.headers] == [b"Open", b"Other"]


def test_layers_that_a_rule_does_not_need_leave_no_trace() -> None:
    inner = StatusOrigin(204)
    assert compose(inner, rule_of(), (lambda origin, rule: origin,)).origin is inner


def test_keys_ask_for_layers_and_rewriting_stands_before_failover() -> None:
    rewriting = origin_of(rule_of("http://127.0.0.1:1", addPathPrefix="/x", retryFor="1s"))
    assert isinstance(rewriting, RewritingOrigin)
    assert isinstance(rewriting.inner, FailoverOrigin)
    assert not isinstance(origin_of(rule_of("tcp://127.0.0.1:1", addPathPrefix="/x")), LayeredOrigin)


@pytest.mark.parametrize("layers", [(), (Plain, Other)])
def test_access_that_no_layer_enforces_is_an_error(layers: tuple[Any, ...]) -> None:
    with pytest.raises(ValueError, match="nothing here can verify it"):
        compose(StatusOrigin(204), rule_of(**ACCESS), layers)
    with pytest.raises(ValueError, match="nothing here can verify it"):
        access_gates(rule_of(**ACCESS), layers)


def test_what_is_no_origin_is_an_error() -> None:
    def nothing(origin: Origin, rule: Rule) -> Any:
        return None

    with pytest.raises(ValueError, match="a layer returned NoneType in place of an Origin"):
        compose(StatusOrigin(204), rule_of(), (nothing,))


def test_gates_are_had_without_the_service_where_access_is_required() -> None:
    (gate,) = access_gates(rule_of(**ACCESS), (Open,))
    assert isinstance(gate, Open)
    assert access_gates(rule_of(), (Open,)) == ()
