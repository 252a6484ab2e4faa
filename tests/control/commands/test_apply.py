"""`pyconnector access apply`: files become objects, once, with a plan that can be read; mistakes have their place."""

from __future__ import annotations

import asyncio
import contextlib
import json
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from sqlalchemy import select

from pyconnector.connector.api.errors import ConfigError
from pyconnector.connector.cli.access.apply.current import Current
from pyconnector.connector.cli.access.apply.files import read_files
from pyconnector.connector.cli.access.apply.plan import _deletions
from pyconnector.connector.cli.access.apply.wanted import GROUP
from pyconnector.connector.cli.commands import main
from pyconnector.control.store.access.tables import IdentityProvider
from tests.control.support import open_mesh

if TYPE_CHECKING:
    from tests.control.support import Mesh

WHOLE = """\
service_tokens:
  - name: agent-01
    duration: 8760h
    role: reader
    labels: [team=data, eu]
  - name: agent-02
groups:
  - name: all agents
    include: [{group: readers}, {service_token: agent-02}]
  - name: readers
    include: [{role: reader}]
policies:
  - name: agents
    decision: non_identity
    include: [{group: all agents}]
    exclude: [{ip: 192.0.2.0/24}]
applications:
  - name: tool
    domain: tool.example.com
    destinations: [tool.example.com/admin]
    policies: [agents]
routes:
  - {hostname: tool.example.com, tunnel: home}
  - {network: 10.9.0.0/16, tunnel: home, comment: lan}
  - {private_hostname: db.corp, tunnel: home}
"""


class Apply:
    """Runs the command against a control plane."""

    def __init__(self, mesh: Mesh, directory: Path) -> None:
        self.mesh, self.file = mesh, directory / "access.yaml"
        token = directory / "api-token"
        token.write_text(mesh.token)
        self._more = ["--api-token-file", str(token), "--api-url", mesh.plane.api_url]

    async def __call__(self, text: str, *flags: str, code: int = 0) -> str:
        """All that was said."""
        self.file.write_text(text)
        arguments = ["access", "apply", str(self.file), *flags, *self._more]
        result = await asyncio.to_thread(lambda: CliRunner().invoke(main, arguments))
        assert result.exit_code == code, result.output
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result.output


@contextlib.asynccontextmanager
async def on_mesh(tmp_path: Path) -> AsyncIterator[tuple[Mesh, Apply]]:
    async with open_mesh(tmp_path / "data") as mesh:
        yield mesh, Apply(mesh, tmp_path)


async def test_files_are_applied_once_and_drift_is_shown(tmp_path: Path) -> None:
    async with on_mesh(tmp_path) as (mesh, apply):
        access = f"{mesh.account}/access"
        await mesh.tunnel("home")
        await mesh.call("POST", f"{access}/service_tokens", json={"name": "by hand"})
        said = await apply(WHOLE, "--dry-run", code=3)
        assert "+ policy agents" in said
        assert "    include: group all agents (new)" in said
        assert "? service token by hand is in no file" in said
        assert "Plan: 9 to make, 0 to change, 0 as they should be, 1 in no file." in said
        assert await mesh.call("GET", f"{access}/policies") == []
        assert "--yes" in await apply(WHOLE, code=1)  # nobody can be asked
        secrets = tmp_path / "secrets"
        said = await apply(WHOLE, "--yes", "--secrets-dir", str(secrets))
        assert "client secret" not in said
        kept = {path.name: json.loads(path.read_text()) for path in secrets.iterdir()}
        assert len(kept) == 2
        assert all(value["client_secret"] not in said for value in kept.values())
        assert {stat.S_IMODE(path.stat().st_mode) for path in secrets.iterdir()} == {0o600}
        # The same again is nothing to do.
        again = await apply(WHOLE, "--dry-run")
        assert "9 as they should be" in again
        assert "Plan: 0 to make, 0 to change" in await apply(WHOLE, "--yes")
        (app,) = await mesh.call("GET", f"{access}/apps")
        assert [policy["name"] for policy in app["policies"]] == ["agents"]
        assert app["self_hosted_domains"] == ["tool.example.com", "tool.example.com/admin"]
        # Somebody changes things by hand: drift is shown, and put right.
        (policy,) = await mesh.call("GET", f"{access}/policies")
        body = {"name": "agents", "decision": "non_identity", "include": [{"any_valid_service_token": {}}]}
        await mesh.call("PUT", f"{access}/policies/{policy['id']}", json=body)
        # The order of rules means nothing.
        (group,) = await mesh.call("GET", f"{access}/groups", params={"name": "all agents"})
        body = {"name": "all agents", "include": group["include"][::-1]}
        await mesh.call("PUT", f"{access}/groups/{group['id']}", json=body)
        tokens = {row["name"]: row for row in await mesh.call("GET", f"{access}/service_tokens")}
        await mesh.call("POST", f"{access}/service_tokens/{tokens['agent-01']['id']}/refresh")
        tokens = {row["name"]: row for row in await mesh.call("GET", f"{access}/service_tokens")}
        await mesh.call("PUT", f"{access}/service_tokens/{tokens['agent-01']['id']}", json={"role": "writer"})
        said = await apply(WHOLE, "--dry-run", code=3)
        assert "~ policy agents\n    - include: any_valid_service_token\n    + include: group all agents" in said
        assert "    + exclude: ip 192.0.2.0/24" in said
        assert "= group all agents" in said
        assert "~ service token agent-01\n    role: writer -> reader" in said
        await apply(WHOLE, "--yes")
        await apply(WHOLE, "--dry-run")
        after = {row["name"]: row for row in await mesh.call("GET", f"{access}/service_tokens")}
        assert after["agent-01"]["expires_at"] == tokens["agent-01"]["expires_at"]
        await mesh.tunnel("other")
        moved = WHOLE.replace("db.corp, tunnel: home", "db.corp, tunnel: other")
        assert "tunnel: home -> other" in await apply(moved, "--yes")


