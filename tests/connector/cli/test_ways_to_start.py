"""The forms in which units, compose files and scripts for the reference start it."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from pyconnector.connector.config.flags import FLAGS
from pyconnector.connector.version import version
from tests.connector.cli.test_cli import Process, _no_environment, edge_for_tests, flags, invoke, running
from tests.connector.cli.test_command_line import asked
from tests.connector.configs import ACCOUNT, RULES, SECRET, TUNNEL_ID, token, write_config, write_credentials

__all__ = ["_no_environment", "asked"]

#: As their makers write them: units, init scripts, compose files, manifests, launchd.
FORMS = [
    ("--no-autoupdate --config /etc/c.yml tunnel run", "/etc/c.yml", {"no_autoupdate": True}, None),
    ("--no-autoupdate tunnel run --token-file /etc/t", None, {"no_autoupdate": True, "token_file": "/etc/t"}, None),
    ("--pidfile /run/p --autoupdate-freq 24h0m0s --config c.yml tunnel run", "c.yml",
     {"pidfile": "/run/p", "autoupdate_freq": "24h0m0s"}, None),
    ("tunnel --no-autoupdate run --token T", None, {"no_autoupdate": True, "token": "T"}, None),
    ("tunnel --no-autoupdate --loglevel info --metrics 0.0.0.0:2000 run", None,
     {"no_autoupdate": True, "loglevel": "info", "metrics": "0.0.0.0:2000"}, None),
    ("tunnel --config c.yaml --no-autoupdate run mine", "c.yaml", {"no_autoupdate": True}, "mine"),
    ("tunnel run --credentials-file=f.json --url=http://web:80 mine", None,
     {"credentials_file": "f.json", "url": "http://web:80"}, "mine"),
    ("tunnel -cred-file f.json run mine", None, {"credentials_file": "f.json"}, "mine"),
    ("tunnel run -pq -p quic mine", None, {"post_quantum": True, "protocol": "quic"}, "mine"),
    ("tunnel run -pq=false mine", None, {"post_quantum": "false"}, "mine"),
    ("tunnel --management-diagnostics=false run", None, {"management_diagnostics": "false"}, None),
    ("tunnel --tag a=b --tag=c=d run", None, {"tag": ("a=b", "c=d")}, None),
]  # fmt: skip


@pytest.mark.parametrize(("line", "path", "given", "tunnel"), FORMS, ids=[form[0] for form in FORMS])
def test_every_form_of_the_reference_starts_it(
    asked: list[tuple[Any, ...]], line: str, path: str | None, given: dict[str, Any], tunnel: str | None
) -> None:
    found = invoke(*line.split())
    assert found.exit_code == 0, found.output
    assert asked == [(path, given, tunnel)]


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("--url http://localhost:1 --quick-service nonsense", "--quick-service is a URL"),
        ("--config c.yml", "tunnel needs a command"),
    ],
)
def test_flags_without_a_command_mean_the_tunnel(line: str, sentence: str) -> None:
    found = invoke(*line.split())
    assert (found.exit_code, sentence in found.stderr) == (2, True)


#: Variables of the reference for running a tunnel, by the flag that each stands for (reference/cli.md 2, 3).
VARIABLES = """TUNNEL_ORIGIN_CERT=origincert NO_AUTOUPDATE=no-autoupdate TUNNEL_NO_PRECHECKS=no-prechecks
    TUNNEL_METRICS=metrics TUNNEL_PIDFILE=pidfile TUNNEL_URL=url TUNNEL_HELLO_WORLD=hello-world TUNNEL_SOCKS=socks5
    TUNNEL_HTTP_HOST_HEADER=http-host-header TUNNEL_ORIGIN_SERVER_NAME=origin-server-name
    TUNNEL_UNIX_SOCKET=unix-socket TUNNEL_ORIGIN_CA_POOL=origin-ca-pool NO_TLS_VERIFY=no-tls-verify
    TUNNEL_NO_CHUNKED_ENCODING=no-chunked-encoding TUNNEL_ORIGIN_ENABLE_HTTP2=http2-origin
    TUNNEL_MANAGEMENT_HOSTNAME=management-hostname TUNNEL_BASTION=bastion TUNNEL_PROXY_ADDRESS=proxy-address
    TUNNEL_PROXY_PORT=proxy-port TUNNEL_LOGLEVEL=loglevel TUNNEL_PROTO_LOGLEVEL=transport-loglevel
    TUNNEL_TRANSPORT_LOGLEVEL=transport-loglevel TUNNEL_LOGFILE=logfile TUNNEL_LOGDIRECTORY=log-directory
    TUNNEL_TRACE_OUTPUT=trace-output TUNNEL_MANAGEMENT_OUTPUT=output TUNNEL_LOG_OUTPUT=output
    TUNNEL_CRED_FILE=credentials-file TUNNEL_EDGE=edge TUNNEL_REGION=region TUNNEL_EDGE_IP_VERSION=edge-ip-version
    TUNNEL_EDGE_BIND_ADDRESS=edge-bind-address TUNNEL_CACERT=cacert TUNNEL_TAG=tag TUNNEL_RETRIES=retries
    TUNNEL_STREAM_WRITE_TIMEOUT=write-stream-timeout TUNNEL_DISABLE_QUIC_PMTU=quic-disable-pmtu-discovery
    TUNNEL_GRACE_PERIOD=grace-period STDIN_CONTROL=stdin-control TUNNEL_POST_QUANTUM=post-quantum
    TUNNEL_MANAGEMENT_DIAGNOSTICS=management-diagnostics TUNNEL_TRANSPORT_PROTOCOL=protocol TUNNEL_TOKEN=token
    TUNNEL_TOKEN_FILE=token-file TUNNEL_CRED_CONTENTS=credentials-contents TUNNEL_ICMPV4_SRC=icmpv4-src
    TUNNEL_ICMPV6_SRC=icmpv6-src TUNNEL_MAX_ACTIVE_FLOWS=max-active-flows
    TUNNEL_DNS_RESOLVER_ADDRS=dns-resolver-addrs TUNNEL_CRED_CONTENTS_FILE=credentials-file"""


@pytest.mark.parametrize("pair", VARIABLES.split())
def test_every_variable_of_the_reference_is_read(pair: str) -> None:
    variable, _, flag = pair.partition("=")
    assert variable in FLAGS[flag].env


# -- secrets -------------------------------------------------------------------------------------------------------

_CREDENTIALS = {
    "AccountTag": ACCOUNT, "TunnelID": str(TUNNEL_ID), "TunnelSecret": base64.b64encode(SECRET).decode(),
}  # fmt: skip


def _sources(folder: Path) -> dict[str, tuple[list[str], dict[str, str]]]:
    """Arguments and environment of each way to say which tunnel, and with which secret."""
    contents, held = json.dumps(_CREDENTIALS), folder / "token"
    held.write_text(token() + "\n")
    held.chmod(0o400)
    written = folder / "contents.json"
    written.write_text(contents)
    written.chmod(0o400)
    return {
        "--token": (["--token", token()], {}),
        "TUNNEL_TOKEN": ([], {"TUNNEL_TOKEN": token()}),
        "--token-file": (["--token-file", str(held)], {}),
        "TUNNEL_TOKEN_FILE": ([], {"TUNNEL_TOKEN_FILE": str(held)}),
        "--credentials-file": (["--credentials-file", str(write_credentials(folder))], {}),
        "TUNNEL_CRED_FILE": ([], {"TUNNEL_CRED_FILE": str(written)}),
        "--credentials-contents": (["--credentials-contents", contents], {}),
        "TUNNEL_CRED_CONTENTS": ([], {"TUNNEL_CRED_CONTENTS": contents}),
        "TUNNEL_CRED_CONTENTS_FILE": ([], {"TUNNEL_CRED_CONTENTS_FILE": str(written)}),
    }


async def _status(process: Process) -> str:
    """Everything that the running connector says of itself when it is asked."""
    address = (await process.until("Starting metrics server on")).split()[-1].removesuffix("/metrics")
    host, _, port = address.rpartition(":")
    said = ""
    for path in ("/metrics", "/ready", "/config", "/diag/configuration", "/diag/tunnel", "/diag/system"):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        said += (await reader.read()).decode()
        writer.close()
    return said


@pytest.mark.parametrize("way", [
    "--token", "TUNNEL_TOKEN", "--token-file", "TUNNEL_TOKEN_FILE", "--credentials-file", "TUNNEL_CRED_FILE",
    "--credentials-contents", "TUNNEL_CRED_CONTENTS", "TUNNEL_CRED_CONTENTS_FILE",
])  # fmt: skip
async def test_every_source_of_credentials_connects_and_shows_no_secret(tmp_path: Path, way: str) -> None:
    arguments, environment = _sources(tmp_path)[way]
    rules = tmp_path / "rules.yml"
    rules.write_text(RULES)

    async def scenario() -> str:
        async with edge_for_tests() as edge:
            line = ("tunnel", "--config", rules, "run", *arguments, *flags(edge), "--loglevel", "debug", "mine")
            async with running(*line, **environment) as process:
                await process.until("Registered tunnel connection")
                said = await _status(process)
                assert await process.end(15) == 0
                return said + "".join(process.lines)

    said = await scenario()
    for secret in (base64.b64encode(SECRET).decode(), token(), SECRET.hex(), SECRET.decode("latin-1")):
        assert secret not in said


async def test_a_link_of_the_references_name_starts_it(tmp_path: Path) -> None:
    script = Path(sys.executable).with_name("pyconnector")
    link = tmp_path / "cloudflared"
    os.symlink(script, link)

    async def output(*arguments: str) -> str:
        made = await asyncio.create_subprocess_exec(link, *arguments, stdout=asyncio.subprocess.PIPE)
        said, _ = await made.communicate()
        assert made.returncode == 0
        return said.decode()

    for arguments in (["--version"], ["version"]):
        assert await output(*arguments) == f"cloudflared version {version()} (pyconnector)\n"
    assert "Usage: cloudflared tunnel run" in await output("tunnel", "run", "--help")
    config = write_config(tmp_path)
    assert "OK" in await output("tunnel", "--config", str(config), "ingress", "validate")
