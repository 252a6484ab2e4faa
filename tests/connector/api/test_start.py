"""What a plain connector loads, and what the command line does with the garbage collector."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from pyconnector.connector.cli.loops import YOUNG_OBJECTS
from pyconnector.edge.local_edge import LocalEdge
from pyconnector.edge.settings import EdgeSettings, TunnelSettings
from tests.connector.configs import ACCOUNT, RULES, SECRET, TUNNEL_ID, write_config

ROOT = Path(__file__).resolve().parents[3]

#: Runs the command line to its first registration, then tells which modules that took and how the collector is set.
PROGRAM = """
import gc, json, os, sys
from pyconnector.connector.cli import service

def registered():
    found = {"modules": list(sys.modules), "enabled": gc.isenabled()}
    found |= {"frozen": gc.get_freeze_count(), "young": gc.get_threshold()[0]}
    print(json.dumps(found), flush=True)
    os._exit(0)

service.settle, settle = lambda: (settle(), registered()), service.settle
from pyconnector.__main__ import start
start()
"""
#: Large, and of use only to some: an Access rule, an HTTP/2 origin, a scrape of the metrics, the edge's side, an
#: expression in a rule, WebSocket or SOCKS towards a TCP service, rotating log files, a name beyond ASCII, a slip.
RARELY_NEEDED = [
    "joserfc", "h2", "prometheus_client", "capnp", "dns", "re2", "idna", "difflib", "importlib.metadata",
    "logging.handlers",
    *(
        f"pyconnector.{name}"
        for name in (
            "edge", "protocol.rpc.edge_rpc", "protocol.datagrams", "origins.websocket", "origins.tcp.socks",
            "origins.builtin.hello", "origins.http2", "origins.layers.rewriting", "origins.layers.failover",
            "ingress.rules.rewrite", "ingress.rules.failover", "connector.link.rpc_streams", "connector.cli.local",
        )
    ),
]  # fmt: skip


async def started(directory: Path, engine: str) -> dict[str, object]:
    """What the program says once its connector is registered with an edge that runs here."""
    config = write_config(directory, f"tunnel: {TUNNEL_ID}\n{RULES}")

    async def scenario() -> str:
        tunnel = TunnelSettings(account_tag=ACCOUNT, tunnel_id=TUNNEL_ID, secret=SECRET)
        async with LocalEdge(EdgeSettings(tunnels=(tunnel,), control=None)) as edge:
            host, port = edge.quic_address
            flags = ["--edge", f"{host}:{port}", "--cacert", str(edge.ca_path), "--loglevel", "error"]
            command = [sys.executable, "-c", PROGRAM, "run", str(config), *flags, "--quic-engine", engine]
            process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=subprocess.PIPE)
            try:
                output, _ = await asyncio.wait_for(process.communicate(), 30)
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
        return output.decode()

    found: dict[str, object] = json.loads(await scenario())
    return found


@pytest.mark.parametrize(
    ("engine", "others"),
    [("aioquic", ["qh3"]), ("qh3", ["aioquic", "cryptography", "pyconnector.transport.congestion"])],
)
async def test_a_plain_start_loads_only_what_it_needs(tmp_path: Path, engine: str, others: list[str]) -> None:
    if engine == "qh3":
        pytest.importorskip("qh3")
    found = await started(tmp_path, engine)
    loaded = found["modules"]
    assert isinstance(loaded, list)
    assert f"pyconnector.transport.quic.{engine}_engine.connection" in loaded
    # aioquic itself needs this one: it is not ours to leave out.
    of_the_engine = {"idna"} if engine == "aioquic" else set()
    assert sorted(({*RARELY_NEEDED, *others} - of_the_engine) & set(loaded)) == []
    # What was loaded for good is out of the collector's sight, which looks at everything else.
    assert found["enabled"] is True
    assert isinstance(found["frozen"], int)
    assert found["frozen"] > 10_000
    assert found["young"] == YOUNG_OBJECTS


def test_a_program_that_embeds_a_connector_keeps_its_own_garbage_collector() -> None:
    # Some releases of Python freeze objects of their own before any program runs.
    code = """if True:
        import gc
        before = gc.isenabled(), gc.get_freeze_count(), gc.get_threshold()
        from pyconnector import Connector
        print(before == (gc.isenabled(), gc.get_freeze_count(), gc.get_threshold()), Connector.__name__)
    """
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout.split() == ["True", "Connector"]


def test_every_name_of_the_package_leads_somewhere() -> None:
    import pyconnector

    for name in pyconnector.__all__:
        assert getattr(pyconnector, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Conector'"):
        pyconnector.Conector  # type: ignore[attr-defined]  # noqa: B018
