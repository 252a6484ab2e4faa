"""The story of people in docs/access-edge.md: `mesh up`, a provider and a policy by API, a login by PIN, its end."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import httpx

from tests.e2e.test_mesh import Api, connector, mesh_up, until
from tests.support.identity.agents import telling_origin
from tests.support.identity.people import Browser

ZONE = "mesh.localhost"
TOOL, PAGE = f"tool.{ZONE}", f"access.{ZONE}"
ANN = "ann@example.com"


async def test_a_person_logs_in_to_a_mesh_and_is_logged_out_of_it(tmp_path: Path) -> None:
    pins = tmp_path / "pins"

    options = ("--zone", ZONE, "--login-pins", f"file:{pins}")
    async with telling_origin() as origin, mesh_up(tmp_path / "data", *options) as (mesh, told):
        api = Api(told)
        access = f"{api.account}/access"
        tunnel = await api("POST", f"{api.account}/cfd_tunnel", {"name": "story"})
        await api("PUT", f"{api.zone}/tunnels/{tunnel['id']}/routes", {"type": "dns", "user_hostname": TOOL})
        await api("POST", f"{access}/identity_providers", {"name": "PIN", "type": "onetimepin", "config": {}})
        body: dict[str, Any] = {"name": "staff", "decision": "allow"}
        policy = await api("POST", f"{access}/policies", body | {"include": [{"email": {"email": ANN}}]})
        body = {"name": "tool", "type": "self_hosted", "domain": TOOL, "policies": [policy["id"]]}
        await api("POST", f"{access}/apps", body)
        name, _, port = told["visitors"].rpartition(":")
        async with (
            connector(told, tunnel["token"], tmp_path, [{"service": origin}]) as running,
            Browser((name, int(port)), secure=False) as browser,
        ):

            async def guarded() -> bool:
                return (await browser.open(browser.url(TOOL))).status_code == 302

            await until(guarded, "the application at the edge")

            async def connected() -> bool:
                found = await api("GET", f"{api.account}/cfd_tunnel?is_deleted=false&status=healthy")
                return len(found) == 1

            await until(connected, "the connector")
            page = await browser.follow(await browser.open(browser.url(TOOL, "/x")))
            page = await browser.submit(page, PAGE, email=ANN)
            pin = json.loads(pins.read_text())["pin"]
            served = await browser.follow(await browser.submit(page, PAGE, pin=pin))
            fields = {key.lower(): value for key, value in served.json()["headers"]}
            assert fields["cf-access-authenticated-user-email"] == ANN

            async def known() -> bool:
                return [person["email"] for person in await api("GET", f"{access}/users")] == [ANN]

            await until(known, "the login in the API")
            await api("POST", f"{access}/organizations/revoke_user", {"email": ANN})

            async def over() -> bool:
                try:
                    return (await browser.ask("GET", browser.url(TOOL))).status_code == 401
                except httpx.TransportError:
                    return False  # the end of the session cuts off what is under way

            await until(over, "the end of the session")
            running.send_signal(signal.SIGTERM)
            await running.code()
        await api.client.aclose()
        mesh.send_signal(signal.SIGTERM)
        assert await mesh.code() == 0, mesh.text
        assert pin not in mesh.text
    records = [
        json.loads(line) for file in (tmp_path / "data" / "audit").glob("*") for line in file.read_text().splitlines()
    ]
    by_ann = [record for record in records if record.get("ActorType") == "user" and record["Allowed"]]
    assert {record["Email"] for record in by_ann} == {ANN}
    assert pins.read_text() not in json.dumps(records)
