"""A disk that is really full: a small tmpfs in a mount namespace of its own."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pyconnector.edge.audit.files import log_files, read_log
from tests.support.peers.raw_visitor import RawVisitor, get
from tests.support.services.process import ROOT

SIZE, BALLAST = "192k", 96 * 1024
_CAN = shutil.which("unshare") is not None and (
    subprocess.run(
        ["unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], check=False, capture_output=True
    ).returncode
    == 0
)


@pytest.mark.skipif(not _CAN, reason="needs the right to mount in a namespace of its own")
@pytest.mark.parametrize("mode", ["refuse", "go-on"])
async def test_an_edge_whose_disk_is_full(tmp_path: Path, mode: str) -> None:
    await _run(tmp_path, mode)


async def _run(tmp_path: Path, mode: str) -> None:
    place = tmp_path / "disk"
    place.mkdir()
    edge = (
        f"mount -t tmpfs -o size={SIZE} tmpfs {place} && head -c {BALLAST} /dev/zero > {place}/ballast && "
        f"exec {sys.executable} -m pyconnector edge --any-credentials --listen 127.0.0.1:0 --visitors 127.0.0.1:0 "
        f"--control '' --audit-dir {place}/audit --audit-when-full {mode}"
    )
    process = await asyncio.create_subprocess_exec(
        "unshare", "-m", "sh", "-c", edge, stdout=-1, stderr=-1, env={**os.environ, "PYTHONPATH": str(ROOT / "src")}
    )
    said = bytearray()
    assert process.stdout is not None
    assert process.stderr is not None
    reading = [asyncio.create_task(_collect(stream, said)) for stream in (process.stdout, process.stderr)]
    try:
        async with asyncio.timeout(60):
            await _until(lambda: b"visitors" in said and b"http://127.0.0.1:" in said)
            port = int(bytes(said).split(b"http://127.0.0.1:")[1].split(b"/")[0].split()[0])
            # The same directory, seen from outside the namespace.
            inside = Path(f"/proc/{process.pid}/root{place}")
            async with RawVisitor(("127.0.0.1", port)) as visitor:
                await _fill(visitor, said, mode)
                if mode == "refuse":
                    refused = await visitor.request(get("/refused", "a.test"))
                    assert (refused.status, json.loads(refused.body)["reason"]) == (503, "audit_unavailable")
                assert (b"nobody is served" in said) is (mode == "refuse")
                (inside / "ballast").unlink()
                await _until(lambda: b"written again" in said)
                after = await visitor.request(get("/after", "a.test"))
                assert after.status != 503
                await _until(lambda: b"/after" in b"".join(path.read_bytes() for path in log_files(inside / "audit")))
            records = [link.record for _, link in read_log(log_files(inside / "audit"))]
            told = [record for record in records if "RayID" in record]
            assert len({record["RayID"] for record in told}) == len(told)
            assert told[-1]["URL"] == "/after"
            # Nothing was lost: what could not be written waited.
            assert not [record for record in records if "AuditRecordsLost" in record]
            assert [record for record in told if record["URL"] == "/refused"] if mode == "refuse" else True
    finally:
        process.terminate()
        await process.wait()
        await asyncio.gather(*reading)


async def _fill(visitor: RawVisitor, said: bytearray, mode: str) -> None:
    path = "/" + "x" * 1500
    for _ in range(400):
        if b"cannot be written" in said:
            return
        await visitor.request(get(path, "a.test"))
        await asyncio.sleep(0.002)
    await _until(lambda: b"cannot be written" in said)


async def _until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0.01)


async def _collect(stream: asyncio.StreamReader, into: bytearray) -> None:
    while data := await stream.read(4096):
        into += data
