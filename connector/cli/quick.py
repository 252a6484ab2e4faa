"""A quick tunnel: `tunnel --url URL` asks a service for a tunnel of the moment and connects (reference/cli.md 4)."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import re
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import UUID

import click

from pyconnector.connector.api.errors import ConfigError, StartFailed
from pyconnector.connector.cli.options import overrides_of
from pyconnector.connector.cli.service import serve
from pyconnector.connector.config import ConnectorConfig, Credentials, Problem
from pyconnector.connector.observe.log import Log
from pyconnector.connector.version import VERSION
from pyconnector.transport.tls.client_context import client_context

if TYPE_CHECKING:
    from pyconnector.connector.observe.observer import Observer

#: The reference's.
DEFAULT_SERVICE = "https://api.trycloudflare.com"
#: Seconds for the answer.
TIMEOUT = 15.0
#: Bytes of it.
MAX_ANSWER = 256 * 1024
#: Edges taken from it.
MAX_EDGES = 100
_HOSTNAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
_EDGE = re.compile(r"[A-Za-z0-9_.:\[\]-]{1,255}")

_log = Log("quick tunnel")


@dataclass(frozen=True, slots=True, kw_only=True)
class QuickTunnel:
    """What the service gave."""

    credentials: Credentials
    hostname: str
    edges: tuple[str, ...] = ()
    "HOST:PORT of each edge; empty for those that are looked up."
    authority: str = field(default="", repr=False)
    "What vouches for them; empty for the authorities that are known anyway."
    visitors: str = ""
    "Where visitors are served, without a path; empty for https at the default port."

    @property
    def url(self) -> str:
        """What a visitor opens."""
        if not self.visitors:
            return f"https://{self.hostname}"
        parts = urlsplit(self.visitors)
        return f"{parts.scheme}://{self.hostname}" + (f":{parts.port}" if parts.port else "")


def ask(service: str) -> QuickTunnel:
    """Ask for a tunnel.

    Raises:
        ConfigError: the address of the service is none.
        StartFailed: it gave none.
    """
    try:
        parts = urlsplit(service)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable = False
    if not usable:
        raise ConfigError([Problem(message="--quick-service is a URL that begins with http:// or https://")])
    request = urllib.request.Request(
        service.rstrip("/") + "/tunnel",
        data=b"",
        headers={"Content-Type": "application/json", "User-Agent": f"pyconnector/{VERSION}"},
        method="POST",
    )
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=client_context())
    )
    try:
        with opener.open(request, timeout=TIMEOUT) as response:
            data = response.read(MAX_ANSWER)
    except urllib.error.HTTPError as error:
        with error:
            data = error.read(MAX_ANSWER)
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        if isinstance(reason, OSError):
            reason = reason.strerror or reason  # without its number
        raise StartFailed(f"no quick tunnel: {parts.hostname} cannot be asked: {reason}") from None
    return parse(data)


def parse(data: bytes) -> QuickTunnel:
    """Return what an answer says.

    Raises:
        StartFailed: it holds no tunnel.
    """
    try:
        answer = json.loads(data)
    except (ValueError, RecursionError):
        raise StartFailed("no quick tunnel: the answer of the service is not JSON") from None
    result = answer.get("result") if isinstance(answer, dict) else None
    if not isinstance(result, dict):
        raise StartFailed(f"no quick tunnel: {_reasons(answer)}")
    try:
        hostname = result["hostname"].lower()
        credentials = Credentials(
            account_tag=_text(result["account_tag"]),
            tunnel_id=UUID(result["id"]),
            secret=base64.b64decode(_text(result["secret"]), validate=True),
        )
        if len(hostname) > 253 or not _HOSTNAME.fullmatch(hostname):
            raise ValueError
        edges = tuple(edge for edge in result.get("edges") or () if _EDGE.fullmatch(edge))[:MAX_EDGES]
        visitors = result.get("visitors") or ""
        if visitors and urlsplit(visitors).scheme not in ("http", "https"):
            raise ValueError
        authority = result.get("authority") or ""
        return QuickTunnel(
            credentials=credentials, hostname=hostname, edges=edges, authority=authority, visitors=visitors
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        # Without its cause, which could quote the secret.
        raise StartFailed("no quick tunnel: the answer of the service lacks a value, or has a wrong one") from None


class QuickRun:
    """A connector of a quick tunnel, as `connector.cli.run` runs one."""

    def __init__(self, tunnel: QuickTunnel, *, one_connection: bool) -> None:
        self.tunnel = tunnel
        self.credentials = tunnel.credentials
        self._one_connection = one_connection

    @classmethod
    def make(cls, given: Mapping[str, Any]) -> QuickRun:
        """Ask the service that the flags name.

        Raises:
            ConfigError, StartFailed: as `ask`.
        """
        flags = overrides_of(given)
        service = flags.get("quick-service") or DEFAULT_SERVICE
        return cls(ask(service), one_connection="ha-connections" not in flags)

    async def serve(
        self,
        config: ConnectorConfig,
        read_config: Callable[[], ConnectorConfig],
        *,
        observers: Sequence[Observer] = (),
    ) -> int:
        """Connect until a signal. Cancel stops at once.

        Raises:
            ConnectorError: it could not be started, or failed.
        """
        with contextlib.ExitStack() as stack:
            ca_file = self._authority_file(stack)

            def dialling(config: ConnectorConfig) -> ConnectorConfig:
                edge = config.edge
                if not edge.addresses and self.tunnel.edges:
                    edge = replace(edge, addresses=self.tunnel.edges, ca_file=edge.ca_file or ca_file)
                lifecycle = config.lifecycle
                if self._one_connection:
                    lifecycle = replace(lifecycle, ha_connections=1)
                return replace(config, edge=edge, lifecycle=lifecycle)

            return await serve(
                dialling(config), lambda: dialling(read_config()), lambda: announce(self.tunnel), observers=observers
            )

    def _authority_file(self, stack: contextlib.ExitStack) -> str | None:
        if not self.tunnel.authority:
            return None
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="pyconnector-quick-"))
        path = Path(directory) / "ca.pem"
        path.write_text(self.tunnel.authority, encoding="utf-8")
        return str(path)


def announce(tunnel: QuickTunnel) -> None:
    """Print the name: what to open, a line to copy, and on a terminal a QR code where there is a library for it."""
    lines = [
        "Your quick tunnel is there for as long as this runs:",
        "",
        f"  {tunnel.url}",
        "",
        f"  curl {tunnel.url}/",
    ]
    click.echo("\n".join(["", *lines, ""]))
    if sys.stdout.isatty() and (picture := qr_code(tunnel.url)):
        click.echo(picture)


def qr_code(text: str) -> str:
    """Return a QR code of half blocks for a terminal; empty where the library is not installed."""
    try:
        import segno
    except ImportError:
        return ""
    rows = [[bool(bit) for bit in row] for row in segno.make(text, micro=False).matrix_iter(border=2)]
    if len(rows) % 2:
        rows.append([False] * len(rows[0]))
    # Light is drawn, since terminals are mostly dark; readers take either.
    blocks = {(False, False): "█", (False, True): "▀", (True, False): "▄", (True, True): " "}
    pairs = zip(rows[::2], rows[1::2], strict=True)
    return "\n".join("".join(blocks[pair] for pair in zip(upper, lower, strict=True)) for upper, lower in pairs)


def _reasons(answer: object) -> str:
    errors = answer.get("errors") if isinstance(answer, dict) else None
    told = [error.get("message") for error in errors if isinstance(error, dict)] if isinstance(errors, list) else []
    # Of a stranger: shown in one line without control characters.
    return repr("; ".join(text for text in told if isinstance(text, str))[:300]) if told else "the service gave none"


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError
    return value
