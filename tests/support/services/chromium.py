"""A headless Chromium, driven over its debugging protocol (a WebSocket on loopback)."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import websockets

#: Seconds for the browser to start, and for something to be seen.
PATIENCE = 30.0


class Tab:
    """One page."""

    def __init__(self, socket: websockets.ClientConnection) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self.complaints: list[str] = []
        "Errors of scripts, and what the content policy blocked."
        self._reading = asyncio.create_task(self._read())

    async def close(self) -> None:
        self._reading.cancel()
        await asyncio.wait([self._reading])

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        await self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        async with asyncio.timeout(PATIENCE):
            found: dict[str, Any] = await answer
        return found

    async def open(self, url: str) -> None:
        await self.call("Page.navigate", url=url)
        await self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    async def run(self, script: str, *, waits: bool = False) -> object:
        """The value of an expression, or of its promise."""
        answer = await self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=waits)
        return answer.get("result", {}).get("result", {}).get("value")

    async def until(self, script: str) -> None:
        """Wait until an expression is true."""
        async with asyncio.timeout(PATIENCE):
            while await self.run(script) is not True:
                await asyncio.sleep(0.1)

    async def screenshot(self, path: Path) -> None:
        answer = await self.call("Page.captureScreenshot", format="png")
        path.write_bytes(base64.b64decode(answer["result"]["data"]))

    async def _read(self) -> None:
        async for text in self._socket:
            message = json.loads(text)
            if message.get("id") in self._answers:
                self._answers.pop(message["id"]).set_result(message)
            elif message.get("method") == "Runtime.exceptionThrown" or _is_error(message):
                self.complaints.append(json.dumps(message["params"])[:500])


def _is_error(message: dict[str, Any]) -> bool:
    return message.get("method") == "Log.entryAdded" and message["params"]["entry"]["level"] == "error"


@contextlib.asynccontextmanager
async def running_chromium(binary: str, profile: Path, *flags: str) -> AsyncIterator[Tab]:
    """Start a browser with an empty profile for the block."""
    command = [
        binary, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync", "--window-size=1200,1000",
        *flags,
        "--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank",
    ]  # fmt: skip
    process = await asyncio.create_subprocess_exec(
        *command, stdout=-3, stderr=-3, env=os.environ | {"HOME": str(profile.parent)}
    )
    try:
        port_file = profile / "DevToolsActivePort"
        async with asyncio.timeout(PATIENCE):
            while not port_file.exists() or not port_file.read_text().strip():
                await asyncio.sleep(0.1)
        port = port_file.read_text().split()[0]
        async with httpx.AsyncClient(trust_env=False) as client:
            pages = (await client.get(f"http://127.0.0.1:{port}/json/list")).json()
        (page,) = [page for page in pages if page["type"] == "page"]
        async with websockets.connect(page["webSocketDebuggerUrl"], max_size=None, proxy=None) as socket:
            tab = Tab(socket)
            for domain in ("Page", "Runtime", "Log"):
                await tab.call(f"{domain}.enable")
            try:
                yield tab
            finally:
                await tab.close()
    finally:
        process.kill()
        await process.wait()
