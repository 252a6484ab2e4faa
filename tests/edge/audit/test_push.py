"""Records that go elsewhere: in order, in batches, each at least once, whatever the receiver does meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from pyconnector.edge.audit.files import AuditError, log_files, read_log
from pyconnector.edge.audit.log import AuditLog, AuditSettings
from pyconnector.edge.audit.push import pusher as pusher_module
from pyconnector.edge.audit.push import pushers as pushers_module
from pyconnector.edge.audit.push.cursor import Cursor
from pyconnector.edge.audit.retention import Retention
from pyconnector.logpush.destinations import parse_destination
from pyconnector.logpush.jobs import Job, parse_job
from pyconnector.logpush.senders.base import SenderMissing
from tests.edge.audit.receiver import running_receiver


def row(number: int) -> dict[str, Any]:
    return {
        "Datetime": f"2027-01-15T08:00:00.{number % 1000:03}Z", "RayID": f"ray-{number}", "Protocol": "HTTP",
        "HTTPHost": "a.test", "URL": "/x", "HTTPStatusCode": 200, "Action": "allow", "Reason": "no_application",
        "ActorType": "anonymous", "SourceIP": "192.0.2.1", "n": number,
    }  # fmt: skip


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pusher_module, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(pusher_module, "LAST_PAUSE", 0.02)


def job_to(url: str, **options: Any) -> Job:
    return Job(id="job", destination=parse_destination(url), **{"seconds": 0.01, **options})


@contextlib.asynccontextmanager
async def open_log(directory: Path, *jobs: Job, **options: Any) -> AsyncIterator[AuditLog]:
    log = AuditLog(AuditSettings(directory=directory, **options))
    await log.start()
    for job in jobs:
        log.pushers.put(job)
    try:
        async with asyncio.timeout(20):
            yield log
    finally:
        await log.close()


async def until(condition: Any) -> None:
    while not condition():
        await asyncio.sleep(0.005)


async def test_batches_arrive_whole_and_in_order(tmp_path: Path) -> None:
    async with running_receiver() as receiver:
        async with open_log(tmp_path, job_to(receiver.url + "?header_X-Key=secret", records=100)) as log:
            for number in range(1000):
                log.put(row(number))
            await until(lambda: len(receiver.records) == 1000)
    assert [record["n"] for record in receiver.records] == list(range(1000))
    headers = receiver.requests[0].headers
    assert (headers["content-encoding"], headers["x-key"]) == ("gzip", "secret")
    assert headers["content-type"] == "application/x-ndjson"
    assert len(receiver.requests) >= 10
    chains = [link.chain for _, link in read_log(log_files(tmp_path)) if "n" in link.record]
    assert [record["Chain"] for record in receiver.records] == chains


async def test_nothing_is_lost_while_the_receiver_is_away(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with running_receiver() as receiver:
        receiver.answer = 503
        async with open_log(tmp_path, job_to(receiver.url, records=50), file_size=10_000, keep=1) as log:
            for number in range(300):
                log.put(row(number))
                if not number % 60:
                    await until(lambda: "waiting=0" in repr(log))
            await until(lambda: len(receiver.requests) > 3)
            assert len(log_files(tmp_path)) > 2  # more than are to be kept: they wait
            (status,) = log.pushers.status().values()
            assert "503" in status["error_message"]
            told = log.describe()
            assert (told["lost"], told["refusing"]) == (0, False)
            await until(lambda: log.describe()["records"] == 300)
            assert isinstance(told["push"], list)
            assert told["push"][0]["destination"] == receiver.url
            assert not log.refuses
            receiver.answer = 200
            await until(lambda: len(receiver.records) >= 300)
            await until(lambda: len(log_files(tmp_path)) == 1)
            await until(lambda: not next(iter(log.pushers.status().values()))["error_message"])
    assert [record["n"] for record in receiver.records] == list(range(300))
    # Said once, however often it was tried.
    assert len([record for record in caplog.records if "wait on disk" in record.getMessage()]) == 1


async def test_a_restart_goes_on_where_it_was(tmp_path: Path) -> None:
    async with running_receiver() as receiver:
        for part in range(3):
            receiver.answer = 200 if part != 1 else 500
            async with open_log(tmp_path, job_to(receiver.url)) as log:
                for number in range(10):
                    log.put(row(part * 10 + number))
        await until(lambda: len(receiver.records) == 30)
    assert [record["n"] for record in receiver.records] == list(range(30))


async def test_a_new_destination_gets_what_comes_from_then_on(tmp_path: Path) -> None:
    async with running_receiver() as receiver:
        async with open_log(tmp_path) as log:
            log.put(row(1))
        async with open_log(tmp_path, push=(receiver.url,)) as log:
            log.put(row(2))
            await until(lambda: log.end > Cursor(0, 0))
    # Once more as it stops, without waiting for others to come together.
    assert [record["n"] for record in receiver.records] == [2]


async def test_a_stop_does_not_wait_for_a_receiver_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pushers_module, "LAST_SECONDS", 0.1)
    async with running_receiver() as receiver:
        receiver.hold = asyncio.Event()
        async with open_log(tmp_path, job_to(receiver.url)) as log:
            log.put(row(1))
            await until(lambda: receiver.requests)
        receiver.hold.set()


async def test_batches_shrink_where_they_are_too_large(tmp_path: Path) -> None:
    async with running_receiver() as receiver:
        receiver.limit = 4
        async with open_log(tmp_path, job_to(receiver.url, records=64)) as log:
            for number in range(100):
                log.put(row(number))
            await until(lambda: len(receiver.records) == 100)
    assert [record["n"] for record in receiver.records] == list(range(100))


@pytest.mark.parametrize("refuse", [True, False])
async def test_a_full_spool_refuses_or_drops_and_says_so(
    tmp_path: Path, refuse: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_receiver() as receiver:
        receiver.answer = 503
        options = {"file_size": 2_000, "keep": 1, "spool_limit": 10_000, "refuse_when_full": refuse}
        async with open_log(tmp_path, job_to(receiver.url), **options) as log:
            for number in range(100):
                log.put(row(number))
                if not number % 5:
                    await until(lambda: "waiting=0" in repr(log))
            assert log.refuses is refuse
            size = sum(path.stat().st_size for path in log_files(tmp_path))
            if not refuse:
                assert size < 20_000
            else:
                # Whoever is refused now is counted and not written: nobody can fill the disk by asking.
                await until(lambda: log.waiting == 0)
                for _ in range(50):
                    log.put(row(-1), unserved=True)
                assert (log.waiting, log.lost) == (0, 50)
            receiver.answer = 200
            await until(lambda: any(record.get("n") == 99 for record in receiver.records))
            await until(lambda: not log.refuses)
            (status,) = log.pushers.status().values()
            log.put(row(100))
            await until(lambda: log.waiting == 0)
            assert log.lost == 0
    assert [link.record["AuditRecordsLost"] for _, link in read_log(log_files(tmp_path))
            if "AuditRecordsLost" in link.record] == [50] * refuse  # fmt: skip
    got = [record["n"] for record in receiver.records if "n" in record]
    if refuse:
        assert [number for number in got if number < 100] == list(range(100))
        assert "nobody is served" in caplog.text
        return
    lost = sum(record.get("AuditRecordsLost", 0) for record in receiver.records)
    assert lost == status["lost"] > 0
    # The batch under way when its file went may arrive beside being counted.
    assert len(set(got)) + lost >= 100
    assert "never reached" in caplog.text


async def test_jobs_of_the_control_plane_come_change_and_go(tmp_path: Path) -> None:
    async with running_receiver() as receiver, open_log(tmp_path) as log:
        value: dict[str, Any] = {
            "dataset": "gateway_http", "destination_conf": receiver.url, "max_upload_interval_seconds": 0.01,
            "filter": '{"where": {"key": "HTTPStatusCode", "operator": "eq", "value": 200}}',
            "output_options": {"field_names": ["RequestID", "Datetime"], "timestamp_format": "unix"},
        }  # fmt: skip
        log.pushers.put(parse_job("7", value))
        log.put(row(1))
        log.put({**row(2), "HTTPStatusCode": 404})
        # What was taken and not yet known to be taken would come again.
        await until(lambda: log.pushers.status()["7"]["sent"] == 1)
        assert receiver.records == [{"RequestID": "ray-1", "Datetime": 1_800_000_000}]
        value["output_options"] = {"field_names": ["URL"]}
        log.pushers.put(parse_job("7", value))
        log.put(row(3))
        await until(lambda: len(receiver.records) == 2)
        assert receiver.records[1] == {"URL": "/x"}
        await until(lambda: log.pushers.status()["7"]["sent"] == 1)
        log.pushers.drop("7")
        assert log.pushers.status() == {}
        await until(lambda: not list((tmp_path / ".push").glob("*.json")))
        # One that comes back begins with what comes then.
        log.put(row(4))
        await until(lambda: log.waiting == 0)
        log.pushers.put(parse_job("7", value | {"output_options": {"field_names": ["RequestID"]}}))
        log.put(row(5))
        await until(lambda: log.pushers.status()["7"]["sent"] == 1)
        assert receiver.records[2] == {"RequestID": "ray-5"}


async def test_a_missing_library_stops_the_start_or_fails_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(_: object) -> Any:
        raise SenderMissing("s3://x needs a package more (boto3): pip install 'pyconnector[s3]'")

    log = AuditLog(AuditSettings(directory=tmp_path, push=("s3://bucket/x?region=r",)))
    monkeypatch.setattr(log.pushers, "_make", missing)
    with pytest.raises(AuditError, match=r"pyconnector\[s3\]"):
        await log.start()
    await log.close()
    async with open_log(tmp_path) as running:
        monkeypatch.setattr(running.pushers, "_make", missing)
        running.pushers.put(job_to("s3://bucket/x?region=r"))
        assert "boto3" in running.pushers.status()["job"]["error_message"]


def test_files_that_a_pusher_needs_stay(tmp_path: Path) -> None:
    for number in range(1, 6):
        (tmp_path / f"audit-{number:06d}.jsonl").write_bytes(b"head\n" + b"line\n" * 10)
    retention = Retention(keep=2, limit=1000)
    retention.cursors["a"] = Cursor(3, 20)
    retention.prune(tmp_path)
    assert [path.name for path in log_files(tmp_path)] == [f"audit-{n:06d}.jsonl" for n in (3, 4, 5)]
    tight = Retention(keep=1, limit=60)
    tight.cursors["a"] = Cursor(3, 20)
    tight.prune(tmp_path)
    # One whole file waits; of the one before it seven lines were not read.
    assert [path.name for path in log_files(tmp_path)] == ["audit-000004.jsonl", "audit-000005.jsonl"]
    assert (tight.take_lost("a"), tight.take_lost("a")) == (7, 0)
    refusing = Retention(keep=1, limit=10, drop=False)
    refusing.cursors["a"] = Cursor(4, 0)
    refusing.prune(tmp_path)
    assert refusing.full
    refusing.cursors["a"] = Cursor(5, 0)
    refusing.prune(tmp_path)
    assert not refusing.full


async def test_a_file_that_is_no_longer_needed_while_others_are_looked_at_goes_too(tmp_path: Path) -> None:
    async with open_log(tmp_path, keep=1) as log:
        held, prune, calls = threading.Event(), log.retention.prune, 0

        def slow(directory: Path) -> None:
            nonlocal calls
            calls += 1
            prune(directory)
            if calls == 1:
                held.wait(10)

        log.retention.prune = slow  # type: ignore[method-assign]
        log.prune_soon()
        await until(lambda: calls)
        log.prune_soon()
        held.set()
        await until(lambda: calls == 2)
