"""`tunnel diag`: asks a running connector everything that it says of itself and writes one zip archive.

Files and their names are the reference's (reference/cli.md 3, diag); `tasks.txt` stands in place of its goroutines and
heap. Nothing that the connector is asked for is a secret, and the log masks them.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import shutil
import subprocess
import uuid
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import click

from pyconnector.connector.api.errors import ConfigError, StartFailed
from pyconnector.connector.cli.exits import CLEAN
from pyconnector.connector.cli.log_names import LOG_NAMES
from pyconnector.connector.config.model import EdgeConfig
from pyconnector.connector.config.problems import Problem
from pyconnector.connector.discovery.prechecks import run_prechecks
from pyconnector.connector.discovery.probes import probes_for
from pyconnector.connector.observe.server.metrics_server import DEFAULT_PORTS, split_listen_address

#: Seconds for one answer and for one program.
TIMEOUT = 15.0
#: Bytes of one answer, and of one log.
MAX_BYTES = 16 * 1024 * 1024
#: How far back the log is asked for, and how many lines.
LOG_DAYS = 14
LOG_LINES = 10_000
UNIT = "pyconnector.service"
#: Where the paths to the edge are looked at, where no edge is given.
REGIONS = ("region1.v2.argotunnel.com", "region2.v2.argotunnel.com")

_PAGES = {
    "tunnelstate.json": "/diag/tunnel",
    "systeminformation.json": "/diag/system",
    "cli-configuration.json": "/diag/configuration",
    "configuration.json": "/config",
    "tasks.txt": "/diag/tasks",
    "metrics.txt": "/metrics",
}
#: What each switch leaves out.
_SWITCHES = {
    "no_diag_system": ("systeminformation.json",),
    "no_diag_runtime": ("tasks.txt",),
    "no_diag_metrics": ("metrics.txt",),
    "no_diag_logs": ("cloudflared_logs.txt",),
    "no_diag_network": ("raw-network.txt", "prechecks.json"),
}


@dataclass(slots=True)
class _Archive:
    """What was found, by file name, and how each job ended."""

    files: dict[str, bytes] = field(default_factory=dict)
    results: dict[str, dict[str, str]] = field(default_factory=dict)

    def run(self, name: str, job: Callable[[], bytes]) -> None:
        """Do one job; its failure is a result as well."""
        try:
            self.files[name] = job()
        except (OSError, http.client.HTTPException, subprocess.SubprocessError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            self.results[name] = {"result": "failure", "error": reason}
        else:
            self.results[name] = {"result": "success"}

    def write(self, folder: Path, now: datetime, name: str) -> Path:
        path = folder / f"{name}-diag-{now.isoformat(timespec='seconds').replace(':', '-')}.zip"
        with path.open("xb") as stream, zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in self.files.items():
                archive.writestr(name, data)
            archive.writestr("task-result.json", json.dumps(self.results, indent=2))
        return path


def diag(given: Mapping[str, Any], address: str | None, name: str = "pyconnector") -> int:
    """Write the archive into the working folder, named after the program `name`; return the exit code.

    Raises:
        ConfigError: the address cannot be used.
        StartFailed: no connector is there, or the archive cannot be written.
    """
    found = [_split(address)] if address else _instances()
    if not found:
        raise StartFailed("no running connector was found; --metrics HOST:PORT says where it serves its metrics")
    if address and not _answers(*found[0]):
        raise StartFailed(f"no connector answers at {address}; --metrics names where it serves its metrics")
    if len(found) > 1:
        click.echo("Several connectors run here; choose one with --metrics HOST:PORT:", err=True)
        for host, port in found:
            click.echo(f"  {host}:{port}  tunnel {_state(host, port).get('tunnelID', 'unknown')}", err=True)
        return CLEAN
    left_out = {name for switch, names in _SWITCHES.items() if given.get(switch) for name in names}
    archive = _collect(found[0], given, left_out)
    try:
        path = archive.write(Path.cwd(), datetime.now().astimezone(), name)
    except OSError as error:
        raise StartFailed(f"cannot write the archive: {error.strerror}") from error
    for name, result in archive.results.items():
        if result["result"] == "failure":
            click.echo(f"left out {name}: {result['error']}", err=True)
    click.echo(f"Diagnostics are in {path.name}")
    return CLEAN


def _collect(instance: tuple[str, int], given: Mapping[str, Any], left_out: set[str]) -> _Archive:
    archive = _Archive()
    for name, page in _PAGES.items():
        if name not in left_out:
            archive.run(name, lambda page=page: _get(*instance, page))  # type: ignore[misc]
    flags = json.loads(archive.files.get("cli-configuration.json") or b"{}")
    if "cloudflared_logs.txt" not in left_out:
        archive.run("cloudflared_logs.txt", lambda: _log(given, flags))
    if "prechecks.json" not in left_out:
        archive.run("raw-network.txt", _paths)
        archive.run("prechecks.json", lambda: _prechecks(flags))
    return archive


def _split(address: str) -> tuple[str, int]:
    try:
        return split_listen_address(address)
    except ValueError as error:
        raise ConfigError([Problem(message=f"--metrics: {error}")]) from error


def _instances() -> list[tuple[str, int]]:
    """Where connectors serve their status, of the ports that they take by themselves."""
    return [("127.0.0.1", port) for port in DEFAULT_PORTS if _state("127.0.0.1", port)]


def _state(host: str, port: int) -> dict[str, Any]:
    try:
        found = json.loads(_get(host, port, "/diag/tunnel"))
    except (OSError, ValueError, http.client.HTTPException):
        return {}
    return found if isinstance(found, dict) else {}


def _answers(host: str, port: int) -> bool:
    try:
        _get(host, port, "/diag/tunnel")
    except ValueError:
        return True  # it answers, though not as a connector does: what it says is looked at page by page
    except (OSError, http.client.HTTPException):
        return False
    return True


def _get(host: str, port: int, page: str) -> bytes:
    connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT)
    try:
        connection.request("GET", page)
        response = connection.getresponse()
        data = response.read(MAX_BYTES)
        if response.status != http.HTTPStatus.OK:
            raise ValueError(f"{page} is answered with status {response.status}")
        return data
    finally:
        connection.close()


def _log(given: Mapping[str, Any], flags: Mapping[str, str]) -> bytes:
    since = (datetime.now().astimezone() - timedelta(days=LOG_DAYS)).isoformat(timespec="seconds")
    pod, container = given.get("diag_pod_id"), given.get("diag_container_id")
    if pod:
        chosen = ["-c", container] if container else []
        return _output("kubectl", "logs", pod, "--since-time", since, "--tail", str(LOG_LINES), *chosen)
    if container:
        return _output("docker", "logs", "--tail", str(LOG_LINES), "--since", since, container)
    if flags.get("logfile"):
        return _end_of(Path(flags["logfile"]))
    if flags.get("log-directory"):
        names = [Path(flags["log-directory"]) / f"{name}.log" for name in LOG_NAMES]
        return _end_of(next((path for path in names if path.is_file()), names[0]))
    return _output("journalctl", "--since", f"{LOG_DAYS} days ago", "-n", str(LOG_LINES), "--no-pager", "-u", UNIT)


def _end_of(path: Path) -> bytes:
    with path.open("rb") as stream:
        size = stream.seek(0, 2)
        stream.seek(max(0, size - MAX_BYTES))
        return stream.read(MAX_BYTES)


def _paths() -> bytes:
    return b"".join(_output("traceroute", "-w", "2", "-q", "1", "-m", "5", region) for region in REGIONS)


def _prechecks(flags: Mapping[str, str]) -> bytes:
    """Check the way to the edge that the connector was told of."""
    edge = EdgeConfig(
        addresses=tuple(part for part in flags.get("edge", "").split(",") if part),
        region=flags.get("region", ""),
        ca_file=flags.get("cacert") or None,
        ip_version=flags.get("edge-ip-version", "auto"),
        bind_address=flags.get("edge-bind-address") or None,
    )
    report = asyncio.run(run_prechecks(probes_for(edge), budget=TIMEOUT))
    rows = [
        {"component": row.component, "target": row.target, "status": row.status.value.lower(), "details": row.details}
        for row in report.rows
    ]
    found = {
        "RunID": str(uuid.uuid4()),
        "results": rows,
        "hardFail": report.hard_fail,
        "suggestedProtocol": report.suggested,
    }
    return json.dumps(found, indent=2).encode()


def _output(program: str, *arguments: str) -> bytes:
    """Return what a program writes; no argument is ever a secret."""
    path = shutil.which(program)
    if path is None:
        raise ValueError(f"{program} is not installed")
    done = subprocess.run(
        [path, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=TIMEOUT,
        check=False,
    )
    if done.returncode:
        raise ValueError(f"{program} ended with code {done.returncode}: {done.stdout[:200].decode(errors='replace')}")
    return done.stdout[-MAX_BYTES:]
