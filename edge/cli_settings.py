"""Turn the flags of `pyconnector edge` into `EdgeSettings`, with a sentence for each mistake. Reads secret files."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

from pyconnector.edge.audit.flags import AuditFlags, audit_settings
from pyconnector.edge.settings import (
    CertificatePair,
    ControlSettings,
    DirectorySettings,
    EdgeSettings,
    JoinSettings,
    SettingsError,
    TcpPort,
    TunnelSettings,
    VisitorSettings,
)
from pyconnector.transport.settings import QuicSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyconnector.edge.access.login.sinks import PinSettings
    from pyconnector.edge.private.file import PrivateFile
    from pyconnector.edge.settings import HostPort

#: Bytes of a file that may hold a secret.
MAX_SECRET_FILE_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeFlags:
    """The flags as a user writes them, with their defaults."""

    listen: str = "127.0.0.1:7844"
    protocols: str = "quic,http2"
    visitors: str = "127.0.0.1:8080"
    visitors_tls: str = ""
    "The address for visitors over TLS; empty for none."
    tls_certs: tuple[str, ...] = ()
    tls_keys: tuple[str, ...] = ()
    "Files, in pairs."
    trusted_proxies: tuple[str, ...] = ()
    "Networks of proxies that end TLS in front of this edge."
    control: str = "127.0.0.1:7845"
    "A control plane's URL; or the address of the debug API, as before there was one. Empty for neither."
    debug_api: str = ""
    "The address of the debug API of an edge that follows a control plane."
    join: bool = False
    "Be one of several edges of that control plane."
    peers: str = ""
    "The address for other edges; empty for any free port of the host of `listen`."
    advertise: str = ""
    snapshot: str = ""
    "The file that keeps the last snapshot of the control plane."
    control_token_file: str = ""
    tunnels: tuple[str, ...] = ()
    "ID:ACCOUNT:SECRET-FILE, or the path of a credentials file."
    hostnames: tuple[str, ...] = ()
    "HOSTNAME=TUNNEL-ID"
    tcp: tuple[str, ...] = ()
    "PORT=HOSTNAME or PORT=IP:PORT, perhaps followed by @TUNNEL-ID"
    ca_dir: str = ""
    audit: AuditFlags = field(default_factory=AuditFlags)
    login_pins: str = ""
    "log, file:PATH or command:PROGRAM ARGUMENTS"
    any_credentials: bool = False
    private_network: str = ""
    "A JSON file with private routes, names, tokens and rules."
    fault_relay: bool = False
    no_identity: bool = False
    hide_error_details: bool = False
    location: str = "local"
    quic_engine: str = "aioquic"


def settings_from_flags(flags: EdgeFlags) -> EdgeSettings:
    """Return what the flags say.

    Raises:
        SettingsError: a flag is malformed, or a file cannot be read.
    """
    hostnames = _hostnames(flags.hostnames)
    tunnels = tuple(_tunnel(text, hostnames) for text in flags.tunnels)
    if hostnames:
        raise SettingsError(f"--hostname names tunnel {next(iter(hostnames))}, which no --tunnel gives")
    follows = flags.control.startswith(("http://", "https://"))
    if follows and (tunnels or flags.any_credentials):
        raise SettingsError("an edge that follows a control plane knows its tunnels from there: no --tunnel beside it")
    if flags.join and not follows:
        raise SettingsError("--join needs the control plane to join: --control URL")
    if not follows and not tunnels and not flags.any_credentials:
        raise SettingsError(
            "no tunnel is given: use --tunnel ID:ACCOUNT:SECRET-FILE, or --any-credentials to try things out"
        )
    token = _read(flags.control_token_file).decode("ascii", "replace").strip() if flags.control_token_file else None
    debug_api = flags.debug_api or ("" if follows else flags.control)
    if follows and token is None:
        raise SettingsError("--control URL needs --control-token-file: the control plane's `edge-token`")
    private = private_file(flags.private_network)
    if private is not None and private.gateway is not None and private.gateway.wireguard and not follows:
        raise SettingsError("WireGuard needs a control plane, which has the devices: --control URL")
    return EdgeSettings(
        private_routes=private.routes if private else (),
        private_hostnames=private.hostnames if private else (),
        gateway=private.gateway if private else None,
        address=parse_address(flags.listen, "--listen"),
        protocols=tuple(name.strip().lower() for name in flags.protocols.split(",")),
        visitors=VisitorSettings(
            address=parse_address(flags.visitors, "--visitors"),
            tls_address=parse_address(flags.visitors_tls, "--visitors-tls") if flags.visitors_tls else None,
            certificates=certificate_pairs(flags.visitors_tls, flags.tls_certs, flags.tls_keys),
            trusted_proxies=proxy_networks(flags.trusted_proxies),
            identity=not flags.no_identity,
            error_details=not flags.hide_error_details,
        ),
        control=ControlSettings(
            address=parse_address(debug_api, "--debug-api" if flags.debug_api else "--control"),
            token=None if follows else token,
        )
        if debug_api
        else None,
        directory=DirectorySettings(
            url=flags.control,
            token=token or "",
            cache=Path(flags.snapshot) if flags.snapshot else None,
            name=flags.location,
            join=_join(flags),
        )
        if follows
        else None,
        tunnels=tunnels,
        tcp_ports=tuple(_tcp_port(text) for text in flags.tcp),
        ca_directory=Path(flags.ca_dir) if flags.ca_dir else None,
        login_pins=login_settings(flags.login_pins),
        audit=audit_settings(flags.audit),
        any_credentials=flags.any_credentials,
        fault_relay=flags.fault_relay,
        location=flags.location,
        quic=QuicSettings(engine=flags.quic_engine),
    )


def private_file(path: str) -> PrivateFile | None:
    """Return what the file of --private-network says; None where none is named.

    Raises:
        SettingsError: it cannot be read, or makes no sense.
    """
    if not path:
        return None
    from pyconnector.edge.private.file import read_private_file  # only where there is one

    return read_private_file(Path(path), parse_address)


def _join(flags: EdgeFlags) -> JoinSettings | None:
    if not flags.join:
        if flags.peers or flags.advertise:
            raise SettingsError("--peers and --advertise are for an edge with --join")
        return None
    listen = parse_address(flags.peers, "--peers") if flags.peers else (parse_address(flags.listen, "--listen")[0], 0)
    return JoinSettings(listen=listen, advertise=flags.advertise)


def login_settings(text: str) -> PinSettings | None:
    """Return where --login-pins lets PINs go.

    Raises:
        SettingsError: it says nothing of the kind.
    """
    from pyconnector.edge.access.login.sinks import SinkError, pin_settings

    try:
        return pin_settings(text)
    except SinkError as error:
        raise SettingsError(f"--login-pins: {error}") from error


def proxy_networks(texts: Sequence[str]) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
    """Return the networks that `--trusted-proxy` names.

    Raises:
        SettingsError: one is none, or holds everybody.
    """
    found = []
    for text in texts:
        try:
            network = ipaddress.ip_network(text)
        except ValueError:
            raise SettingsError(f"--trusted-proxy {text!r} is no address and no network such as 10.0.0.0/8") from None
        if network.prefixlen == 0:
            raise SettingsError(f"--trusted-proxy {text} is everybody: anyone could say that they came over TLS")
        found.append(network)
    return tuple(found)


def certificate_pairs(address: str, certs: Sequence[str], keys: Sequence[str]) -> tuple[CertificatePair, ...]:
    """Return the pairs that `--tls-cert` and `--tls-key` name, in their order.

    Raises:
        SettingsError: one half is missing, or the address.
    """
    if len(certs) != len(keys):
        raise SettingsError("each --tls-cert needs its --tls-key, in the same order")
    if bool(certs) != bool(address):
        raise SettingsError("--visitors-tls, --tls-cert and --tls-key go together")
    return tuple(CertificatePair(certificate=Path(cert), key=Path(key)) for cert, key in zip(certs, keys, strict=True))


def parse_address(text: str, flag: str) -> HostPort:
    """Return host and port of HOST:PORT; an IPv6 host stands in brackets.

    Raises:
        SettingsError: it is malformed; the sentence begins with `flag`.
    """
    host, _, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            raise SettingsError(f"{flag} {text!r}: there is no IPv6 address in the brackets") from None
    elif ":" in host:
        raise SettingsError(f"{flag} {text!r}: an IPv6 address goes into brackets")
    if not host or not (port.isascii() and port.isdigit() and int(port) <= 65535):
        raise SettingsError(f"{flag} {text!r} is not HOST:PORT")
    return host, int(port)


def _hostnames(texts: tuple[str, ...]) -> dict[UUID, list[str]]:
    found: dict[UUID, list[str]] = {}
    for text in texts:
        name, _, tunnel_id = text.rpartition("=")
        if not name:
            raise SettingsError(f"--hostname {text!r} is not HOSTNAME=TUNNEL-ID")
        found.setdefault(_uuid(tunnel_id, "--hostname"), []).append(name.lower())
    return found


def _tunnel(text: str, hostnames: dict[UUID, list[str]]) -> TunnelSettings:
    parts = text.split(":", 2)
    if len(parts) == 3 and _is_uuid(parts[0]):
        tunnel_id, account, path = _uuid(parts[0], "--tunnel"), parts[1], parts[2]
        secret = _secret(path, tunnel_id, account)
    elif Path(text).is_file():
        credentials = _credentials(_read(text), text)
        account, tunnel_id, secret = credentials
    elif ":" not in text:
        what = "is no file" if Path(text).exists() else "does not exist"
        raise SettingsError(f"--tunnel: the credentials file {text} {what}")
    else:
        raise SettingsError(f"--tunnel {text!r} is neither ID:ACCOUNT:SECRET-FILE nor a credentials file")
    return TunnelSettings(
        account_tag=account, tunnel_id=tunnel_id, secret=secret, hostnames=tuple(hostnames.pop(tunnel_id, ()))
    )


def _secret(path: str, tunnel_id: UUID, account: str) -> bytes:
    data = _read(path).strip()
    if data.startswith(b"{"):
        found_account, found_id, secret = _credentials(data, path)
        if (found_account, found_id) != (account, tunnel_id):
            raise SettingsError(f"{path} holds the credentials of another tunnel than {tunnel_id} of {account}")
        return secret
    return _decoded(data, path)


def _credentials(data: bytes, path: str) -> tuple[str, UUID, bytes]:
    try:
        parsed = json.loads(data)
        account, tunnel_id, secret = parsed["AccountTag"], parsed["TunnelID"], parsed["TunnelSecret"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise SettingsError(f"{path} is no credentials file with AccountTag, TunnelID and TunnelSecret") from None
    if not all(isinstance(value, str) for value in (account, tunnel_id, secret)):
        raise SettingsError(f"{path} is no credentials file: its values are texts")
    return account, _uuid(tunnel_id, path), _decoded(secret.encode("utf-8", "replace"), path)


def _decoded(data: bytes, path: str) -> bytes:
    try:
        return base64.b64decode(data, validate=True)
    except binascii.Error:
        raise SettingsError(f"{path} does not hold a secret in base64") from None


def _tcp_port(text: str) -> TcpPort:
    port, _, rest = text.partition("=")
    destination, at, tunnel_id = rest.partition("@")
    if not rest or not (port.isascii() and port.isdigit()):
        raise SettingsError(f"--tcp {text!r} is not PORT=HOSTNAME or PORT=IP:PORT")
    return TcpPort(port=int(port), destination=destination.lower(), tunnel_id=_uuid(tunnel_id, "--tcp") if at else None)


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def _uuid(text: str, where: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise SettingsError(f"{where}: {text!r} is no tunnel id") from None


def _read(path: str) -> bytes:
    try:
        with Path(path).open("rb") as file:
            data = file.read(MAX_SECRET_FILE_BYTES + 1)
    except OSError as exc:
        raise SettingsError(f"{path} cannot be read: {exc.strerror or exc}") from None
    if len(data) > MAX_SECRET_FILE_BYTES:
        raise SettingsError(f"{path} is too large to hold a secret")
    return data
