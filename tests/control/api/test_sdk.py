"""The official Python SDK of the API, which nobody here wrote, over every kind of object."""

from __future__ import annotations

import asyncio
import base64
import datetime
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from cloudflare import Cloudflare, ConflictError, NotFoundError, PermissionDeniedError

from tests.edge.audit.receiver import running_receiver

if TYPE_CHECKING:
    from tests.control.support import Mesh


async def with_sdk(mesh: Mesh, scenario: Callable[[Cloudflare, str, str], None]) -> None:
    made = mesh.plane.installation

    def use() -> None:
        with Cloudflare(api_token=mesh.token, base_url=mesh.plane.api_url, max_retries=0, timeout=30) as client:
            scenario(client, made.account_id, made.zone_id)

    await asyncio.to_thread(use)


@pytest.fixture(autouse=True)
def warnings_of_the_sdk() -> Iterator[None]:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


async def test_tunnels(mesh: Mesh) -> None:
    def scenario(client: Cloudflare, account: str, zone: str) -> None:
        api = client.zero_trust.tunnels.cloudflared
        secret = base64.b64encode(b"s" * 32).decode()
        made = api.create(account_id=account, name="one", config_src="cloudflare", tunnel_secret=secret)
        assert made is not None
        assert made.id is not None
        assert (made.name, made.status, made.config_src) == ("one", "inactive", "cloudflare")
        for number in range(3):
            api.create(account_id=account, name=f"more-{number}")
        # The list goes on until a page is empty.
        found = [tunnel.name for tunnel in api.list(account_id=account, per_page=2)]
        assert found == ["more-2", "more-1", "more-0", "one"]
        assert [tunnel.name for tunnel in api.list(account_id=account, include_prefix="more", is_deleted=False)] == [
            "more-2", "more-1", "more-0",
        ]  # fmt: skip
        assert [row.id for row in client.zero_trust.tunnels.list(account_id=account, uuid=made.id)] == [made.id]
        with pytest.raises(ConflictError):
            api.create(account_id=account, name="one")
        edited = api.edit(made.id, account_id=account, name="two")
        assert edited is not None
        assert edited.name == "two"
        assert base64.b64decode(api.token.get(made.id, account_id=account)).startswith(b'{"a":')
        put = api.configurations.update(
            made.id,
            account_id=account,
            config={"ingress": [{"hostname": "", "service": "http_status:404"}]},
        )
        assert put is not None
        got = api.configurations.get(made.id, account_id=account)
        assert got is not None
        assert (got.version, got.source) == (put.version, "cloudflare")
        assert list(api.connections.get(made.id, account_id=account)) == []
        api.connections.delete(made.id, account_id=account)
        management = api.management.create(made.id, account_id=account, resources=["logs"])
        assert management.count(".") == 2
        with pytest.raises(NotFoundError):
            api.connectors.get("00000000-0000-0000-0000-000000000001", account_id=account, tunnel_id=made.id)
        gone = api.delete(made.id, account_id=account)
        assert gone is not None
        assert gone.deleted_at is not None

    await with_sdk(mesh, scenario)


async def test_names(mesh: Mesh) -> None:
    def scenario(client: Cloudflare, account: str, zone: str) -> None:
        (found,) = client.zones.list(name="example.com")
        assert found.id == zone
        assert client.zones.get(zone_id=zone) is not None
        assert [row.id for row in client.accounts.list()] == [account]
        tunnel = client.zero_trust.tunnels.cloudflared.create(account_id=account, name="t")
        assert tunnel is not None
        api = client.dns.records
        content = f"{tunnel.id}.cfargotunnel.com"
        made = api.create(zone_id=zone, name="www", type="CNAME", content=content, ttl=1, proxied=True)
        assert made is not None
        assert (made.name, made.content, made.proxied) == ("www.example.com", content, True)
        for number in range(3):
            api.create(zone_id=zone, name=f"{number}.example.com", type="CNAME", content=content, ttl=1)
        assert len(list(api.list(zone_id=zone, per_page=2))) == 4
        edited = api.edit(made.id, zone_id=zone, name="www2", type="CNAME", content=content, ttl=60)
        assert edited is not None
        assert edited.name == "www2.example.com"
        api.update(made.id, zone_id=zone, name="www3", type="CNAME", content=content, ttl=60)
        got = api.get(made.id, zone_id=zone)
        assert got is not None
        assert got.name == "www3.example.com"
        api.delete(made.id, zone_id=zone)
        with pytest.raises(NotFoundError):
            api.get(made.id, zone_id=zone)

    await with_sdk(mesh, scenario)


