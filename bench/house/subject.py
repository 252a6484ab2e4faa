"""The connector under test as a process of its own: ours with one engine, or a peer binary with the same files."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

TUNNEL_ID = "6ff42ae2-765d-4adf-8112-31c55c1551ef"
ACCOUNT = "bench"
SECRET = b"bench-secret-of-at-least-32-bytes"


@dataclass(frozen=True, slots=True)
class Subject:
    """What is measured. `command` gets the config's path appended or, for a peer, placed where it wants it."""

    name: str
    engine: str = ""
    "Of ours, or `http2` for that protocol in place of QUIC; empty for a peer."
    congestion_control: str = "auto"
    workers: int = 1
    "Processes of ours."
    peer: str = ""
    "Path of a peer binary; empty for ours."
    transport: str = "quic"
    "Of a peer: `quic` or `http2`."

    def command(self, folder: Path, *, edges: Sequence[tuple[str, int]], connections: int) -> list[str]:
        """The command line that connects to `edges` with the files in `folder`."""
        config, ca = str(folder / "config.yaml"), str(folder / "ca.pem")
        addresses = [part for host, port in edges for part in ("--edge", f"{host}:{port}")]
        common = ["--cacert", ca, "--ha-connections", str(connections), "--loglevel", "error"]
        if self.peer:
            flags = ["--no-autoupdate", "--no-prechecks", "--metrics", "127.0.0.1:0", "--protocol", self.transport]
            return [self.peer, "tunnel", "--config", config, *addresses, *common, *flags, "run"]
        common += ["--workers", str(self.workers)] if self.workers > 1 else []
        if self.engine == "http2":
            engine = ["--protocol", "http2"]
        else:
            engine = ["--quic-engine", self.engine, "--congestion-control", self.congestion_control]
        return [sys.executable, "-m", "pyconnector", "run", config, *addresses, *common, *engine]

    def version(self) -> str:
        """What it says it is, in one line."""
        command = [self.peer] if self.peer else [sys.executable, "-m", "pyconnector"]
        # Also fills the bytecode cache, which a user's second start finds and this one's first should not lack.
        answer = subprocess.run([*command, "version"], capture_output=True, text=True, check=True, env=environment())
        return answer.stdout.strip().partition("\n")[0]


def write_files(folder: Path, *, ca_pem: bytes, http_port: int) -> None:
    """Write the config, the credentials and the edge's CA: the same for every subject."""
    credentials = {"AccountTag": ACCOUNT, "TunnelSecret": base64.b64encode(SECRET).decode(), "TunnelID": TUNNEL_ID}
    (folder / "credentials.json").write_text(json.dumps(credentials))
    (folder / "ca.pem").write_bytes(ca_pem)
    (folder / "config.yaml").write_text(
        f"tunnel: {TUNNEL_ID}\n"
        f"credentials-file: {folder / 'credentials.json'}\n"
        "ingress:\n"
        "  - hostname: bench.test\n"
        f"    service: http://127.0.0.1:{http_port}\n"
        "  - service: http_status:404\n"
    )


def environment() -> dict[str, str]:
    """This process's environment without what would configure a connector or keep Python from its bytecode cache."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("TUNNEL_") and name != "PYTHONDONTWRITEBYTECODE"
    }


class Running:
    """A subject's process, until `stop`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.pid = process.pid

    @classmethod
    async def start(cls, command: list[str], *, log: Path) -> Running:
        """Start `command` with its output in `log`. Cancel leaves nothing running."""
        with log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(*command, stdout=output, stderr=output, env=environment())
        return cls(process)

    @property
    def exited(self) -> bool:
        """Whether it ended by itself, which it should not."""
        return self._process.returncode is not None

    async def stop(self) -> None:
        """End it now, and wait until it is gone."""
        if not self.exited:
            self._process.kill()
        await self._process.wait()
