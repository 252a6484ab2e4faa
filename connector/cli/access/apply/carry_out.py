"""Carries a plan out, step by step, and keeps the secrets of tokens that it makes."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pyconnector.connector.cli.access.apply import network_rules, providers
from pyconnector.connector.cli.access.apply.current import PATHS, Current, told
from pyconnector.connector.cli.access.apply.plan import NEW
from pyconnector.connector.cli.access.apply.show import plain
from pyconnector.connector.cli.access.apply.wanted import (
    APPLICATION,
    GROUP,
    LISTS,
    NAME_ROUTE,
    NETWORK_ROUTE,
    NETWORK_RULE,
    POLICY,
    PRIVATE_NAME,
    PROVIDER,
    TOKEN,
)

if TYPE_CHECKING:
    from pyconnector.connector.cli.access.apply.plan import Deletion, Plan, Step
    from pyconnector.connector.cli.account.client import ApiClient

#: What the API shows of a policy that says nothing of it.
_DEFAULT = "24h"
_KINDS = {"service_token": TOKEN, "group": GROUP, "login_method": PROVIDER}
_PROVIDER = "identity_provider_id"
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


class CarryOut:
    """One run. What was done before a step failed stays; the same files finish it."""

    def __init__(self, client: ApiClient, current: Current, secrets: Path | None) -> None:
        self._client = client
        self._current = current
        self._secrets = secrets
        self._made: dict[tuple[str, str], str] = {}
        self._client_ids: dict[str, str] = {}

    def run(self, plan: Plan) -> None:
        """Do every step that is needed.

        Raises:
            ApiError: a step failed.
            OSError: the directory for secrets cannot be used; nothing is done then.
        """
        if self._secrets is not None and any(step.kind == TOKEN and step.present is None for step in plan.steps):
            self._secrets.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not os.access(self._secrets, os.W_OK):
                raise PermissionError(f"{self._secrets} cannot be written to")
        for step in plan.needed:
            self._do(step)
            click.echo(plain(f"{'made' if step.present is None else 'changed'} {step.kind} {step.name}"))
        for deletion in plan.deletions:
            self._delete(deletion)
            click.echo(plain(f"deleted {deletion.kind} {deletion.name}"))

    def _delete(self, deletion: Deletion) -> None:
        kind, row = deletion.kind, deletion.present
        path = self._client.account(f"{PATHS[kind]}/{row['id']}") if kind != NAME_ROUTE else (
            f"/zones/{self._current.zone_of(deletion.name)}/dns_records/{row['id']}"
        )  # fmt: skip
        self._client.call(f"delete {kind} {deletion.name}", "DELETE", path)

    def _do(self, step: Step) -> None:
        client, kind = self._client, step.kind
        what = f"{'make' if step.present is None else 'change'} {kind} {step.name}"
        if kind == NAME_ROUTE:
            zone, tunnel = self._current.zone_of(step.name), step.wanted["tunnel"]
            body = {"type": "dns", "user_hostname": step.name, "overwrite_existing": True}
            client.call(what, "PUT", f"/zones/{zone}/tunnels/{tunnel}/routes", body)
            return
        path = client.account(PATHS[kind])
        if step.present is None:
            made = client.call(what, "POST", path, self._body(step, {}))
            self._made[kind, step.name] = str(made["id"])
            if kind == TOKEN:
                self._client_ids[step.name] = str(made["client_id"])
                self._keep(step.name, made)
        else:
            method = "PATCH" if kind in (NETWORK_ROUTE, PRIVATE_NAME) else "PUT"
            before = told(kind, step.present, self._current)
            client.call(what, method, f"{path}/{step.present['id']}", self._body(step, before))

    def _body(self, step: Step, before: dict[str, Any]) -> dict[str, Any]:
        kind, wanted = step.kind, step.wanted
        if kind == TOKEN and step.present is not None:
            # The API changes what is named: a duration said again would take a refresh back.
            return {name: after for name, (_, after) in step.changes.items()}
        if kind == PROVIDER:
            return providers.body_of(step.name, wanted, step.present)
        if kind == NETWORK_RULE:
            tokens = [self._client_id(value) for value in wanted["tokens"]]
            return network_rules.body_of(step.name, wanted | {"tokens": tokens})
        # What the files do not speak of stays: a PUT would set it back.
        said = {name: value for name, value in {**before, **wanted}.items() if value is not None}
        if kind in (NETWORK_ROUTE, PRIVATE_NAME):
            return _route_body(step, said)
        said["name"] = step.name
        if kind in (GROUP, POLICY):
            said |= {name: [self._known(rule) for rule in said[name]] for name in LISTS}
        if kind == POLICY and "session_duration" not in wanted and said.get("session_duration") == _DEFAULT:
            del said["session_duration"]  # shown where none is set, too
        if kind == APPLICATION:
            said["type"] = "self_hosted"
            said["destinations"] = [{"type": "public", "uri": place} for place in said.pop("places")]
            said["allowed_idps"] = [self._id(PROVIDER, provider) for provider in said.get("allowed_idps", ())]
            ids = [self._id(POLICY, policy) for policy in said["policies"]]
            said["policies"] = [{"id": policy, "precedence": place} for place, policy in enumerate(ids, 1)]
        return said

    def _known(self, rule: dict[str, Any]) -> dict[str, Any]:
        (kind, inner), kinds = next(iter(rule.items())), _KINDS
        if kind == "oidc":
            return {kind: {**inner, _PROVIDER: self._id(PROVIDER, inner[_PROVIDER])}}
        if kind in kinds:
            return {kind: {name: self._id(kinds[kind], value) for name, value in inner.items()}}
        return rule

    def _id(self, kind: str, value: str) -> str:
        return self._made[kind, value.removeprefix(NEW)] if value.startswith(NEW) else value

    def _client_id(self, value: str) -> str:
        return self._client_ids[value.removeprefix(NEW)] if value.startswith(NEW) else value

    def _keep(self, name: str, made: dict[str, Any]) -> None:
        secret = {"client_id": made["client_id"], "client_secret": made["client_secret"]}
        if self._secrets is not None:
            path = self._secrets / f"{_UNSAFE.sub('_', name)[:100] or 'token'}-{made['client_id'][:8]}.json"
            try:
                file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                with os.fdopen(file, "w", encoding="ascii") as stream:
                    json.dump(secret, stream)
                click.echo(plain(f"the secret of {name} is in {path}"))
                return
            except OSError as error:
                click.echo(f"{path} cannot be written ({error.strerror}): the secret is shown instead", err=True)
        shown = f"client id {secret['client_id']}, client secret {secret['client_secret']}"
        click.echo(plain(f"{name}: {shown} (shown this once)"))


def _route_body(step: Step, said: dict[str, Any]) -> dict[str, Any]:
    body = {"tunnel_id": said["tunnel"], "comment": said.get("comment", "")}
    if step.kind == PRIVATE_NAME:
        return {**body, "hostname": step.name}
    if step.present is not None:
        return body
    return {**body, "network": step.name.partition(" in ")[0], "virtual_network_id": said["virtual_network_id"]}