async def test_private_networks(mesh: Mesh) -> None:
    def scenario(client: Cloudflare, account: str, zone: str) -> None:
        tunnel = client.zero_trust.tunnels.cloudflared.create(account_id=account, name="t")
        assert tunnel is not None
        assert tunnel.id is not None
        networks = client.zero_trust.networks
        assert [row.name for row in networks.virtual_networks.list(account_id=account)] == ["default"]
        vnet = networks.virtual_networks.create(account_id=account, name="other", comment="c", is_default_network=True)
        assert vnet is not None
        defaults = networks.virtual_networks.list(account_id=account, is_default_network=True)
        assert [row.id for row in defaults] == [vnet.id]
        edited = networks.virtual_networks.edit(vnet.id, account_id=account, comment="d")
        assert edited is not None
        assert edited.comment == "d"
        route = networks.routes.create(account_id=account, network="10.1.0.0/16", tunnel_id=tunnel.id, comment="lan")
        assert route is not None
        assert route.id is not None
        assert route.virtual_network_id == vnet.id
        (listed,) = networks.routes.list(account_id=account, network_subset="10.0.0.0/8", is_deleted=False)
        assert (listed.tunnel_name, listed.virtual_network_name) == ("t", "other")
        assert list(networks.routes.list(account_id=account, network_superset="10.0.0.0/8")) == []
        taken = networks.routes.ips.get("10.1.2.3", account_id=account)
        assert taken is not None
        assert taken.id == route.id
        none = networks.routes.ips.get("192.0.2.1", account_id=account)
        assert none is not None
        assert none.id is None
        changed = networks.routes.edit(route.id, account_id=account, network="10.2.0.0/16", tunnel_id=tunnel.id)
        assert changed is not None
        assert changed.network == "10.2.0.0/16"
        assert networks.routes.get(route.id, account_id=account) is not None
        networks.routes.delete(route.id, account_id=account)
        name = networks.hostname_routes.create(account_id=account, hostname="db.corp", tunnel_id=tunnel.id)
        assert name is not None
        assert name.id is not None
        assert [row.hostname for row in networks.hostname_routes.list(account_id=account)] == ["db.corp"]
        renamed = networks.hostname_routes.edit(name.id, account_id=account, hostname="db2.corp")
        assert renamed is not None
        assert renamed.hostname == "db2.corp"
        networks.hostname_routes.delete(name.id, account_id=account)

    await with_sdk(mesh, scenario)


async def test_tokens_and_audit(mesh: Mesh) -> None:
    def scenario(client: Cloudflare, account: str, zone: str) -> None:
        verified = client.user.tokens.verify()
        assert verified is not None
        assert verified.status == "active"
        groups = {group.name: group.id for group in client.user.tokens.permission_groups.list()}
        read = groups["Cloudflare Tunnel Read"]
        assert read is not None
        made = client.user.tokens.create(
            name="reader",
            policies=[{"effect": "allow", "permission_groups": [{"id": read}], "resources": {f"a.{account}": "*"}}],
            expires_on=datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=1),
        )
        assert made is not None
        assert made.value is not None
        with Cloudflare(api_token=made.value, base_url=client.base_url, max_retries=0) as reader:
            assert list(reader.zero_trust.tunnels.cloudflared.list(account_id=account)) == []
            with pytest.raises(PermissionDeniedError):
                reader.zero_trust.tunnels.cloudflared.create(account_id=account, name="no")
        assert made.id is not None
        client.user.tokens.delete(made.id)
        with Cloudflare(api_token=made.value, base_url=client.base_url, max_retries=0) as reader:
            with pytest.raises(PermissionDeniedError):
                reader.user.tokens.verify()
        today = datetime.datetime.now(datetime.UTC).date()
        log = client.accounts.logs.audit.list(account_id=account, since=today, before=today, limit=2)
        actions = [
            (row.action.type, row.resource.type) for row in log if row.action is not None and row.resource is not None
        ]
        assert ("delete", "api_token") in actions
        assert ("create", "api_token") in actions

    await with_sdk(mesh, scenario)


