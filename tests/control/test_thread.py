"""A control plane in a thread of its own."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import httpx
import pytest

from pyconnector.control.settings import ControlPlaneSettings, SettingsError
from pyconnector.control.thread import ControlPlaneThread


async def test_it_answers_while_this_loop_is_held_up(tmp_path: Path) -> None:
    async with ControlPlaneThread(ControlPlaneSettings(data_directory=tmp_path / "data")) as running:
        headers = {"Authorization": f"Bearer {running.plane.installation.first_token}"}
        # A synchronous client: this loop turns for nobody meanwhile.
        answer = httpx.get(f"{running.plane.api_url}/user/tokens/verify", headers=headers, timeout=20)
        assert answer.status_code == 200
        url = running.plane.api_url
    assert "control plane" not in {thread.name for thread in threading.enumerate()}
    with pytest.raises(httpx.ConnectError):
        httpx.get(url, timeout=20)
    await running.stop()  # again: nothing to do


async def test_a_start_that_fails_is_told_where_it_was_asked_for(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = ControlPlaneSettings(data_directory=tmp_path / "data", address=taken.getsockname()[:2])
        with pytest.raises(SettingsError, match=r"cannot start at [0-9.:]+: Address already in use$"):
            await ControlPlaneThread(settings).start()
    assert "control plane" not in {thread.name for thread in threading.enumerate()}