INTRODUCTION = """\
name: agent access
decision: allow
include:
  - service_token: "agent-01"
"""


async def test_the_file_of_the_introduction_is_understood_and_corrected(tmp_path: Path) -> None:
    async with on_mesh(tmp_path) as (mesh, apply):
        made = await mesh.call("POST", f"{mesh.account}/access/service_tokens", json={"name": "agent-01"})
        said = await apply(INTRODUCTION, "--yes")
        assert "access.yaml:2:11: `decision: allow` is taken as `decision: non_identity`" in said
        assert "access.yaml:4:20: `service_token: agent-01` is taken as the service token of that name or id" in said
        (policy,) = await mesh.call("GET", f"{mesh.account}/access/policies")
        assert policy["decision"] == "non_identity"
        assert policy["include"] == [{"service_token": {"token_id": made["id"]}}]
        for other in (made["id"], made["client_id"]):
            await apply(INTRODUCTION.replace("agent-01", other), "--dry-run")


async def test_a_secret_without_a_place_is_shown_once(tmp_path: Path) -> None:
    async with on_mesh(tmp_path) as (mesh, apply):
        text = "service_tokens: [{name: agent}]"
        assert "client secret cfast_" in await apply(text, "--yes")
        assert "cfast_" not in await apply(text, "--yes")
        taken = tmp_path / "file"
        taken.write_text("")
        said = await apply(text.replace("agent", "b"), "--yes", "--secrets-dir", str(taken), code=1)
        assert "cannot be used" in said
        assert len(await mesh.call("GET", f"{mesh.account}/access/service_tokens")) == 1


