"""The bench of Access and audit measures what it says, and loses no record."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import access
from pyconnector.edge.visitors.http1.request_parser import VisitorRequest
from pyconnector.edge.visitors.watch import Watch


async def test_each_kind_of_request_is_measured_and_none_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "TOKENS", 50)
    monkeypatch.setattr(access, "APPLICATIONS", 10)
    gate = access.known()
    on = Watch(gate)
    told = []
    for case in access.cases(gate):
        request = VisitorRequest(
            method="GET", target=b"/", host=case.host, headers=list(case.headers), body_length=0, websocket=False,
            keep_alive=True, expects_continue=False, version="1.1",
        )  # fmt: skip
        watched = on.request(request, "192.0.2.7", "ray")
        told.append(200 if watched.answer is None else watched.answer.status)
    assert told == [200, 200, 200, 401]
    rows = access.access_rows(gate, 20, 1)
    assert list(rows) == ["without Access", *(case.name for case in access.cases(gate))]
    audit = await access.audit_rows(gate, tmp_path, 3000)
    assert (audit["lost"], audit["told as lost"]) == (0, 0)
    assert audit["records per s"] > 0
