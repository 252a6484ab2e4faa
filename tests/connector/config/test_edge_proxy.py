"""Which proxy the edge is reached through: the setting, else the environment; and what goes through none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pyconnector.connector.api.errors import ConfigError
from pyconnector.connector.config import ConnectorConfig, load_config
from tests.connector.configs import RULES, write_config

PROXY = "http://user:hush@proxy.test:3128"


def loaded(directory: Path, environ: dict[str, str], **overrides: Any) -> ConnectorConfig:
    text = RULES + overrides.pop("text", "")
    given = {name.replace("_", "-"): value for name, value in overrides.items()}
    return load_config(str(write_config(directory, text)), given, environ=environ)


def through(config: ConnectorConfig, host: str = "198.51.100.1") -> str:
    return str(config.edge.proxy_to((host, 7844)) or "")


@pytest.mark.parametrize(
    ("environ", "settings", "expected"),
    [
        ({}, {}, ""),
        ({"HTTPS_PROXY": PROXY}, {}, "http://proxy.test:3128"),
        ({"https_proxy": PROXY, "ALL_PROXY": "socks5://other.test"}, {}, "http://proxy.test:3128"),
        ({"HTTPS_PROXY": "", "all_proxy": "socks5h://other.test"}, {}, "socks5://other.test:1080"),
        ({"HTTP_PROXY": PROXY}, {}, ""),
        ({"HTTPS_PROXY": PROXY}, {"edge_proxy": "socks5://mine.test"}, "socks5://mine.test:1080"),
        ({"HTTPS_PROXY": PROXY}, {"edge_proxy": "none"}, ""),
        ({"HTTPS_PROXY": PROXY}, {"text": "edge-proxy: none\n"}, ""),
        ({}, {"text": "edge-proxy: https://mine.test\n"}, "https://mine.test:443"),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "argotunnel.com"}, {}, ""),
        ({"HTTPS_PROXY": PROXY, "no_proxy": "198.51.100.0/24"}, {}, ""),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "*"}, {"edge_proxy": PROXY}, "http://proxy.test:3128"),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "mine.test"}, {"edge": ("a.mine.test:1",)}, ""),
        (
            {"HTTPS_PROXY": PROXY, "NO_PROXY": "mine.test"},
            {"edge": ("a.mine.test", "b.test")},
            "http://proxy.test:3128",
        ),
        ({"HTTPS_PROXY": PROXY}, {"edge": ("localhost:1",)}, ""),
    ],
)
def test_the_setting_counts_and_then_the_environment(
    tmp_path: Path, environ: dict[str, str], settings: dict[str, Any], expected: str
) -> None:
    config = loaded(tmp_path, environ, **settings)
    assert through(config) == expected
    assert not config.warnings
    assert "hush" not in repr(config) + str(config.shown_flags) + str(config.configuration_flags)


def test_this_machine_is_dialled_past_a_proxy_of_the_environment(tmp_path: Path) -> None:
    assert through(loaded(tmp_path, {"HTTPS_PROXY": PROXY}), "127.0.0.1") == ""
    assert through(loaded(tmp_path, {}, edge_proxy=PROXY), "127.0.0.1") == "http://proxy.test:3128"


@pytest.mark.parametrize(
    ("environ", "settings", "warning"),
    [
        ({"HTTPS_PROXY": PROXY}, {"protocol": "quic"}, "HTTPS_PROXY is not used for the edge, since protocol quic"),
        ({"ALL_PROXY": PROXY}, {"post_quantum": True}, "ALL_PROXY is not used for the edge, since post-quantum"),
        ({"https_proxy": "ftp://u:hush@x"}, {}, "https_proxy is not used for the edge: only http, https and socks5"),
    ],
)
def test_a_proxy_of_the_environment_gives_way_with_a_warning(
    tmp_path: Path, environ: dict[str, str], settings: dict[str, Any], warning: str
) -> None:
    config = loaded(tmp_path, environ, **settings)
    assert through(config) == ""
    assert [each.message.startswith(warning) for each in config.warnings] == [True]
    assert "hush" not in config.warnings[0].message


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"edge_proxy": "ftp://u:hush@x"}, "--edge-proxy: this is no proxy: only http, https and socks5 are spoken"),
        ({"text": "edge-proxy: proxy.test\n"}, "edge-proxy: this is no proxy: it lacks its port"),
        ({"text": "edge-proxy: [hush]\n"}, "edge-proxy: expected text, found a secret"),
        ({"edge_proxy": PROXY, "protocol": "quic"}, "protocol quic does not go through a proxy"),
        ({"edge_proxy": PROXY, "post_quantum": True}, "post-quantum does not go through a proxy"),
    ],
)
def test_a_proxy_that_cannot_be_used_stops_the_start(tmp_path: Path, settings: dict[str, Any], error: str) -> None:
    with pytest.raises(ConfigError) as failed:
        loaded(tmp_path, {}, **settings)
    assert error in str(failed.value)
    assert "hush" not in str(failed.value)


def test_the_address_may_be_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "proxy"
    file.write_text(f"{PROXY}\n")
    config = loaded(tmp_path, {"HTTPS_PROXY": "http://other.test:1"}, edge_proxy_file=str(file))
    assert through(config) == "http://proxy.test:3128"
    assert config.edge.proxy is not None
    assert config.edge.proxy.password == b"hush"
    file.write_text("ftp://u:hush@x")
    for path in (file, tmp_path / "absent"):
        with pytest.raises(ConfigError, match="--edge-proxy-file: ") as failed:
            loaded(tmp_path, {}, edge_proxy_file=str(path))
        assert "hush" not in str(failed.value)
