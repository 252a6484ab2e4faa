"""What the control plane is told of requests is bounded, and comes again where it was not taken."""

from __future__ import annotations

import pytest

from pyconnector.edge.audit import reported as module
from pyconnector.edge.audit.jobs import LogpushJobs
from pyconnector.edge.audit.reported import MAX_LOGINS, MAX_RECORDS, Reported


def test_the_last_records_are_told_once() -> None:
    told = Reported(lambda: 5.0, LogpushJobs())
    for number in range(MAX_RECORDS + 7):
        told.record({"n": number})
    assert [record["n"] for record in told.take()["records"]] == list(range(7, MAX_RECORDS + 7))
    assert told.take() == {"records": [], "decisions": [], "logpush": {}}


def test_what_was_not_taken_comes_again_behind_nothing_newer() -> None:
    now = 0.0
    told = Reported(lambda: now, LogpushJobs())
    told.record({"n": 1})
    told.login({"Allowed": True, "AppUUID": "x" * 1000, "ActorType": "service_token"})
    now = 3.0
    taken = told.take()
    assert taken["decisions"][0]["age"] == 3.0
    assert len(taken["decisions"][0]["app_uid"]) == module.MAX_TEXT
    for number in range(2, MAX_RECORDS + 1):
        told.record({"n": number})
    for _ in range(MAX_LOGINS):
        told.login({"Allowed": False})
    now = 4.0
    told.give_back(taken)
    again = told.take()
    assert [record["n"] for record in again["records"]] == list(range(1, MAX_RECORDS + 1))
    assert len(again["decisions"]) == MAX_LOGINS
    told.give_back(taken)
    assert told.take()["decisions"][0]["age"] == 3.0


def test_an_identity_is_told_of_once_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_KNOWN", 2)
    now = 0.0
    told = Reported(lambda: now, LogpushJobs())
    assert told.is_login("app", "a", "ip", allowed=True)
    assert not told.is_login("app", "a", "ip", allowed=True)
    assert told.is_login("app", "a", "ip", allowed=False)
    assert told.is_login("other", "a", "ip", allowed=True)
    now = module.TOLD_AGAIN
    assert told.is_login("app", "a", "ip", allowed=True)
    assert told.is_login("app", "b", "ip", allowed=True)
    assert told.is_login("other", "a", "ip", allowed=True)  # it was the oldest of too many


def test_a_job_that_cannot_be_done_here_is_told() -> None:
    jobs = LogpushJobs()
    jobs.put("1", {"enabled": True, "dataset": "audit_records", "destination_conf": "https://logs.test/"})
    assert "--audit-dir" in jobs.status()["1"]["error_message"]
    jobs.put("1", {"enabled": True, "dataset": "of a later version", "destination_conf": "https://logs.test/"})
    assert "no data set" in jobs.status()["1"]["error_message"]
    jobs.put("1", {"enabled": False})
    assert jobs.status() == {}