async def test_access(mesh: Mesh) -> None:
    def scenario(client: Cloudflare, account: str, zone: str) -> None:
        access = client.zero_trust.access
        token = access.service_tokens.create(account_id=account, name="agent-01-token", duration="60m")
        assert token is not None
        assert token.id is not None
        assert token.client_secret is not None
        assert [row.name for row in access.service_tokens.list(account_id=account)] == ["agent-01-token"]
        renamed = access.service_tokens.update(token.id, account_id=account, name="agent-01")
        assert renamed is not None
        assert renamed.name == "agent-01"
        assert access.service_tokens.refresh(token.id, account_id=account) is not None
        rotated = access.service_tokens.rotate(token.id, account_id=account)
        assert rotated is not None
        assert rotated.client_secret not in (None, token.client_secret)
        group = access.groups.create(
            account_id=account, name="agents", include=[{"service_token": {"token_id": token.id}}]
        )
        assert group is not None
        assert group.id is not None
        policy = access.policies.create(
            account_id=account, name="agents", decision="non_identity", include=[{"group": {"id": group.id}}]
        )
        assert policy is not None
        assert policy.id is not None
        assert (policy.decision, policy.app_count) == ("non_identity", 0)
        app = access.applications.create(
            account_id=account,
            name="tool",
            type="self_hosted",
            domain="tool.example.com",
            policies=[{"id": policy.id, "precedence": 1}],
        )
        assert app is not None
        assert app.id is not None
        assert app.policies is not None
        assert [entry.id for entry in app.policies] == [policy.id]
        assert [row.id for row in access.applications.list(account_id=account)] == [app.id]
        got: Any = access.applications.get(app.id, account_id=account)
        assert got.domain == "tool.example.com"
        access.applications.update(
            app.id, account_id=account, name="tool 2", type="self_hosted", domain="tool.example.com"
        )
        access.applications.revoke_tokens(app.id, account_id=account)
        changed = access.policies.update(
            policy.id,
            account_id=account,
            name="all",
            decision="non_identity",
            include=[{"any_valid_service_token": {}}],
        )
        assert changed is not None
        assert changed.name == "all"
        assert [row.name for row in access.policies.list(account_id=account)] == ["all"]
        keys = access.keys.rotate(account_id=account)
        assert keys is not None
        assert keys.days_until_next_rotation in (41, 42)
        assert access.keys.update(account_id=account, key_rotation_interval_days=30) is not None
        assert access.keys.get(account_id=account) is not None
        organization = client.zero_trust.organizations.update(account_id=account, name="Mesh", session_duration="12h")
        assert organization is not None
        assert organization.name == "Mesh"
        assert client.zero_trust.organizations.list(account_id=account) is not None
        access.applications.delete(app.id, account_id=account)
        access.policies.delete(policy.id, account_id=account)
        access.groups.delete(group.id, account_id=account)
        deleted = access.service_tokens.delete(token.id, account_id=account)
        assert deleted is not None
        with pytest.raises(NotFoundError):
            access.service_tokens.get(token.id, account_id=account)

    await with_sdk(mesh, scenario)


