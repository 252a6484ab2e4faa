"""`cert.pem`: ours is read as the reference reads its own."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from pyconnector.connector.cli.account.errors import CommandFailed
from pyconnector.connector.cli.account.origin_cert import find_origin_cert, parse_origin_cert
from pyconnector.control.login.cert_pem import OriginCert, encode

PATH = Path("cert.pem")
OTHER = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"


def pem(fields: object, kind: str = "ARGO TUNNEL TOKEN") -> str:
    payload = base64.b64encode(json.dumps(fields).encode()).decode()
    return f"-----BEGIN {kind}-----\n{payload}\n-----END {kind}-----\n"


def test_what_the_control_plane_writes_is_read() -> None:
    text = encode(OriginCert(zone_id="z" * 32, account_id="a" * 32, api_token="t" * 40))
    assert max(len(line) for line in text.splitlines()) == 64
    cert = parse_origin_cert(OTHER + text, PATH)
    assert (cert.zone_id, cert.account_id, cert.api_token, cert.endpoint) == ("z" * 32, "a" * 32, "t" * 40, "")
    assert cert.api_token not in repr(cert)


GOOD = {"zoneID": "z", "accountID": "a", "apiToken": "secret"}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "missing token"),
        (OTHER, "missing token"),
        (pem(GOOD) + pem(GOOD), "multiple tokens"),
        (pem(GOOD, "SOMETHING ELSE"), "unknown block SOMETHING ELSE"),
        (pem({**GOOD, "zoneID": ""}), "missing token"),
        (pem({**GOOD, "apiToken": ""}), "missing token"),
        (pem({**GOOD, "apiToken": 7}), "missing token"),
        (pem({**GOOD, "accountID": ""}), "log in again"),
        (pem(["secret"]), "missing token"),
        (pem(GOOD).replace("=", "!"), "missing token"),
    ],
)
def test_what_is_no_certificate_is_one_sentence(text: str, sentence: str) -> None:
    with pytest.raises(CommandFailed, match=sentence) as raised:
        parse_origin_cert(text, PATH)
    assert "secret" not in raised.value.message


def test_the_endpoint_is_read_in_lower_case() -> None:
    assert parse_origin_cert(pem({**GOOD, "endpoint": "FED"}), PATH).endpoint == "fed"


def test_the_directories_of_a_mesh_are_looked_at_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    found = []
    for directory in (".pyconnector", ".cloudflared"):  # the reference's counts where there are both
        (tmp_path / directory).mkdir()
        (tmp_path / directory / "cert.pem").write_text(pem({**GOOD, "accountID": directory}))
        found.append(find_origin_cert(None).account_id)
    assert found == [".pyconnector", ".cloudflared"]
