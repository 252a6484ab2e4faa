"""The private network of an edge without a control plane, read from a JSON file: routes, names, tokens, rules."""

from __future__ import annotations

import datetime
import ipaddress
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar
from uuid import UUID

from pyconnector.edge.private.gateway.settings import GatewaySettings
from pyconnector.edge.settings import HostPort, PrivateHostname, PrivateRoute, SettingsError
from pyconnector.identity.network_rules import MAX_RULES, RuleError, parse_rule
from pyconnector.identity.service_tokens import SecretDigest, ServiceToken, check_names, is_client_id

#: Bytes of the file that are read.
MAX_FILE: Final = 4 * 1024 * 1024

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivateFile:
    """What the file says."""

    routes: tuple[PrivateRoute, ...]
    hostnames: tuple[PrivateHostname, ...]
    gateway: GatewaySettings | None


def read_private_file(path: Path, parse_address: Callable[[str, str], HostPort]) -> PrivateFile:
    """Read the file; paths in it are relative to it.

    Raises:
        SettingsError: it cannot be read, or says something that makes no sense, with its place.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE + 1)
    except OSError as exc:
        raise SettingsError(f"{path} cannot be read: {exc.strerror or exc}") from exc
    if len(data) > MAX_FILE:
        raise SettingsError(f"{path} is larger than {MAX_FILE} bytes")
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as exc:
        raise SettingsError(f"{path} is no JSON: {exc}") from exc
    reader = _Reader(path, parse_address)
    top = reader.mapping(value, "the file", {"routes", "names", "gateway"})
    return PrivateFile(
        routes=reader.each(top, "routes", reader.route),
        hostnames=reader.each(top, "names", reader.name),
        gateway=reader.gateway(top["gateway"]) if "gateway" in top else None,
    )


class _Reader:
    def __init__(self, path: Path, parse_address: Callable[[str, str], HostPort]) -> None:
        self._path = path
        self._parse_address = parse_address

    def wrong(self, place: str, why: str) -> SettingsError:
        return SettingsError(f"{self._path}: {place}: {why}")

    def mapping(self, value: object, place: str, keys: set[str]) -> Mapping[str, Any]:
        if not isinstance(value, dict):
            raise self.wrong(place, "an object is needed")
        if unknown := sorted(set(value) - keys):
            raise self.wrong(place, f"{unknown[0]!r} is unknown; known are {', '.join(sorted(keys))}")
        return value

    def each(self, top: Mapping[str, Any], key: str, read: Callable[[object, str], _T]) -> tuple[_T, ...]:
        values = top.get(key, [])
        if not isinstance(values, list):
            raise self.wrong(key, "a list is needed")
        return tuple(read(value, f"{key}[{index}]") for index, value in enumerate(values))

    def text(self, value: Mapping[str, Any], key: str, place: str, default: str | None = None) -> str:
        found = value.get(key, default)
        if not isinstance(found, str) or (not found and default is None):
            raise self.wrong(place, f"{key} is missing, or no text")
        return found

    def tunnel(self, value: Mapping[str, Any], place: str) -> UUID:
        try:
            return UUID(self.text(value, "tunnel", place))
        except ValueError:
            raise self.wrong(place, "tunnel is no tunnel id") from None

    def route(self, value: object, place: str) -> PrivateRoute:
        given = self.mapping(value, place, {"network", "tunnel", "virtual_network"})
        text = self.text(given, "network", place)
        try:
            network = ipaddress.ip_network(text)
        except ValueError:
            raise self.wrong(place, f"{text!r} is no network, such as 10.0.0.0/8") from None
        name = self.text(given, "virtual_network", place, "default")
        return PrivateRoute(network=network, tunnel_id=self.tunnel(given, place), virtual_network=name)

    def name(self, value: object, place: str) -> PrivateHostname:
        given = self.mapping(value, place, {"name", "tunnel"})
        hostname = self.text(given, "name", place).lower()
        return PrivateHostname(hostname=hostname, tunnel_id=self.tunnel(given, place))

    def gateway(self, value: object) -> GatewaySettings:
        place = "gateway"
        if isinstance(value, dict) and "records" in value:
            raise self.wrong("gateway.records", "flows are recorded where everything is: `edge --audit-dir`")
        given = self.mapping(
            value, place, {"http", "socks", "http3", "wireguard", "audiences", "tls", "tokens", "rules"}
        )
        rules = given.get("rules", [])
        if not isinstance(rules, list) or len(rules) > MAX_RULES:
            raise self.wrong("gateway.rules", f"a list of at most {MAX_RULES} rules is needed")
        parsed = []
        for index, rule in enumerate(rules):
            if not isinstance(rule, dict):
                raise self.wrong(f"gateway.rules[{index}]", "an object is needed")
            try:
                parsed.append(parse_rule(str(rule.get("id", index)), rule))
            except RuleError as exc:
                raise self.wrong(f"gateway.rules[{index}]", str(exc)) from exc
        tls = given.get("tls")
        certificate = key = None
        names: tuple[str, ...] = ()
        if isinstance(tls, dict):
            files = self.mapping(tls, "gateway.tls", {"certificate", "key", "names"})
            if "names" in files:
                names = self.each(files, "names", lambda name, where: str(name))
            else:
                certificate = self._path.parent / self.text(files, "certificate", "gateway.tls")
                key = self._path.parent / self.text(files, "key", "gateway.tls")
        elif tls not in {None, "own"}:
            raise self.wrong("gateway.tls", 'files are needed, {"names": [...]}, or "own"')
        http3 = given.get("http3", True)
        if not isinstance(http3, bool):
            raise self.wrong("gateway.http3", "true or false is needed")
        return GatewaySettings(
            http3=http3,
            http=self._address(given, "http"),
            socks=self._address(given, "socks"),
            wireguard=self.text(given, "wireguard", "gateway", ""),
            audiences=self.each(given, "audiences", self.audience),
            tokens=self.each(given, "tokens", self.token),
            rules=tuple(parsed),
            certificate=certificate,
            key=key,
            own_certificate=tls is not None and certificate is None,
            names=names,
        )

    def audience(self, value: object, place: str) -> str:
        if not isinstance(value, str) or not re.fullmatch("[0-9a-f]{64}", value):
            raise self.wrong(f"gateway.{place}", "an application's audience is needed: its 64 hexadecimal digits")
        return value

    def token(self, value: object, place: str) -> ServiceToken:
        place = f"gateway.{place}"
        known = {"client_id", "name", "secret_sha256", "role", "labels", "owner", "enabled", "expires"}
        given = self.mapping(value, place, known)
        client_id = self.text(given, "client_id", place)
        if not is_client_id(client_id):
            raise self.wrong(place, f"{client_id[:100]!r} is no client id: make one with `pyconnector edge new-token`")
        try:
            digest = bytes.fromhex(self.text(given, "secret_sha256", place))
        except ValueError:
            digest = b""
        if len(digest) != 32:
            raise self.wrong(place, "secret_sha256 is not the SHA-256 of a secret, in 64 hexadecimal digits")
        labels = self.each(given, "labels", lambda label, where: label if isinstance(label, str) else "")
        role, owner = self.text(given, "role", place, ""), self.text(given, "owner", place, "")
        try:
            check_names(role, labels, owner)
        except ValueError as exc:
            raise self.wrong(place, str(exc)) from None
        enabled = given.get("enabled", True)
        if not isinstance(enabled, bool):
            raise self.wrong(place, "enabled is true or false")
        return ServiceToken(
            id=client_id, client_id=client_id, name=self.text(given, "name", place),
            secrets=(SecretDigest(sha256=digest),), enabled=enabled, expires=self._moment(given, place), role=role,
            labels=frozenset(labels), owner=owner,
        )  # fmt: skip

    def _moment(self, given: Mapping[str, Any], place: str) -> float | None:
        if "expires" not in given:
            return None
        text = self.text(given, "expires", place)
        try:
            moment = datetime.datetime.fromisoformat(text)
        except ValueError:
            moment = None
        if moment is None or moment.tzinfo is None:
            raise self.wrong(place, f"expires {text[:50]!r} is no moment, such as 2027-01-31T00:00:00Z")
        return moment.timestamp()

    def _address(self, given: Mapping[str, Any], key: str) -> HostPort | None:
        if key not in given:
            return None
        return self._parse_address(self.text(given, key, "gateway"), f"{self._path}: gateway.{key}")