async def test_identity_providers_and_people(mesh: Mesh) -> None:
    def scenario(client: Cloudflare, account: str, zone: str) -> None:
        api = client.zero_trust.identity_providers
        config: Any = {"client_id": "mesh", "client_secret": "s", "issuer_url": "https://id.example.com"}
        made = api.create(account_id=account, name="Firm", type="oidc", config=config)
        assert made is not None
        assert made.id is not None
        pin = api.create(account_id=account, name="PIN", type="onetimepin", config={})
        assert pin is not None
        assert [row.name for row in api.list(account_id=account)] == ["Firm", "PIN"]
        got = api.get(made.id, account_id=account)
        assert got is not None
        assert (got.name, got.type) == ("Firm", "oidc")
        edited = api.update(made.id, account_id=account, name="Other", type="oidc", config=config)
        assert edited is not None
        assert edited.name == "Other"
        include: Any = [{"email": {"email": "a@example.com"}}, {"login_method": {"id": made.id}}]
        policy = client.zero_trust.access.policies.create(
            account_id=account, name="people", decision="allow", include=include
        )
        assert policy is not None
        with pytest.raises(ConflictError):
            api.delete(made.id, account_id=account)
        assert policy.id is not None
        client.zero_trust.access.policies.delete(policy.id, account_id=account)
        gone = api.delete(made.id, account_id=account)
        assert gone is not None
        assert gone.id == made.id
        assert client.zero_trust.organizations.revoke_users(account_id=account, email="a@example.com") is True
        assert [row.email for row in client.zero_trust.access.users.list(account_id=account)] == ["a@example.com"]

    await with_sdk(mesh, scenario)


async def test_logs(mesh: Mesh) -> None:
    async with running_receiver() as receiver:
        account = mesh.plane.installation.account_id

        def use() -> None:
            with Cloudflare(api_token=mesh.token, base_url=mesh.plane.api_url, max_retries=0, timeout=30) as client:
                logs_scenario(client, account, receiver.url)

        await asyncio.to_thread(use)


def logs_scenario(client: Cloudflare, account: str, receiver: str) -> None:
    push = client.logpush
    conf = receiver + "?header_X-Key=secret"
    assert client.zero_trust.access.logs.access_requests.list(account_id=account, limit=5, direction="desc") == []
    fields: Any = push.datasets.fields.get("gateway_http", account_id=account)
    assert "HTTPHost" in fields
    job = push.jobs.create(
        account_id=account, destination_conf=conf, dataset="gateway_http", enabled=True, name="all",
        filter='{"where":{"key":"Action","operator":"eq","value":"block"}}', max_upload_records=1000,
        output_options={"field_names": ["URL"], "timestamp_format": "rfc3339", "output_type": "ndjson"},
    )  # fmt: skip
    assert job is not None
    assert job.id is not None
    assert job.output_options is not None
    assert (job.dataset, job.enabled, job.output_options.field_names) == ("gateway_http", True, ["URL"])
    assert [row.id for row in push.jobs.list(account_id=account) if row is not None] == [job.id]
    assert [row.id for row in push.datasets.jobs.get("gateway_http", account_id=account) if row is not None] == [job.id]
    assert list(push.datasets.jobs.get("access_requests", account_id=account)) == []
    edited = push.jobs.update(job.id, account_id=account, enabled=False)
    assert edited is not None
    assert edited.enabled is False
    got = push.jobs.get(job.id, account_id=account)
    assert got is not None
    assert got.name == "all"
    assert "secret" not in str(got.destination_conf)
    ownership = push.ownership.create(account_id=account, destination_conf=conf)
    assert ownership is not None
    assert ownership.valid
    held = push.ownership.validate(account_id=account, destination_conf=conf, ownership_challenge="x")
    assert held is not None
    assert held.valid is False
    works = push.validate.destination(account_id=account, destination_conf=conf)
    assert works is not None
    assert works.valid
    exists = push.validate.destination_exists(account_id=account, destination_conf=conf)
    assert exists is not None
    assert exists.exists
    push.jobs.delete(job.id, account_id=account)
    with pytest.raises(NotFoundError):
        push.jobs.get(job.id, account_id=account)
