"""`tunnel create NAME --route HOSTNAME --service URL`: the name is routed and a config left that only has to be run."""

from __future__ import annotations

import json
import os
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pyconnector.connector.cli.account import names
from pyconnector.connector.cli.account.client import ApiError
from pyconnector.connector.cli.account.errors import CommandFailed
from pyconnector.connector.discovery.places import parse_discovery
from pyconnector.ingress import IngressError, parse_ingress

if TYPE_CHECKING:
    from pyconnector.connector.cli.account.client import ApiClient

#: Edges that are written into a config.
MAX_EDGES = 100
_EDGE = re.compile(r"[A-Za-z0-9_.:\[\]-]{1,255}")


def rules_for(hostname: str, service: str) -> list[dict[str, Any]]:
    """Return rules that lead `hostname` to `service` and answer 404 to everything else.

    Raises:
        CommandFailed: no connector could use them; told before a tunnel is made.
    """
    if not names.is_hostname(hostname):
        raise CommandFailed(f"--route: {hostname} is not a valid hostname")
    rules = [{"hostname": hostname, "service": service}, {"service": "http_status:404"}]
    try:
        parse_ingress({"ingress": rules})
    except IngressError as error:
        raise CommandFailed(f"--service: {error}") from None
    return rules


def finish(client: ApiClient, tunnel_id: str, credentials: Path, rules: list[dict[str, Any]]) -> None:
    """Route the name and write the config beside the credentials; at a mesh of one's own with its edges and authority.

    Raises:
        CommandFailed: one of both could not be done; the tunnel stays.
    """
    names.route_dns(client, tunnel_id, rules[0]["hostname"], overwrite=False)
    path = credentials.with_suffix(".yml")
    # JSON is YAML, and its quoting fits every path.
    lines = [f"tunnel: {tunnel_id}", f"credentials-file: {json.dumps(str(credentials.absolute()))}"]
    edges, authority, discovery = _edges(client)
    if edges:
        authorities = credentials.with_suffix(".ca.pem")
        _write(authorities, authority)
        # Where the control plane serves DNS the connector follows what comes and goes.
        found = f"edge-discovery: {json.dumps(discovery)}" if discovery else f"edge: {json.dumps(edges)}"
        lines += [found, f"cacert: {json.dumps(str(authorities.absolute()))}"]
    lines.append("ingress:")
    for rule in rules:
        pairs = [f"{key}: {json.dumps(value)}" for key, value in rule.items()]
        lines += [f"  - {pairs[0]}", *(f"    {pair}" for pair in pairs[1:])]
    _write(path, "\n".join(lines) + "\n")
    # Of a mesh whose edges are not known (yet).
    more = "" if edges or client.is_provider else " --edge HOST:PORT --cacert FILE"
    click.echo(f"Config written to {path}. Run it with: pyconnector run {shlex.quote(str(path))}{more}")


def _edges(client: ApiClient) -> tuple[list[str], str, str]:
    """What connectors of a mesh of one's own dial and trust, and where they find changes of it; nothing where its
    control plane does not say."""
    if client.is_provider:
        return [], "", ""
    try:
        told = client.call("list edges", "GET", client.account("edges"))
    except ApiError:
        return [], "", ""
    said = told if isinstance(told, dict) else {}
    edges, authority, discovery = said.get("edges"), said.get("authority"), said.get("discovery")
    if not isinstance(edges, list) or not isinstance(authority, str) or not authority:
        return [], "", ""
    try:
        parse_discovery(str(discovery))
    except ValueError:
        discovery = ""
    found = [edge for edge in edges if isinstance(edge, str) and _EDGE.fullmatch(edge)]
    return found[:MAX_EDGES], authority, str(discovery) if str(discovery).startswith("dns://") else ""


def _write(path: Path, text: str) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise CommandFailed(f"The tunnel is there and routed, but {path} cannot be written: {error.strerror}") from None
