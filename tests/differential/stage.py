"""One edge, one connector (ours or a genuine cloudflared), and for each case an origin that keeps the bytes.

An origin of its own, so that no case meets a pooled connection of another; what meets no rule shares the last one.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import re
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from bench.loads.data_streams import open_message
from pyconnector import Connector
from pyconnector.edge import EdgeSettings, LocalEdge
from pyconnector.edge.connectors.exchange import Broken
from pyconnector.protocol.errors import ProtocolError
from pyconnector.protocol.http.headers import response_head
from pyconnector.protocol.streams.connect import ConnectRequest
from pyconnector.transport.errors import TransportError
from tests.differential.case import OK, Case, Origin, WireCase
from tests.differential.messages import Message, shortened, shown, take
from tests.support.houses.house import SECRET, TUNNEL_ID, config_for, credentials, tunnel

if TYPE_CHECKING:
    from pyconnector.edge.connectors.quic.exchange import QuicExchange

#: Seconds for one answer, and for an origin to see the end of what it got.
PATIENCE = 30.0
#: Seconds that a genuine connector has to register.
START_TIMEOUT = 30.0
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_CLOSING = Origin(answer=(OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1),), closes=True)
#: Fields that an error page of the edge has. Its words are each connector's own.
_EDGE_FIELDS = {"Cache-Control", "X-Content-Type-Options"}


class Recorder:
    """The origin of one rule."""

    def __init__(self, origin: Origin) -> None:
        self.origin = origin
        self.connections: list[bytearray] = []
        self.changed = asyncio.Event()
        self.running: set[asyncio.Task[None]] = set()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.running.add(task)
        received = bytearray()
        self.connections.append(received)
        try:
            await self._converse(received, reader, writer)
        except (asyncio.CancelledError, ConnectionError, ValueError):
            pass
        finally:
            self.running.discard(task)
            self.changed.set()
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _converse(self, received: bytearray, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answered = 0
        while data := await reader.read(65_536):
            received += data
            if self.origin.is_stream:
                complete = not answered
            else:
                complete = not answered and take(bytes(received)) is not None
            if complete:
                answered += 1
                for piece in self.origin.answer:
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0.002)  # a segment of its own
                self.changed.set()
                if self.origin.closes:
                    return

    def clear(self) -> None:
        self.connections = []
        self.changed.clear()


class Stage:
    """Runs cases, one after the other."""

    def __init__(self, edge: LocalEdge, recorders: dict[str, Recorder]) -> None:
        self.edge = edge
        self._recorders = recorders

    async def run(self, case: Case | WireCase) -> dict[str, Any]:
        """What the origin received and what the visitor (or edge) got, as plain data."""
        recorder, any_host = self._recorders[case.name], self._recorders[""]
        any_host.clear()
        got = await (self._visit(case) if isinstance(case, Case) else self._declare(case))
        received = [_requests(bytes(data), case) for one in (recorder, any_host) for data in one.connections if data]
        return {"origin": received, "got": got}

    async def _visit(self, case: Case) -> Message:
        reader, writer = await asyncio.open_connection(*self.edge.visitor_address, limit=1 << 22)
        try:
            writer.write(case.sent.replace(b"{host}", case.host.encode()))
            async with asyncio.timeout(PATIENCE):
                return await _answers(case, reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
            await self._settle(case)

    async def _declare(self, case: WireCase) -> Message:
        name = f"{case.name}.test"
        pairs = [*case.metadata]
        if case.host is not None:
            pairs.insert(0, (b"HttpHost", case.host.replace(b"{host}", name.encode())))
        if case.method is not None:
            pairs.insert(0, (b"HttpMethod", case.method))
        request = ConnectRequest(dest=case.dest.replace("{host}", name), type=case.kind, metadata=tuple(pairs))
        exchange: QuicExchange | None = None
        try:
            async with asyncio.timeout(PATIENCE):
                exchange = await open_message(
                    self.edge.tunnels.get(TUNNEL_ID), request, body=case.body, finish=case.finish
                )
                try:
                    response = await exchange.answer()
                except ProtocolError:
                    return {"error": True}
                if response.error:
                    return {"error": True}
                status, headers = response_head(response)
                fields = [[key.decode("latin-1"), value.decode("latin-1")] for key, value in headers]
                body = exchange.leftover
                while piece := await exchange.stream.receive():
                    body += piece
                answer = shortened({"line": "", "fields": sorted(fields)})
                return {"status": status, "fields": answer["fields"], "body": shown(body)}
        except ProtocolError:
            return {"malformed": True}
        except Broken:
            return {"error": True}
        except TransportError:
            return {"reset": True}
        finally:
            if exchange is not None:
                exchange.abort()
            await self._settle(case)

    async def _settle(self, case: Case | WireCase) -> None:
        """Wait until each connection of the case was answered or has ended."""
        recorder = self._recorders[case.name]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.5):
                while recorder.connections and not recorder.changed.is_set():
                    await recorder.changed.wait()


async def _answers(case: Case, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Message:
    data, ended = b"", False
    interim: list[Message] = []
    while True:
        while taken := take(data, body=not case.is_head, ended=ended):
            message, data = taken
            if message["line"].startswith("HTTP/1.1 101"):
                return {**_neutral(message), "then": shown(await _tunnel(case, data, reader, writer))}
            if not message["line"].startswith("HTTP/1.1 1"):
                if _EDGE_FIELDS <= {name for name, _ in message["fields"]}:
                    return {"line": message["line"], "page": "of the edge"}
                return {**_neutral(message), **({"interim": interim} if interim else {})}
            interim.append(_neutral(message))
        if ended:
            return {"broken": shown(data)[:40]} if data else {"nothing": True}
        piece = b""
        with contextlib.suppress(ConnectionError):
            piece = await reader.read(1 << 20)
        ended = not piece
        data += piece


async def _tunnel(case: Case, data: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """Send what follows the switch and read until the other side ends, or nothing comes any more."""
    if case.then:
        writer.write(case.then)
    with contextlib.suppress(TimeoutError, ConnectionError):
        async with asyncio.timeout(1.0 if case.origin.closes else 0.3):
            while piece := await reader.read(65_536):
                data += piece
    return data


def _neutral(message: Message) -> Message:
    """`message` without what differs from run to run."""
    fields = []
    for name, value in message["fields"]:
        if name == "Cf-Ray" and re.fullmatch(r"[0-9a-f]{16}-[A-Z]+", value):
            value = "<ray>"
        elif name == "Cf-Warp-Tag-Id" and _UUID.fullmatch(value):
            value = "<uuid>"
        elif name == "Host" and re.fullmatch(r"127\.0\.0\.1:[0-9]+", value):
            value = "<service>"
        fields.append([name, value])
    return shortened({**message, "fields": fields})


def _requests(data: bytes, case: Case | WireCase) -> dict[str, Any]:
    """Everything that came on one connection: whole requests, and the rest."""
    messages = []
    while not case.origin.is_stream and (taken := take(data)):
        message, data = taken
        messages.append(_neutral(message))
    return {"requests": messages, **({"rest": shown(data)} if data else {})}


@contextlib.asynccontextmanager
async def stage(cases: Sequence[Case | WireCase], directory: Path, *, binary: str = "") -> AsyncIterator[Stage]:
    """Start edge, origins and connector: the genuine one that `binary` names, else ours."""
    async with contextlib.AsyncExitStack() as stack:
        recorders: dict[str, Recorder] = {}
        rules: list[dict[str, Any]] = []
        for case in cases:
            assert case.name not in recorders, case.name
            recorder = recorders[case.name] = Recorder(case.origin)
            port = await _listen(stack, recorder)
            scheme = "tcp" if case.origin.is_stream else "http"
            rules.append({"hostname": f"{case.name}.test", "service": f"{scheme}://127.0.0.1:{port}"})
            if case.settings:
                rules[-1]["originRequest"] = dict(case.settings)
        recorders[""] = Recorder(_CLOSING)
        rules.append({"service": f"http://127.0.0.1:{await _listen(stack, recorders[''])}"})
        settings = EdgeSettings(tunnels=(tunnel(),), control=None)
        edge = await stack.enter_async_context(LocalEdge(settings))
        if binary:
            await stack.enter_async_context(_genuine(edge, rules, directory, binary))
        else:
            connector = await stack.enter_async_context(Connector(config_for(edge, rules)))
            async with asyncio.timeout(START_TIMEOUT):
                await connector.wait_ready()
        yield Stage(edge, recorders)


async def run_all(cases: Sequence[Case | WireCase], directory: Path, *, binary: str = "") -> dict[str, Any]:
    """Run every case against one connector; what each came to, by its name."""
    async with stage(cases, directory, binary=binary) as here:
        return {case.name: await here.run(case) for case in cases}


async def _listen(stack: contextlib.AsyncExitStack, recorder: Recorder) -> int:
    server = await asyncio.start_server(recorder.accept, "127.0.0.1", 0, limit=1 << 22)

    async def close() -> None:
        server.close()
        running = list(recorder.running)
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)
        await server.wait_closed()

    stack.push_async_callback(close)
    return int(server.sockets[0].getsockname()[1])


@contextlib.asynccontextmanager
async def _genuine(edge: LocalEdge, rules: list[dict[str, Any]], directory: Path, binary: str) -> AsyncIterator[None]:
    secret = base64.b64encode(SECRET).decode()
    file = directory / "credentials.json"
    account = credentials().account_tag
    file.write_text(json.dumps({"AccountTag": account, "TunnelID": str(TUNNEL_ID), "TunnelSecret": secret}))
    config = {
        "tunnel": str(TUNNEL_ID),
        "credentials-file": str(file),
        "protocol": "quic",
        "grace-period": "1s",
        "ingress": rules,
    }
    (directory / "config.yaml").write_text(yaml.safe_dump(config))
    command = [binary, "tunnel", "--config", str(directory / "config.yaml"), "--no-autoupdate", "--no-prechecks",
               "--metrics", "127.0.0.1:0", "--edge", "{}:{}".format(*edge.quic_address), "--cacert", str(edge.ca_path),
               "--ha-connections", "1", "run"]  # fmt: skip
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    with (directory / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log, cwd=directory, env=environment)
        try:
            async with asyncio.timeout(START_TIMEOUT):
                own = edge.tunnels.get(TUNNEL_ID)
                while own is None or not own.members:
                    await asyncio.sleep(0.05)
                    own = edge.tunnels.get(TUNNEL_ID)
            yield
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()