async def test_what_refers_to_nothing_is_told_before_anything_is_done(tmp_path: Path) -> None:
    async with on_mesh(tmp_path) as (mesh, apply):
        wrong = WHOLE.replace("policies: [agents]", "policies: [agent]").replace(
            "tunnel: home, comment", "tunnel: hoem, comment"
        )
        await mesh.tunnel("home")
        said = await apply(wrong, "--yes", code=2)
        assert "access.yaml:18:5: application tool: there is no policy agent; did you mean agents?" in said
        assert "there is no tunnel hoem; did you mean home?" in said
        circle = "groups:\n- {name: a, include: [{group: b}]}\n- {name: b, include: [{group: a}]}\n"
        assert "in a circle" in await apply(circle, "--yes", code=2)
        assert await mesh.call("GET", f"{mesh.account}/access/service_tokens") == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("polices: []", "f.yaml:1:1: polices: polices is no key here; did you mean policies?"),
        ("policies:\n- name: p\n  decison: allow\n  include: [everyone]",
         "f.yaml:3:3: policies[0].decison: decison is no key here; did you mean decision?"),
        ("policies:\n- {name: p, decision: alow, include: [everyone]}", "did you mean allow?"),
        ("policies:\n- name: p\n  decision: deny\n  include:\n  - emial: a@b.test", "f.yaml:5:5"),
        ("policies:\n- name: p\n  decision: deny\n  include:\n  - emial: a@b.test", "did you mean email?"),
        ("policies:\n- {name: p, decision: deny, include: []}", "include has no rule"),
        ("policies:\n- {name: p, decision: allow, include: [{role: r}, {email: a@b.test}]}", "make it two"),
        ("policies:\n- {name: p, decision: deny, include: [{email: [a]}]}", "write `email: VALUE`"),
        ("policies:\n- {name: p, decision: deny, include: [{everyone: x}]}", "nothing beside it"),
        ("applications:\n- {name: a}", "needs a domain"),
        ("applications:\n- {name: a, domain: a.test, type: saas}", "self_hosted"),
        ("applications:\n- {name: a, domain: a.test, policies: [{id: 1}]}", "by its name"),
        ("service_tokens:\n- {name: 5}", "a text is wanted"),
        ("service_tokens:\n- {name: a, enabled: 1}", "true or false"),
        ("service_tokens:\n- {name: a}\n- {name: a}", "f.yaml:3:3: the service token a is there already, at f.yaml:2"),
        ("routes:\n- {hostname: a.test}", "a route has a tunnel"),
        ("routes:\n- {network: 10.0.0.1/8, tunnel: t}", "is no network"),
        ("routes:\n- {hostname: a.test, tunnel: t, comment: x}", "private routes"),
        ("groups: {name: a}", "lists objects"),
        ("groups: [5]", "an object with keys"),
        ("policies: []\n---\nroutes: []", "first YAML document"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_place(
    tmp_path: Path, text: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("f.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_files(["f.yaml"])
    assert told in "\n".join(map(str, caught.value.problems))


FIRM = """\
identity_providers:
  - name: Firm
    type: oidc
    config: {issuer_url: "https://id.example.com", client_id: mesh, client_secret_file: firm.secret, claims: [groups]}
service_tokens: [{name: agent}]
policies:
  - {name: staff, decision: allow, include: [{login_method: Firm}]}
  - name: admins
    decision: allow
    include: [{oidc: {identity_provider: Firm, claim_name: groups, claim_value: ops}}]
applications:
  - {name: desk, domain: desk.example.com, policies: [staff], allowed_idps: [Firm]}
network_rules:
  - {name: no metadata, action: block, networks: [169.254.169.254/32]}
  - {name: databases, action: allow, tokens: [agent], networks: [10.9.0.0/16], ports: [5432, "8000-8999"]}
"""


async def test_rules_and_providers_are_applied_and_their_drift_shown(tmp_path: Path) -> None:
    async with on_mesh(tmp_path) as (mesh, apply):
        (tmp_path / "firm.secret").write_text("s3cret-of-firm\n")
        said = await apply(FIRM, "--yes")
        assert "+ identity provider Firm" in said
        assert "    tokens: agent (new)" in said
        assert "    include: oidc groups ops of Firm (new)" in said
        assert "s3cret-of-firm" not in said
        assert "0 to make, 0 to change, 7 as they should be" in await apply(FIRM, "--dry-run")
        access = f"{mesh.account}/access"
        (token,) = await mesh.call("GET", f"{access}/service_tokens")
        (provider,) = await mesh.call("GET", f"{access}/identity_providers")
        (app,) = await mesh.call("GET", f"{access}/apps")
        assert app["allowed_idps"] == [provider["id"]]
        rules = await mesh.call("GET", f"{mesh.account}/network_rules")
        assert [rule["name"] for rule in rules] == ["no metadata", "databases"]  # asked in the order of the file
        assert rules[1]["tokens"] == [token["client_id"]]
        # Somebody opens a rule by hand.
        opened = {"name": "databases", "action": "allow", "networks": ["10.9.0.0/16"], "precedence": 1}
        await mesh.call("PUT", f"{mesh.account}/network_rules/{rules[1]['id']}", json=opened)
        said = await apply(FIRM, "--dry-run", code=3)
        assert "~ network rule databases\n    + tokens: agent\n" in said
        assert "    precedence: 1 -> 2000" in said
        await apply(FIRM, "--yes")
        rules = await mesh.call("GET", f"{mesh.account}/network_rules")
        assert (rules[1]["tokens"], rules[1]["ports"]) == ([token["client_id"]], ["5432", "8000-8999"])
        # A secret is sent where that is asked for, and stays where something else changes.
        moved = FIRM.replace("client_id: mesh, client_secret_file: firm.secret", "client_id: mesh-2")
        said = await apply(moved, "--yes")
        assert "    config: issuer_url https://id.example.com, client_id mesh, claims groups -> issuer_url" in said
        assert (await _secrets(mesh)) == ["s3cret-of-firm"]
        (tmp_path / "firm.secret").write_text("rolled")
        await apply(FIRM, "--yes")
        assert "secret: (not shown)" in await apply(FIRM, "--yes", "--send-secrets")
        assert (await _secrets(mesh)) == ["rolled"]


async def _secrets(mesh: Mesh) -> list[str]:
    async with mesh.plane.database.read() as session:
        rows = (await session.execute(select(IdentityProvider))).scalars()
        return [row.config["client_secret"] for row in rows]


def test_groups_that_refer_to_others_are_deleted_before_them() -> None:
    def group(group_id: str, *others: str) -> list[dict[str, Any]]:
        return [
            {"id": group_id, "include": [{"group": {"id": other}} for other in others], "exclude": [{"everyone": {}}]}
        ]

    current = Current()
    current.objects[GROUP] |= {"a": group("1"), "b": group("2", "1"), "c": group("3", "2", "1"), "d": group("4", "4")}
    found = _deletions([(GROUP, name) for name in current.objects[GROUP]], current)
    assert [each.name for each in found] == ["c", "b", "a", "d"]  # one that refers to itself keeps no other


async def test_what_is_in_no_file_is_deleted_where_its_section_is_pruned(tmp_path: Path) -> None:
    async with on_mesh(tmp_path) as (mesh, apply):
        await mesh.tunnel("home")
        await apply(WHOLE, "--yes")
        await apply("network_rules:\n- {name: old, action: allow, roles: [reader]}\n", "--yes")
        access = f"{mesh.account}/access"
        less = "service_tokens: [{name: agent-02}]\ngroups: []\npolicies: []\nnetwork_rules: []\n"
        assert "no file has that section" in await apply(less, "--dry-run", "--prune", "applications", code=2)
        less += "applications: []\nroutes: []\n"
        said = await apply(less, "--dry-run", "--prune", "all", code=3)
        assert "- policy agents" in said
        assert "0 to change, 9 to delete, 1 as they should be, 0 in no file" in said
        assert len(await mesh.call("GET", f"{access}/policies")) == 1
        # Without it, and of other sections, nothing goes.
        said = await apply(less, "--yes", "--prune", "network_rules")
        assert "deleted network rule old" in said
        assert "? policy agents is in no file" in said
        assert len(await mesh.call("GET", f"{access}/policies")) == 1
        said = await apply(less, "--yes", "--prune", "all")
        order = [line.partition("deleted ")[2] for line in said.splitlines() if line.startswith("deleted ")]
        assert order[-3:] == ["group all agents", "group readers", "service token agent-01"]  # who refers goes first
        for path in (f"{access}/policies", f"{access}/groups", f"{access}/apps", f"{mesh.account}/network_rules"):
            assert await mesh.call("GET", path) == []
        assert [row["name"] for row in await mesh.call("GET", f"{access}/service_tokens")] == ["agent-02"]
        assert await mesh.call("GET", f"{mesh.account}/teamnet/routes", params={"is_deleted": "false"}) == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("network_rules:\n- {name: a, action: alow}", "f.yaml:2:3: network_rules[0]: The action"),
        ("network_rules:\n- {name: a, action: allow, networks: [10.0.0.1/8]}", "is no network"),
        ("network_rules:\n- {name: a, action: allow, rolls: [x]}", "did you mean roles?"),
        ("network_rules:\n- {name: a, action: allow, precedence: -1}", "a whole number"),
        ("identity_providers:\n- {name: a, type: oidc, config: {client_id: x}}", "issuer_url is missing"),
        ("identity_providers:\n- {name: a, type: oidc, config: {client_secret_env: NOT_THERE}}", "is not set"),
        ("identity_providers:\n- {name: a, type: oidc, config: {client_secret_file: gone}}", "cannot be read"),
        ("applications:\n- {name: a, domain: a.test, allowed_idps: Firm}", "lists names"),
        ("groups:\n- {name: g, include: [{oidc: {claim_name: x}}]}", "write `oidc:"),
    ],
)
def test_a_mistake_in_a_rule_or_provider_has_its_place(
    tmp_path: Path, text: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    test_a_mistake_is_told_with_its_place(tmp_path, text, told, monkeypatch)
