"""A real PostgreSQL server for tests: a cluster of its own in a temporary folder, on a port of the system's choice."""

from __future__ import annotations

import glob
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

_PLACES = (
    "/usr/lib/postgresql/*/bin",
    "/usr/local/bin",
    "/usr/bin",
    "/opt/homebrew/bin",
    "/opt/homebrew/opt/postgresql*/bin",
)
_USER = "pyconnector"


def server_folder() -> Path | None:
    """Where `initdb` and `postgres` are, or None."""
    for place in _PLACES:
        for folder in sorted(glob.glob(place), reverse=True):
            if os.access(f"{folder}/initdb", os.X_OK) and os.access(f"{folder}/postgres", os.X_OK):
                return Path(folder)
    return None


def _unprivileged() -> dict[str, int]:
    """PostgreSQL refuses to run as root: hand it to another user there."""
    if os.geteuid() != 0:
        return {}
    import pwd

    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": entry.pw_uid, "group": entry.pw_gid}
    return {}


class PostgresServer:
    """A server that can be stopped in the middle of everything and started again."""

    def __init__(self, binaries: Path, folder: Path, address: tuple[str, int], trusted: str) -> None:
        self.host, self.port = address
        self._binaries, self._folder, self._trusted = binaries, folder, trusted
        self._process: subprocess.Popen[bytes] | None = None

    def prepare(self) -> None:
        """Make an empty cluster."""
        data = self._folder / "data"
        command: list[str | Path] = [self._binaries / "initdb", "-D", data, "-U", _USER, "-A", "trust"]
        command += ["--no-sync", "-E", "UTF8"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, **self._options())
        if self._trusted:
            with (data / "pg_hba.conf").open("a") as rules:
                rules.write(f"host all all {self._trusted} trust\n")

    def start(self) -> None:
        """Start it, and wait until it answers."""
        command: list[str | Path] = [self._binaries / "postgres", "-D", self._folder / "data", "-k", self._folder]
        command += ["-h", self.host, "-p", str(self.port), "-F", "-c", "logging_collector=off"]
        command += ["-c", "max_connections=20"]
        process: subprocess.Popen[bytes] = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **self._options()
        )
        self._process = process
        _wait_until_ready(self._binaries, (self.host, self.port), process, _environment(self._folder))

    def stop(self, *, at_once: bool = False) -> None:
        """Stop it; `at_once` as a machine that fails does: it recovers at its next start. Idempotent."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT if at_once else signal.SIGINT)
            self._process.wait(timeout=30)
            self._process = None

    def _options(self) -> dict[str, Any]:
        return {"env": _environment(self._folder), "cwd": self._folder, **_unprivileged()}


def _environment(folder: Path) -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "HOME": str(folder)}


@contextmanager
def postgres_server(host: str = "127.0.0.1", trusted: str = "") -> Iterator[PostgresServer]:
    """Run a server at `host` for the block; skip the test where PostgreSQL is not installed.

    Clients of the network `trusted` may come too.
    """
    binaries = server_folder()
    if binaries is None:
        pytest.skip("no PostgreSQL server is installed")
    folder = Path(tempfile.mkdtemp(prefix="pyconnector-pg-"))
    try:
        if identity := _unprivileged():
            os.chown(folder, identity["user"], identity["group"])
        with socket.socket() as probe:
            probe.bind((host, 0))
            port = int(probe.getsockname()[1])
        server = PostgresServer(binaries, folder, (host, port), trusted)
        server.prepare()
        try:
            server.start()
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def running_postgres(host: str = "127.0.0.1", trusted: str = "") -> Iterator[int]:
    """Run a server as `postgres_server` does, and yield its port."""
    with postgres_server(host, trusted) as server:
        yield server.port


def _wait_until_ready(
    binaries: Path, address: tuple[str, int], server: subprocess.Popen[bytes], environment: dict[str, str]
) -> None:
    """Return once the server answers; PostgreSQL offers no event to wait for."""
    import time

    for _ in range(300):
        if server.poll() is not None:
            raise RuntimeError(f"PostgreSQL ended with {server.returncode}")
        try:
            with socket.create_connection(address, timeout=1):
                break
        except OSError:
            time.sleep(0.1)
    ready = binaries / "pg_isready"
    for _ in range(300):
        if (
            not ready.exists()
            or subprocess.run(
                [ready, "-q", "-h", address[0], "-p", str(address[1])], env=environment, check=False
            ).returncode
            == 0
        ):
            return
        time.sleep(0.1)
    raise RuntimeError("PostgreSQL did not become ready")
