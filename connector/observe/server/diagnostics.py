"""What a person who looks for a fault asks of a running connector: the pages below /diag (reference/lifecycle.md 8).

Nothing here is a secret: of the flags only those are shown that are none, passwords in addresses left out.
"""

from __future__ import annotations

import asyncio
import os
import platform
import shutil
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyconnector.connector.api.events import ConnectionState
from pyconnector.connector.observe.log import escape
from pyconnector.connector.version import architecture, version

if TYPE_CHECKING:
    from pyconnector.connector.api.connector import Connector
    from pyconnector.connector.workers.fleet import Fleet

#: Tasks that are listed, and frames of each.
MAX_TASKS = 500
MAX_FRAMES = 8
#: File systems that are listed.
MAX_DISKS = 32
#: The number that the reference gives a protocol; that of HTTP/2 is left out, as a zero there.
_QUIC = 1


def tunnel_state(connector: Connector | Fleet) -> dict[str, Any]:
    """The connections, as `/diag/tunnel` of the reference has them."""
    connections = [
        {
            "isConnected": info.state is ConnectionState.REGISTERED,
            **({"protocol": _QUIC} if getattr(info, "protocol", "quic") == "quic" else {}),
            **({"edgeAddress": info.address[0]} if info.address is not None else {}),
            **({"index": info.index} if info.index else {}),
        }
        for info in connector.connections
    ]
    return {
        "tunnelID": str(connector.config.credentials.tunnel_id),
        "connectorID": str(connector.connector_id),
        **({"connections": connections} if connections else {}),
    }


def configuration(connector: Connector | Fleet) -> dict[str, str]:
    """The flags that are set and are no secrets, and the user that the process runs as."""
    return {**dict(connector.config.shown_flags), "uid": str(os.getuid() if hasattr(os, "getuid") else "")}


def system(*, proc: Path = Path("/proc")) -> dict[str, Any]:
    """The machine. What cannot be read is left out and named under `errors`. It reads files: call it in a thread."""
    info: dict[str, Any] = {
        "osSystem": platform.system(),
        "hostName": socket.gethostname(),
        "osVersion": platform.version(),
        "osRelease": platform.release(),
        "architecture": platform.machine(),
        "cloudflaredVersion": version(),
        "goVersion": f"python{platform.python_version()}",
        "goArch": architecture(),
    }
    errors: dict[str, str] = {}
    for name, read in (("memory", _memory), ("fileDescriptor", _descriptors), ("disk", _disks)):
        try:
            info |= read(proc)
        except (ImportError, OSError, ValueError, KeyError) as error:
            errors[name] = str(error)
    return {"info": info, **({"errors": errors} if errors else {})}


def tasks() -> str:
    """Where every task of the event loop waits, in place of the reference's goroutines."""
    lines = []
    found = sorted(asyncio.all_tasks(), key=lambda task: task.get_name())
    for task in found[:MAX_TASKS]:
        lines.append(f"task {escape(task.get_name())}")
        for frame in task.get_stack(limit=MAX_FRAMES):
            code = frame.f_code
            lines.append(f"    {code.co_qualname}:{frame.f_lineno}")
    if len(found) > MAX_TASKS:
        lines.append(f"{len(found) - MAX_TASKS} more tasks")
    return "\n".join(lines) + "\n"


def _memory(proc: Path) -> dict[str, int]:
    found = {}
    for line in (proc / "meminfo").read_text().splitlines():
        name, _, rest = line.partition(":")
        found[name] = int(rest.split()[0])
    return {"memoryMaximum": found["MemTotal"], "memoryCurrent": found["MemTotal"] - found["MemAvailable"]}


def _descriptors(proc: Path) -> dict[str, int]:
    import resource  # Unix alone has it

    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return {"fileDescriptorMaximum": most, "fileDescriptorCurrent": len(os.listdir(proc / "self" / "fd"))}


def _disks(proc: Path) -> dict[str, list[dict[str, Any]]]:
    """File systems that are on a device, in kB, each device once."""
    disks: dict[str, dict[str, Any]] = {}
    for line in (proc / "mounts").read_text().splitlines():
        device, _, rest = line.partition(" ")
        if device.startswith("/dev/") and device not in disks and len(disks) < MAX_DISKS:
            try:
                usage = shutil.disk_usage(rest.partition(" ")[0])
            except OSError:
                continue
            sizes = {"sizeMaximum": usage.total // 1024, "sizeCurrent": usage.used // 1024}
            disks[device] = {"name": device, **sizes}
    return {"disk": list(disks.values())}
