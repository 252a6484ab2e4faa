"""`mesh status` and `mesh leave`: a running join says how it is, and ends when it is asked to."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from pyconnector.agent.status import LEAVE, STATUS, StatusError, StatusSocket, find_joined
from tests.agent.test_client import token_file, url_of
from tests.support.houses.gateway_house import echo_service, gateway_house, gateway_of
from tests.support.peers.gateway import CLIENT_ID, SECRET, Client


@asynccontextmanager
async def answering(directory: Path, port: int = 40_000) -> AsyncIterator[list[str]]:
    asked: list[str] = []

    async def status() -> dict[str, Any]:
        asked.append("status")
        return {"port": port}

    answers = StatusSocket(status, lambda: asked.append("leave"))
    await answers.start(port, directory)
    try:
        yield asked
    finally:
        await answers.close()


async def test_questions_are_answered_at_a_socket_of_the_user_alone(tmp_path: Path) -> None:
    directory = tmp_path / "run"
    async with answering(directory) as asked:
        [path] = directory.iterdir()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
        [joined] = await asyncio.to_thread(find_joined, directory)
        assert await asyncio.to_thread(joined.ask, STATUS) == {"port": 40_000}
        assert await asyncio.to_thread(joined.ask, LEAVE) == {"leaving": True}
        with pytest.raises(StatusError, match="does not understand"):
            await asyncio.to_thread(joined.ask, "other")
        assert asked == ["status", "leave"]
    assert list(directory.iterdir()) == []
    with pytest.raises(StatusError, match="does not answer"):
        await asyncio.to_thread(joined.ask, STATUS)


async def test_what_a_killed_process_left_is_taken_away(tmp_path: Path) -> None:
    for name in ("mesh-join-1.sock", "mesh-join-40000.sock"):
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(tmp_path / name))
    (tmp_path / "mesh-join-x.sock").touch()
    async with answering(tmp_path):
        assert [joined.port for joined in await asyncio.to_thread(find_joined, tmp_path)] == [40_000]
    assert [path.name for path in tmp_path.iterdir()] == ["mesh-join-x.sock"]


async def ask(home: Path, *arguments: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "pyconnector", "mesh", *arguments, env=os.environ | {"HOME": str(home)}, stdout=-1,
        stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    out, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode()


@pytest.fixture
def home() -> Iterator[Path]:
    """A home with a short name: the path of a Unix socket has some 100 bytes."""
    with tempfile.TemporaryDirectory(prefix="h") as name:
        yield Path(name)


async def test_a_join_says_how_it_is_and_leaves(home: Path) -> None:
    async with asyncio.timeout(60), gateway_house() as house, echo_service() as port:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "pyconnector", "mesh", "join", url_of(house), "--token-file",
            str(token_file(home)), "--listen", "127.0.0.1:0", "--include", "127.0.0.0/8",
            env=os.environ | {"HOME": str(home)}, stdout=-1,
        )  # fmt: skip
        assert process.stdout is not None
        try:
            where = (await process.stdout.readline()).decode().split("http://")[1].strip().rpartition(":")
            client = await Client.at((where[0], int(where[2])))
            assert await client.http_connect("127.0.0.1", port, user="", secret="") == 200
            assert await client.ask(b"hello") == b"hello"
            refused = await Client.at((where[0], int(where[2])))
            assert await refused.http_connect("127.9.9.9", 1, user="", secret="") == 504
            refused.close()

            code, out = await ask(home, "status", "--json")
            status = json.loads(out)
            assert (code, status["client_id"], status["gateway_error"]) == (0, CLIENT_ID, "")
            assert (status["connections"], status["opened"], status["failed"]) == (1, 1, 1)
            assert (status["bytes_sent"], status["bytes_received"], status["include"]) == (5, 5, ["127.0.0.0/8"])
            assert "127.9.9.9:1" in status["last_error"]
            assert (status["protocol"], status["protocol_note"]) == ("http2", "")
            assert SECRET not in out
            gateway_of(house)._listeners[0].close()
            code, out = await ask(home, "status")
            assert code == 1
            assert "cannot be reached" in out
            assert await ask(home, "leave", "--listen", f"127.0.0.1:{where[2]}") == (0, "left\n")
            assert await process.wait() == 0
            assert await ask(home, "status") == (1, "error: no mesh join of this user is running\n")
            client.close()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
