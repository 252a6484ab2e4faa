"""A real PostgreSQL server for tests: a cluster of its own in a temporary folder, on a port of the system's choice."""

from __future__ import annotations

import glob
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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


@contextmanager
def running_postgres(host: str = "127.0.0.1", trusted: str = "") -> Iterator[int]:
    """Run a server at `host` for the block and yield its port; skip the test where PostgreSQL is not installed.

    Clients of the network `trusted` may come too.
    """
    binaries = server_folder()
    if binaries is None:
        pytest.skip("no PostgreSQL server is installed")
    identity = _unprivileged()
    folder = Path(tempfile.mkdtemp(prefix="pyconnector-pg-"))
    try:
        if identity:
            os.chown(folder, identity["user"], identity["group"])
        data = folder / "data"
        environment = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "HOME": str(folder)}
        prepare: list[str | Path] = [
            binaries / "initdb",
            "-D",
            data,
            "-U",
            _USER,
            "-A",
            "trust",
            "--no-sync",
            "-E",
            "UTF8",
        ]
        subprocess.run(
            prepare,
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=environment,
            cwd=folder,
            user=identity.get("user"),
            group=identity.get("group"),
        )
        if trusted:
            with (data / "pg_hba.conf").open("a") as rules:
                rules.write(f"host all all {trusted} trust\n")
        with socket.socket() as probe:
            probe.bind((host, 0))
            port = int(probe.getsockname()[1])
        serve: list[str | Path] = [
            binaries / "postgres",
            "-D",
            data,
            "-h",
            host,
            "-p",
            str(port),
            "-k",
            folder,
            "-F",
        ]
        serve += ["-c", "logging_collector=off", "-c", "max_connections=20"]
        server = subprocess.Popen(
            serve,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment,
            cwd=folder,
            user=identity.get("user"),
            group=identity.get("group"),
        )
        try:
            _wait_until_ready(binaries, (host, port), server, environment)
            yield port
        finally:
            server.terminate()
            server.wait(timeout=30)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


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
