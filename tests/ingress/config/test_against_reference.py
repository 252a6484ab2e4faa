"""The same configs through a genuine cloudflared (where PYCONNECTOR_CLOUDFLARED names one) and through ours.

The configs are drawn with a fixed seed; PYCONNECTOR_SEED draws others.
"""

import json
import os
import random
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from pyconnector.ingress import IngressError, parse_ingress
from pyconnector.ingress.rules.hostnames import comparable, lookup_form

BINARY = os.environ.get("PYCONNECTOR_CLOUDFLARED", "")
SEED = int(os.environ.get("PYCONNECTOR_SEED", "20240601"))
CONFIGS = 120
pytestmark = [
    pytest.mark.reference,
    pytest.mark.skipif(not BINARY, reason="PYCONNECTOR_CLOUDFLARED names no cloudflared to compare with"),
]

SCHEMES = ["http://", "https://", "ws://", "tcp://", "ssh://", "foo://", "HTTP://", "1x://", "http:", "//", ""]
USERS = ["", "", "u@", "u:p@", "u:p:q@", "u%zz@"]
HOSTS = [
    "localhost",
    "[::1]",
    "::1",
    "a b",
    "bücher.de",
    "%E4%B8%96",
    "[fe80::1%25eth0]",
    "[1.2.3.4]",
    "",
    "a<b>",
    "a^b",
]
ENDS = ["", "", ":", ":80", ":0080", ":99999", ":x", ":80:81", "/", "?", "?q", "#", "#f"]
LABELS = [
    "a",
    "A",
    "bücher",
    "STRASSE",
    "straße",
    "xn--bcher-kva",
    "-a",
    "ab--c",
    "☕",
    "אב",
    "אa",
    "a_b",
    "İ",
    "",
    "*",
    "。x",
]
REGEX = [
    "a",
    "/",
    "^",
    "$",
    "(",
    ")",
    "[",
    "]",
    "|",
    "*",
    "+",
    "?",
    ".",
    "{2}",
    r"\d",
    r"\C",
    r"\1",
    r"\pL",
    "(?i)",
    "(?=",
    r"\Q",
    "-",
]
DURATION = ["1", "0", ".", "5", "h", "m", "s", "ms", "us", "µs", "-", "+", " ", "1.5", "9223372036854775807"]


def ask(directory: Path, config: dict[str, Any], *command: str) -> tuple[bool, str]:
    file = directory / f"{abs(hash(json.dumps(config)))}.yml"
    file.write_text(json.dumps(config, ensure_ascii=False))
    ran = subprocess.run(
        [BINARY, "tunnel", "--config", str(file), "ingress", *command],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=30,
        check=False,
    )
    return ran.returncode == 0, ran.stdout


def accepts(config: dict[str, Any]) -> bool:
    try:
        parse_ingress(config)
    except IngressError:
        return False
    return True


def compare(tmp_path: Path, draw: Callable[[random.Random], dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the configs about which the two differ."""
    rng = random.Random(SEED)
    configs = [draw(rng) for _ in range(CONFIGS)]
    with ThreadPoolExecutor(2) as pool:
        theirs = list(pool.map(lambda config: ask(tmp_path, config, "validate")[0], configs))
    assert any(theirs)
    assert not all(theirs)
    return [config for config, verdict in zip(configs, theirs, strict=True) if accepts(config) != verdict]


def test_services_are_read_alike(tmp_path: Path) -> None:
    def draw(rng: random.Random) -> dict[str, Any]:
        return {"ingress": [{"service": "".join(map(rng.choice, (SCHEMES, USERS, HOSTS, ENDS)))}]}

    assert compare(tmp_path, draw) == []


def test_paths_and_durations_are_read_alike(tmp_path: Path) -> None:
    def draw(rng: random.Random) -> dict[str, Any]:
        path = "".join(rng.choices(REGEX, k=rng.randint(1, 4)))
        duration = "".join(rng.choices(DURATION, k=rng.randint(1, 3))) if rng.random() < 0.5 else "1s"
        rules = [{"hostname": "a", "path": path, "service": "http_status:200"}, {"service": "http_status:404"}]
        return {
            "originRequest": {"connectTimeout": duration.replace("-", ""), "tcpKeepAlive": duration},
            "ingress": rules,
        }

    assert compare(tmp_path, draw) == []


def is_compared_alike(name: str) -> bool:
    return comparable(name) == (lookup_form(name) or name)


def test_hosts_are_matched_alike(tmp_path: Path) -> None:
    rng = random.Random(SEED)
    cases = []
    for _ in range(CONFIGS):
        name, host = (".".join(rng.choices(LABELS, k=rng.randint(1, 3))) for _ in range(2))
        config = {"ingress": [{"hostname": name, "service": "http_status:200"}, {"service": "http_status:404"}]}
        if accepts(config):
            rule = parse_ingress(config).rules[0]
            cases += [(config, asked) for asked in (host, name, name.lower(), rule.compared_hostname, f"x.{host}")]
    # Names that are not written as they are compared here meet other rules there (docs/parity.md).
    cases = [(config, host) for config, host in cases if host and host == comparable(host) and not host.startswith("*")]
    cases = [case for case in cases if is_compared_alike(case[0]["ingress"][0]["hostname"])]
    with ThreadPoolExecutor(2) as pool:
        answers = list(
            pool.map(lambda case: ask(tmp_path, case[0], "rule", f"http://{quote(case[1])}/"), cases[:CONFIGS])
        )
    for (config, host), (found, answer) in zip(cases, answers, strict=False):
        if found:
            assert f"Matched rule #{parse_ingress(config).match(host, '/').index}\n" in answer, (config, host)
    assert any(found for found, _ in answers)
