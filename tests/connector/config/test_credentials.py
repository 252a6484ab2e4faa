from __future__ import annotations

import json
from pathlib import Path
from uuid import UUID

import pytest

from pyconnector.connector.config import credentials, load_config
from pyconnector.connector.config.credentials import CredentialsError
from tests.connector.configs import (
    ACCOUNT,
    RULES,
    SECRET,
    SECRET_TEXT,
    TUNNEL_ID,
    load,
    problems,
    token,
    write_config,
    write_credentials,
)

OTHER = "11111111-2222-3333-4444-555555555555"


def test_a_credentials_file_is_read_whatever_the_case_of_its_keys(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    path.write_text(
        json.dumps({"accounttag": ACCOUNT, "TUNNELSECRET": SECRET_TEXT, "tunnelid": str(TUNNEL_ID), "x": 1})
    )
    found = credentials.from_file(str(path))
    assert (found.account_tag, found.secret, found.tunnel_id, found.endpoint) == (ACCOUNT, SECRET, TUNNEL_ID, "")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("not json", "not valid JSON"),
        ("[" * 60_000, "not valid JSON"),
        ("[]", "not a JSON object"),
        ('{"AccountTag": "a"}', "lack TunnelSecret"),
        (
            json.dumps({"AccountTag": "a", "TunnelSecret": "%%%", "TunnelID": str(TUNNEL_ID)}),
            "TunnelSecret is not base64",
        ),
        (json.dumps({"AccountTag": "a", "TunnelSecret": SECRET_TEXT, "TunnelID": "x"}), "TunnelID is not a UUID"),
        (json.dumps({"AccountTag": 5, "TunnelSecret": SECRET_TEXT, "TunnelID": str(TUNNEL_ID)}), "lack AccountTag"),
    ],
)
def test_what_is_wrong_with_credentials_is_one_sentence_without_the_secret(
    tmp_path: Path, content: str, sentence: str
) -> None:
    path = tmp_path / "c.json"
    path.write_text(content)
    with pytest.raises(CredentialsError, match=sentence) as caught:
        credentials.from_file(str(path))
    assert SECRET_TEXT not in str(caught.value)


def test_files_that_cannot_be_read_say_so(tmp_path: Path) -> None:
    with pytest.raises(CredentialsError, match="does not exist"):
        credentials.from_file(str(tmp_path / "none.json"))
    with pytest.raises(CredentialsError, match="cannot be read"):
        credentials.from_file(str(tmp_path))
    large = tmp_path / "large.json"
    large.write_bytes(b" " * (credentials.MAX_FILE_BYTES + 1))
    with pytest.raises(CredentialsError, match="larger than"):
        credentials.from_file(str(large))
    pem = tmp_path / "cert.pem"
    pem.write_text("-----BEGIN")
    with pytest.raises(CredentialsError, match="proves an account"):
        credentials.from_file(str(pem))


def test_a_secret_others_may_read_is_warned_of(tmp_path: Path) -> None:
    path = write_credentials(tmp_path)
    assert credentials.permission_warning(str(path)) is None
    path.chmod(0o644)
    assert "mode 0644" in (credentials.permission_warning(str(path)) or "")
    assert any("mode 0644" in warning.message for warning in load_config(str(_config(tmp_path, path))).warnings)


def _config(directory: Path, path: Path) -> Path:
    config = directory / "config.yml"
    config.write_text(f"credentials-file: {path}\n{RULES}")
    return config


def test_a_token_beats_the_credentials_file_and_needs_none(tmp_path: Path) -> None:
    config = load_config(
        str(write_config(tmp_path, f"credentials-file: /none\n{RULES}", credentials=False)), {"token": token()}
    )
    assert config.credentials.tunnel_id == TUNNEL_ID
    assert config.credentials.secret == SECRET


def test_a_token_file_is_read_and_trimmed(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(f"\n {token()} \n")
    config = load_config(str(write_config(tmp_path, RULES, credentials=False)), {"token-file": str(path)})
    assert config.credentials.account_tag == ACCOUNT
    path.write_text("nonsense")
    assert "not valid" in problems(tmp_path, RULES, token_file=str(path))[0]


def test_credentials_contents_beat_the_file(tmp_path: Path) -> None:
    contents = json.dumps({"AccountTag": "other", "TunnelSecret": SECRET_TEXT, "TunnelID": OTHER})
    config = load(tmp_path, RULES, credentials_contents=contents)
    assert config.credentials.account_tag == "other"
    assert config.credentials.tunnel_id == UUID(OTHER)


def test_the_tunnel_of_the_config_counts_and_a_difference_is_said(tmp_path: Path) -> None:
    config = load(tmp_path, f"tunnel: {OTHER}\n{RULES}")
    assert config.credentials.tunnel_id == UUID(OTHER)
    assert any("those of tunnel" in warning.message for warning in config.warnings)


def test_a_tunnel_named_in_words_is_the_one_of_the_credentials(tmp_path: Path) -> None:
    assert load(tmp_path, f"tunnel: attic\n{RULES}").credentials.tunnel_id == TUNNEL_ID


def test_the_region_of_the_credentials_is_looked_up(tmp_path: Path) -> None:
    path = write_credentials(tmp_path, Endpoint="us")
    assert load_config(str(_config(tmp_path, path))).edge.region == "us"


def test_no_credentials_are_one_sentence_that_says_what_to_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    path = tmp_path / "none.yml"
    path.write_text(RULES)
    with pytest.raises(Exception, match="set credentials-file, or give TUNNEL_TOKEN"):
        load_config(str(path))


def test_credentials_are_found_by_the_tunnels_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".cloudflared").mkdir()
    write_credentials(tmp_path).rename(tmp_path / ".cloudflared" / f"{TUNNEL_ID}.json")
    config = tmp_path / "config.yml"
    config.write_text(f"tunnel: {TUNNEL_ID}\n{RULES}")
    assert load_config(str(config)).credentials.secret == SECRET
