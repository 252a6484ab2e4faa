"""Tunnels by API: made, found, renamed, deleted."""

from __future__ import annotations

import base64
import datetime
import json
from typing import TYPE_CHECKING, Any

from pyconnector.protocol.tokens import decode_token

if TYPE_CHECKING:
    from tests.control.support import Mesh


async def test_a_new_tunnel_comes_with_its_token(mesh: Mesh) -> None:
    secret = base64.b64encode(bytes(range(32))).decode()
    made = await mesh.tunnel("Grüße 東京", tunnel_secret=secret)
    assert made["name"] == "Grüße 東京"
    assert made["status"] == "inactive"
    assert made["config_src"] == "local"
    assert made["connections"] == []
    token = decode_token(made["token"])
    assert (str(token.tunnel_id), token.secret) == (made["id"], bytes(range(32)))
    assert await mesh.call("GET", f"{mesh.account}/cfd_tunnel/{made['id']}/token") == made["token"]
    got = await mesh.call("GET", f"{mesh.account}/cfd_tunnel/{made['id']}")
    assert got == {name: value for name, value in made.items() if name != "token"}
    moment = datetime.datetime.fromisoformat(made["created_at"])
    assert moment.tzinfo is not None


async def test_a_name_is_taken_until_its_tunnel_is_deleted(mesh: Mesh) -> None:
    first = await mesh.tunnel("one")
    error = await mesh.refused(409, "POST", f"{mesh.account}/cfd_tunnel", json={"name": "one"})
    assert error["code"] == 1013
    await mesh.call("DELETE", f"{mesh.account}/cfd_tunnel/{first['id']}")
    second = await mesh.tunnel("one")
    assert second["id"] != first["id"]
    deleted = await mesh.call("GET", f"{mesh.account}/cfd_tunnel/{first['id']}")
    assert deleted["deleted_at"] is not None
    await mesh.refused(404, "DELETE", f"{mesh.account}/cfd_tunnel/{first['id']}")
    await mesh.refused(404, "GET", f"{mesh.account}/cfd_tunnel/{first['id']}/token")


async def test_every_filter_selects(mesh: Mesh) -> None:
    made = {name: await mesh.tunnel(name) for name in ("web-1", "web-2", "Web-3", "db_1", "db%1")}
    await mesh.call("DELETE", f"{mesh.account}/cfd_tunnel/{made['web-2']['id']}")
    after = datetime.datetime.now(datetime.UTC).isoformat()

    async def names(**query: str) -> set[str]:
        found = await mesh.call("GET", f"{mesh.account}/cfd_tunnel", params=query)
        return {tunnel["name"] for tunnel in found}

    assert await names() == set(made)
    assert await names(is_deleted="true") == {"web-2"}
    assert await names(is_deleted="false") == set(made) - {"web-2"}
    assert await names(name="db_1") == {"db_1"}
    assert await names(name_prefix="web") == {"web-1", "web-2"}
    assert await names(include_prefix="db%") == {"db%1"}
    assert await names(exclude_prefix="web-", is_deleted="false") == {"Web-3", "db_1", "db%1"}
    assert await names(uuid=made["web-1"]["id"].replace("-", "")) == {"web-1"}
    assert await names(existed_at=made["web-2"]["created_at"]) == {"web-1", "web-2"}
    assert await names(existed_at=after) == set(made) - {"web-2"}
    assert await names(status="inactive", is_deleted="false") == set(made) - {"web-2"}
    assert await names(status="healthy") == set()
    assert await names(status="down") == set()
    assert await names(was_active_at=after) == set()


async def test_a_page_behind_the_end_is_empty(mesh: Mesh) -> None:
    for number in range(5):
        await mesh.tunnel(f"t{number}")
    seen = []
    for page, count in ((1, 2), (2, 2), (3, 1), (4, 0)):
        query = {"page": page, "per_page": 2}
        response = await mesh.client.get(f"{mesh.account}/cfd_tunnel", params=query)
        info = response.json()["result_info"]
        assert info == {"count": count, "page": page, "per_page": 2, "total_count": 5, "total_pages": 3}
        seen += [tunnel["name"] for tunnel in response.json()["result"]]
    assert seen == ["t4", "t3", "t2", "t1", "t0"]
    for query in ({"per_page": 0}, {"per_page": 1001}, {"page": 0}, {"page": 10**20}):
        await mesh.refused(400, "GET", f"{mesh.account}/cfd_tunnel", params=query)


async def test_an_edit_changes_what_it_names(mesh: Mesh) -> None:
    made = await mesh.tunnel("before")
    await mesh.tunnel("other")
    path = f"{mesh.account}/cfd_tunnel/{made['id']}"
    assert (await mesh.call("PATCH", path, json={"name": "after"}))["name"] == "after"
    assert await mesh.call("GET", f"{path}/token") == made["token"]
    secret = base64.b64encode(b"x" * 40).decode()
    assert (await mesh.call("PATCH", path, json={"tunnel_secret": secret}))["name"] == "after"
    assert decode_token(await mesh.call("GET", f"{path}/token")).secret == b"x" * 40
    assert (await mesh.refused(409, "PATCH", path, json={"name": "other"}))["code"] == 1013


