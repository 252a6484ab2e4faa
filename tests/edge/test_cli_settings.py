"""Flags of the edge, and a sentence for each mistake."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from pyconnector.edge import PinSettings, SettingsError
from pyconnector.edge.cli_settings import MAX_SECRET_FILE_BYTES, EdgeFlags, parse_address, settings_from_flags

ID = "11111111-2222-3333-4444-555555555555"
SECRET = b"0123456789abcdef0123456789abcdef"


@pytest.fixture
def secret_file(tmp_path: Path) -> str:
    path = tmp_path / "secret"
    path.write_bytes(base64.b64encode(SECRET) + b"\n")
    return str(path)


@pytest.fixture
def credentials_file(tmp_path: Path) -> str:
    path = tmp_path / "credentials.json"
    values = {"AccountTag": "account", "TunnelID": ID, "TunnelSecret": base64.b64encode(SECRET).decode()}
    path.write_text(json.dumps(values))
    return str(path)


def test_all_of_them_together(secret_file: str, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("a-token-of-some-length\n")
    settings = settings_from_flags(
        EdgeFlags(
            listen="0.0.0.0:7844",
            visitors="[::]:80",
            control="[::1]:9",
            control_token_file=str(token),
            tunnels=(f"{ID}:account:{secret_file}",),
            hostnames=(f"App.test={ID}", f"*.x.test={ID}"),
            tcp=("5432=db.test", f"5433=10.0.0.1:5432@{ID}"),
            ca_dir=str(tmp_path),
            fault_relay=True,
            no_identity=True,
            hide_error_details=True,
            location="here",
            quic_engine="auto",
        )
    )
    assert settings.address == ("0.0.0.0", 7844)
    assert settings.visitors.address == ("::", 80)
    assert (settings.visitors.identity, settings.visitors.error_details) == (False, False)
    assert settings.control is not None
    assert (settings.control.address, settings.control.token) == (("::1", 9), "a-token-of-some-length")
    (tunnel,) = settings.tunnels
    assert (tunnel.account_tag, tunnel.tunnel_id, tunnel.secret) == ("account", UUID(ID), SECRET)
    assert tunnel.hostnames == ("app.test", "*.x.test")
    assert [(port.port, port.destination, port.tunnel_id) for port in settings.tcp_ports] == [
        (5432, "db.test", None),
        (5433, "10.0.0.1:5432", UUID(ID)),
    ]
    assert (settings.ca_directory, settings.fault_relay, settings.location) == (tmp_path, True, "here")
    assert settings.quic.engine == "auto"


def test_a_credentials_file_is_enough(credentials_file: str) -> None:
    for text in (credentials_file, f"{ID}:account:{credentials_file}"):
        (tunnel,) = settings_from_flags(EdgeFlags(tunnels=(text,), control="")).tunnels
        assert (tunnel.account_tag, str(tunnel.tunnel_id), tunnel.secret) == ("account", ID, SECRET)


def test_without_tunnels_only_an_open_edge_starts() -> None:
    with pytest.raises(SettingsError, match="no tunnel is given"):
        settings_from_flags(EdgeFlags())
    settings = settings_from_flags(EdgeFlags(any_credentials=True))
    assert settings.any_credentials
    assert settings.quic.engine == "aioquic"
    with pytest.raises(SettingsError, match="loopback"):
        settings_from_flags(EdgeFlags(any_credentials=True, listen="0.0.0.0:7844"))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"listen": "7844"}, "--listen '7844' is not HOST:PORT"),
        ({"listen": "::1:7844"}, "brackets"),
        ({"protocols": "quic,h2mux"}, "over quic or http2"),
        ({"protocols": ""}, "over quic or http2"),
        ({"listen": "[x]:7844"}, "no IPv6 address"),
        ({"visitors": "a:b"}, "--visitors"),
        ({"visitors": "a:65536"}, "--visitors"),
        ({"control": "0.0.0.0:1"}, "loopback"),
        ({"control_token_file": "/nowhere"}, "cannot be read"),
        ({"hostnames": ("x",)}, "HOSTNAME=TUNNEL-ID"),
        ({"hostnames": ("x=y",)}, "no tunnel id"),
        ({"hostnames": ("x.test=21111111-2222-3333-4444-555555555555",)}, "no --tunnel"),
        ({"hostnames": (f"-x={ID}",)}, "no hostname"),
        ({"tcp": ("db.test",)}, "--tcp"),
        ({"tcp": ("1=",)}, "--tcp"),
        ({"tcp": ("1=a b",)}, "neither a hostname nor"),
        ({"tcp": ("99999=a",)}, "no port"),
        ({"tcp": ("1=10.0.0.1:1@x",)}, "no tunnel id"),
    ],
)
def test_mistakes(secret_file: str, changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence.replace("(", r"\(")):
        settings_from_flags(EdgeFlags(**({"tunnels": (f"{ID}:account:{secret_file}",)} | changes)))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"not base64!", "base64"),
        (b"", "empty secret"),
        (b"{}", "no credentials file"),
        (b'{"AccountTag": 1, "TunnelID": "x", "TunnelSecret": "x"}', "texts"),
        (json.dumps({"AccountTag": "other", "TunnelID": ID, "TunnelSecret": "YQ=="}).encode(), "another tunnel"),
        (b"x" * (MAX_SECRET_FILE_BYTES + 1), "too large"),
    ],
)
def test_secret_files_that_hold_no_secret(tmp_path: Path, content: bytes, sentence: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(SettingsError, match=sentence):
        settings_from_flags(EdgeFlags(tunnels=(f"{ID}:account:{path}",)))


def test_tunnels_that_are_none() -> None:
    for text in ("x", f"{ID}:account", f"{ID}:account:/nowhere"):
        with pytest.raises(SettingsError):
            settings_from_flags(EdgeFlags(tunnels=(text,)))


def test_an_address() -> None:
    assert parse_address("localhost:0", "--x") == ("localhost", 0)
    assert parse_address("[::1]:1", "--x") == ("::1", 1)


def test_places_for_pins_are_read_and_judged() -> None:
    settings = settings_from_flags(EdgeFlags(any_credentials=True, login_pins="file:pins"))
    assert settings.login_pins == PinSettings("file", ("pins",))
    with pytest.raises(SettingsError, match="--login-pins: PINs go to log"):
        settings_from_flags(EdgeFlags(any_credentials=True, login_pins="mail"))


def test_wireguard_needs_the_devices_of_a_control_plane(tmp_path: Path) -> None:
    path, token = tmp_path / "private.json", tmp_path / "token"
    path.write_text(json.dumps({"gateway": {"wireguard": "0.0.0.0"}}))
    token.write_text("a-token-of-some-length\n")
    with pytest.raises(SettingsError, match="--control URL"):
        settings_from_flags(EdgeFlags(any_credentials=True, private_network=str(path)))
    followed = EdgeFlags(control="http://127.0.0.1:7846", control_token_file=str(token), private_network=str(path))
    found = settings_from_flags(followed).gateway
    assert found is not None
    assert found.wireguard == "0.0.0.0"
