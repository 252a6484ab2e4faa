"""Network rules of the control plane: their order, what they may say, and what edges are told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pyconnector.control.store.access import network_rules
from pyconnector.edge.access.state import AccessState
from pyconnector.edge.directory.directory import Directory
from tests.control.support import snapshot

if TYPE_CHECKING:
    from tests.control.support import Mesh

DATABASES = {"name": "databases", "action": "allow", "networks": ["10.1.0.0/16"], "ports": [5432, "8000-8999"]}


async def test_rules_are_kept_in_their_order_and_told_to_edges(mesh: Mesh) -> None:
    path = f"{mesh.account}/network_rules"
    last = await mesh.call("POST", path, json=DATABASES)
    first = await mesh.call("POST", path, json={"action": "block", "ports": [22], "precedence": 5})
    off = await mesh.call("POST", path, json={"action": "allow", "enabled": False})
    assert [rule["id"] for rule in await mesh.call("GET", path)] == [first["id"], last["id"], off["id"]]
    assert {key: last[key] for key in DATABASES} == DATABASES
    async with mesh.edge() as edge:
        before = await snapshot(edge)
        assert rules_of(before) == [first["id"], last["id"]]
        changed = {**DATABASES, "networks": ["10.2.0.0/16"], "precedence": 1}
        await mesh.call("PUT", f"{path}/{last['id']}", json=changed)
        await mesh.call("DELETE", f"{path}/{first['id']}")
        assert rules_of(await snapshot(edge)) == [last["id"]]
        told = (await edge.get("/changes", params={"after": before["number"]})).json()["changes"]
    assert [(change["kind"], change["value"] is None) for change in told] == [
        ("network_rule", False),
        ("network_rule", True),
    ]
    assert (await mesh.call("GET", f"{path}/{last['id']}"))["networks"] == ["10.2.0.0/16"]
    log = await mesh.call("GET", f"{mesh.account}/logs/audit", params={"since": "2020-01-01", "before": "2100-01-01"})
    assert sum(entry["resource"]["type"] == "network_rule" for entry in log) == 5


def rules_of(told: dict[str, Any]) -> list[str]:
    """The ids of the rules that an edge asks after that snapshot, in their order."""
    state = AccessState()

    class Tunnels:
        def __getattr__(self, name: str) -> Any:
            return lambda *args: None

    Directory(Tunnels(), lambda tunnel: None, lambda: None, state).take_snapshot(told["number"], told["objects"])  # type: ignore[arg-type]
    return [rule.id for rule in state.network_rules]


async def test_rules_that_make_no_sense_are_refused(mesh: Mesh, monkeypatch: pytest.MonkeyPatch) -> None:
    path = f"{mesh.account}/network_rules"
    for body in (
        {},
        {"action": "maybe"},
        {"action": "allow", "network": ["10.0.0.0/8"]},
        {"action": "allow", "networks": []},
        {"action": "allow", "networks": ["10.0.0.1/8"]},
        {"action": "allow", "ports": ["x"]},
        {"action": "allow", "protocols": ["sctp"]},
        {"action": "allow", "precedence": -1},
    ):
        await mesh.refused(400, "POST", path, json=body)
    assert await mesh.call("GET", path) == []
    made = await mesh.call("POST", path, json=DATABASES)
    await mesh.refused(400, "PUT", f"{path}/{made['id']}", json={"action": "allow", "roles": []})
    assert (await mesh.call("GET", f"{path}/{made['id']}"))["ports"] == DATABASES["ports"]
    await mesh.refused(404, "GET", f"{path}/{made['id'][:-1]}0")
    monkeypatch.setattr(network_rules, "MAX_RULES", 1)
    assert "as many as there may be" in (await mesh.refused(400, "POST", path, json=DATABASES))["message"]