MALFORMED: list[Any] = [
    {},
    {"name": ""},
    {"name": "   "},
    {"name": 7},
    {"name": None},
    {"name": "a\x00b"},
    {"name": "a\nb"},
    {"name": "\ud800"},
    {"name": "x" * 256},
    {"name": "t", "colour": "red"},
    {"name": "t", "config_src": "elsewhere"},
    {"name": "t", "tunnel_secret": "not base64"},
    {"name": "t", "tunnel_secret": base64.b64encode(b"short").decode()},
    {"name": "t", "tunnel_secret": "A" * 10_000},
    [],
    "text",
    None,
]


async def test_a_malformed_tunnel_is_refused(mesh: Mesh) -> None:
    headers = {"Content-Type": "application/json"}
    for body in MALFORMED:
        content = json.dumps(body).encode()
        await mesh.refused(400, "POST", f"{mesh.account}/cfd_tunnel", content=content, headers=headers)
    assert await mesh.call("GET", f"{mesh.account}/cfd_tunnel") == []


async def test_names_that_look_like_injections_are_names(mesh: Mesh) -> None:
    for name in ("'; DROP TABLE tunnels; --", '" OR 1=1', "{{7*7}}", "../../etc", "<script>"):
        made = await mesh.tunnel(name)
        found = await mesh.call("GET", f"{mesh.account}/cfd_tunnel", params={"name": name})
        assert [tunnel["id"] for tunnel in found] == [made["id"]]
        found = await mesh.call("GET", f"{mesh.account}/cfd_tunnel", params={"name_prefix": name[:3]})
        assert made["id"] in [tunnel["id"] for tunnel in found]


async def test_each_configuration_is_the_next_version(mesh: Mesh) -> None:
    made = await mesh.tunnel(config_src="cloudflare")
    path = f"{mesh.account}/cfd_tunnel/{made['id']}/configurations"
    first = await mesh.call("GET", path)
    assert (first["version"], first["config"], first["source"]) == (0, None, "cloudflare")
    config = {
        "ingress": [{"hostname": "a.example.com", "service": "http://127.0.0.1:1"}, {"service": "http_status:404"}],
        "originRequest": {"connectTimeout": 10},
        "warp-routing": {"enabled": True},
    }
    for version in (1, 2):
        put = await mesh.call("PUT", path, json={"config": config})
        assert (put["version"], put["config"]) == (version, config)
    assert await mesh.call("GET", path) == put


UNUSABLE: list[Any] = [
    {"ingress": [{"service": "http://a", "hostname": "a.example.com"}]},
    {"ingress": [{"hostname": "a.example.com"}, {"service": "http_status:404"}]},
    {"ingress": [{"service": 404}]},
    {"ingress": ["http_status:404"]},
    {"ingress": {}},
    {"ingres": []},
    {"originRequest": []},
    {"ingress": [{"service": "http_status:404", "path": "^/x"}]},
]


async def test_a_configuration_that_no_connector_could_use_is_refused(mesh: Mesh) -> None:
    made = await mesh.tunnel()
    path = f"{mesh.account}/cfd_tunnel/{made['id']}/configurations"
    for config in UNUSABLE:
        await mesh.refused(400, "PUT", path, json={"config": config})
    assert (await mesh.call("GET", path))["version"] == 0


async def test_a_number_that_json_lacks_is_refused(mesh: Mesh) -> None:
    made = await mesh.tunnel()
    path = f"{mesh.account}/cfd_tunnel/{made['id']}/configurations"
    body = b'{"config": {"originRequest": {"connectTimeout": NaN}}}'
    await mesh.refused(400, "PUT", path, content=body, headers={"Content-Type": "application/json"})


async def test_management_tokens_name_tunnel_and_purpose(mesh: Mesh) -> None:
    made = await mesh.tunnel()
    path = f"{mesh.account}/cfd_tunnel/{made['id']}/management"
    for token in (
        await mesh.call("POST", f"{path}/logs"),
        await mesh.call("POST", path, json={"resources": ["logs"]}),
    ):
        head, claims, _ = (base64.urlsafe_b64decode(part + "==") for part in token.split("."))
        assert json.loads(head)["alg"] == "ES256"
        told = json.loads(claims)
        assert told["tun"] == {"id": made["id"], "account_tag": mesh.plane.installation.account_id}
        assert told["actor"]["id"]
        assert told["res"] == ["logs", "ping"], "as the provider's"
    await mesh.refused(400, "POST", f"{path}/everything")
