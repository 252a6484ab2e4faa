"""Logpush jobs: made by the API, done by every edge; and the login log that edges report."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import asyncpg
import pytest

from pyconnector.control.store.logs import access_requests
from pyconnector.edge import EdgeSettings, LocalEdge
from pyconnector.edge.audit.log import AuditSettings
from pyconnector.edge.audit.push import pusher
from tests.control.edges.test_edges import following, until
from tests.control.support import Mesh, NewMesh, open_mesh
from tests.control.test_quick import report
from tests.edge.audit.receiver import running_receiver
from tests.support.peers.raw_visitor import RawVisitor, get
from tests.support.services.storage import BUCKET, running_storage

HOST = "app.example.com"


def recording(mesh: Mesh, directory: Path) -> EdgeSettings:
    return replace(following(mesh), audit=AuditSettings(directory=directory))


async def visited(edge: LocalEdge, path: str) -> None:
    async with RawVisitor(edge.visitor_address) as visitor:
        await visitor.request(get(path, HOST))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pusher, "FIRST_PAUSE", 0.02)


async def test_every_edge_does_a_job_until_it_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyconnector.logpush.jobs.BATCH_SECONDS", 0.02)

    async with (
        open_mesh(tmp_path / "data") as mesh, running_receiver() as receiver,
        LocalEdge(recording(mesh, tmp_path / "one")) as one, LocalEdge(recording(mesh, tmp_path / "two")) as two,
        LocalEdge(following(mesh)),
    ):  # fmt: skip
        jobs = f"{mesh.account}/logpush/jobs"
        conf = f"{receiver.url}?header_Authorization=secret-key"
        job = await mesh.call("POST", jobs, json={
            "destination_conf": conf, "dataset": "gateway_http", "enabled": True, "name": "all",
            "output_options": {"field_names": ["URL", "HTTPStatusCode"]},
            "filter": '{"where": {"key": "URL", "operator": "!eq", "value": "/not"}}',
        })  # fmt: skip
        assert receiver.requests[0].headers["authorization"] == "secret-key"
        assert receiver.records.pop() == {"content": "test"}

        def at_work() -> bool:
            return all(str(job["id"]) in edge.audit.pushers.status() for edge in (one, two) if edge.audit)

        await until(at_work, "the job at both edges")
        for number, edge in enumerate((one, two)):
            await visited(edge, f"/{number}?q=secret-query")
            await visited(edge, "/not")
        await until(lambda: len(receiver.records) == 2, "the records of both edges")
        assert sorted(record["URL"] for record in receiver.records) == ["/0", "/1"]

        told: dict[str, Any] = {}

        async def complete() -> bool:
            told.update(await mesh.call("GET", f"{jobs}/{job['id']}"))
            return bool(told["last_complete"] and told["error_message"] and told["records_sent"] == 2)

        await until_async(complete)
        assert "no audit log" in told["error_message"]
        listed = (await mesh.client.get(jobs)).text
        assert "secret-key" not in listed
        assert "REDACTED" in listed
        changes = await mesh.client.get(
            f"{mesh.account}/logs/audit", params={"since": "2020-01-01", "before": "2100-01-01"}
        )
        assert "secret-key" not in changes.text
        # What is shown may be sent back: the secret stays.
        receiver.records.clear()
        await mesh.call("PUT", f"{jobs}/{job['id']}", json={
            "destination_conf": told["destination_conf"], "filter": "", "output_options": {"field_names": ["URL"]},
        })  # fmt: skip

        async def changed() -> bool:
            await visited(one, "/not")
            return any(record == {"URL": "/not"} for record in receiver.records)

        await until_async(changed)
        assert receiver.requests[-1].headers["authorization"] == "secret-key"
        await mesh.call("DELETE", f"{jobs}/{job['id']}")
        await until(lambda: not at_work(), "its end")
        assert await mesh.call("GET", jobs) == []


async def until_async(condition: Callable[[], Any]) -> None:
    import asyncio

    async with asyncio.timeout(20):
        while not await condition():
            await asyncio.sleep(0.02)


async def test_records_become_rows_each_once(tmp_path: Path, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if not database:
        pytest.skip("needs PostgreSQL")
    monkeypatch.setattr("pyconnector.logpush.jobs.BATCH_SECONDS", 0.02)

    async with open_mesh(tmp_path / "data") as mesh, LocalEdge(recording(mesh, tmp_path / "one")) as edge:
        jobs = f"{mesh.account}/logpush/jobs"
        job = await mesh.call("POST", jobs, json={"destination_conf": database, "enabled": True})
        assert edge.audit is not None
        audit = edge.audit
        await until(lambda: str(job["id"]) in audit.pushers.status(), "the job")
        await visited(edge, "/a%00b")
        session = await asyncpg.connect(database)
        try:

            async def there() -> bool:
                return bool(await session.fetchval("SELECT count(*) FROM audit_records"))

            await until_async(there)
            row = await session.fetchrow("SELECT * FROM audit_records")
            assert row is not None
            assert (row["host"], row["path"], row["actor"]) == (HOST, "/a%00b", "anonymous")
            assert json.loads(row["record"])["Chain"] == row["chain"]
            # The same again, as after a crash: it is there once.
            (running,) = audit.pushers._pushers.values()
            audit.retention.cursors[running.job.id] = replace(audit.end, offset=0)
            running.hurry()
            running.note(1)
            await until(lambda: running.status.sent >= 2, "the batch again")
            assert await session.fetchval("SELECT count(*) FROM audit_records") == 1
        finally:
            await session.close()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
async def test_a_bucket_of_the_edges_own_needs_proof(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "I")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "S")

    with running_storage() as (storage, url):
        async with open_mesh(tmp_path / "data") as mesh:
            conf = f"s3://{BUCKET}/logs?region=us-east-1&endpoint={quote(url, safe='')}"
            jobs, ownership = f"{mesh.account}/logpush/jobs", f"{mesh.account}/logpush/ownership"
            body = {"destination_conf": conf, "dataset": "gateway_http"}
            error = await mesh.refused(400, "POST", jobs, json=body)
            assert "ownership_challenge" in error["message"]
            made = await mesh.call("POST", ownership, json={"destination_conf": conf})
            text = storage.get_object(Bucket=BUCKET, Key=f"logs/{made['filename']}")["Body"].read().decode()
            proof = {"destination_conf": conf, "ownership_challenge": text}
            assert (await mesh.call("POST", f"{ownership}/validate", json=proof))["valid"]
            other = proof | {"destination_conf": conf.replace("/logs", "/other")}
            assert not (await mesh.call("POST", f"{ownership}/validate", json=other))["valid"]
            await mesh.refused(400, "POST", jobs, json=body | {"ownership_challenge": "guessed"})
            await mesh.call("POST", jobs, json=body | proof)
            validate = f"{mesh.account}/logpush/validate/destination"
            assert (await mesh.call("POST", f"{validate}/exists", json={"destination_conf": conf}))["exists"]
            wrong = {"destination_conf": conf.replace(BUCKET, "nobodys-bucket")}
            assert "NoSuchBucket" in (await mesh.call("POST", validate, json=wrong))["message"]


async def test_jobs_that_make_no_sense_are_refused(mesh: Mesh) -> None:
    async with running_receiver() as receiver:
        jobs = f"{mesh.account}/logpush/jobs"
        good = {"destination_conf": receiver.url, "dataset": "gateway_http"}
        for wrong, told in (
            ({"destination_conf": "ftp://x"}, "no known destination"),
            ({"destination_conf": "http://127.0.0.1:9/"}, "cannot be reached"),
            ({"dataset": "dns_logs"}, "no data set"),
            ({"filter": "x"}, "no JSON"),
            ({"output_options": {"field_names": ["x"]}}, "'x'"),
            ({"max_upload_records": 5}, "max_upload_records"),
            ({"filter_attack_traffic": True}, "filter_attack_traffic"),
            ({"nmae": "x"}, "nmae"),
        ):
            error = await mesh.refused(400, "POST", jobs, json={**good, **wrong})
            assert told in error["message"], error
        reader = await mesh.call("POST", "/user/tokens", json={"name": "r", "scopes": ["access:edit"]})
        headers = {"Authorization": f"Bearer {reader['value']}"}
        await mesh.refused(403, "POST", jobs, json=good, headers=headers)
        await mesh.refused(403, "GET", jobs, headers=headers)
        await mesh.refused(404, "GET", f"{mesh.account}/logpush/datasets/dns_logs/fields")
        await mesh.refused(404, "GET", f"{jobs}/77")
        await mesh.refused(400, "GET", f"{jobs}/{2**70}")


def login(number: int, **fields: Any) -> dict[str, Any]:
    return {
        "age": float(number), "allowed": True, "app_uid": "a", "app_domain": HOST, "app_name": "tool",
        "ip_address": "192.0.2.1", "ray_id": f"r{number}", "user_email": "", "user_id": "", "service_token_id": "x",
        "service_token_name": "agent", "reason": "policy_matched", "connection": "service_token", **fields,
    }  # fmt: skip


async def test_the_login_log_is_filtered_paged_and_bounded(new_mesh: NewMesh, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_requests, "MAX_ROWS", 6)
    monkeypatch.setattr(access_requests, "SLACK", 2)

    async with new_mesh() as mesh:
        path = f"{mesh.account}/access/logs/access_requests"

        async def rays(**query: str) -> list[str]:
            return [row["ray_id"] for row in await mesh.call("GET", path, params=query)]

        async with mesh.edge() as edge:
            logins = [login(0), login(1, allowed=False, reason="no_policy_matched"), login(2, user_email="a@x.test")]
            assert (await edge.post("/report", json=report(decisions=logins))).status_code == 200
            assert await rays() == ["r0", "r1", "r2"]
            assert await rays(direction="asc", limit="2") == ["r2", "r1"]
            assert await rays(page="2", per_page="2") == ["r2"]
            assert await rays(allowed="false") == ["r1"]
            assert await rays(allowed="false", allowedOp="neq") == ["r0", "r2"]
            assert await rays(email="@x.test") == ["r2"]
            assert await rays(email="@x.test", emailOp="eq") == []
            assert await rays(email="@x.test", emailOp="neq") == ["r0", "r1"]
            assert await rays(ray_id="r1", ray_idOp="neq") == ["r0", "r2"]
            assert await rays(since="2100-01-01") == []
            rows = await mesh.call("GET", path, params={"fields": "ray_id,reason", "ray_id": "r1"})
            assert rows == [{"ray_id": "r1", "reason": "no_policy_matched"}]
            for wrong in ({"country_code": "DE"}, {"direction": "up"}, {"since": "x"}, {"allowed": "maybe"}):
                await mesh.refused(400, "GET", path, params=wrong)
            await edge.post("/report", json=report(decisions=[login(0, ray_id=f"n{number}") for number in range(6)]))
            assert len(await rays()) == 6
            assert all(ray.startswith("n") for ray in await rays())


async def test_logins_of_an_edge_are_reported(tmp_path: Path) -> None:
    async with open_mesh(tmp_path / "data") as mesh, LocalEdge(recording(mesh, tmp_path / "one")) as edge:
        access = f"{mesh.account}/access"
        token = await mesh.call("POST", f"{access}/service_tokens", json={"name": "agent"})
        rules: list[dict[str, Any]] = [{"any_valid_service_token": {}}]
        body: dict[str, Any] = {"name": "p", "decision": "non_identity", "include": rules}
        policy = await mesh.call("POST", f"{access}/policies", json=body)
        body = {"name": "tool", "type": "self_hosted", "domain": HOST, "policies": [policy["id"]]}
        await mesh.call("POST", f"{access}/apps", json=body)
        await until(lambda: len(edge.gate.state.applications) == 1, "the application at the edge")
        shown = (f"CF-Access-Client-Id: {token['client_id']}", f"CF-Access-Client-Secret: {token['client_secret']}")
        async with RawVisitor(edge.visitor_address) as visitor:
            for _ in range(3):
                await visitor.request(get("/", HOST, *shown))
            await visitor.request(get("/", HOST))
        rows: list[dict[str, Any]] = []

        async def told() -> bool:
            rows[:] = await mesh.call("GET", f"{access}/logs/access_requests")
            return len(rows) >= 2

        await until_async(told)
        # Three requests of one identity are one login.
        assert sorted((row["allowed"], row["service_token_name"], row["reason"]) for row in rows) == [
            (False, "", "no_credentials"), (True, "agent", "policy_matched"),
        ]  # fmt: skip
