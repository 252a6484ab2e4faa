"""`pyconnector tail`: its arguments, what it prints, and why it ends; against a scripted far end."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import Awaitable, Callable

import pytest
from click.testing import CliRunner

from pyconnector.connector.cli.commands import main
from pyconnector.connector.cli.tail.client import LogReader, TailFailed, Wanted
from pyconnector.connector.cli.tail.tail import line_text
from pyconnector.web.websocket import frames
from tests.support.identity.management import management_token

Server = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        ([], 255, "give the UUID of a tunnel"),
        (["--level", "loud", "x"], 2, "--level is one of debug, info, warn, error"),
        (["--event", "dns", "x"], 2, "--event is one of cloudflared, http, tcp, udp"),
        (["--sample", "0", "x"], 2, "above 0 and up to 1"),
        (["x", "--sample", "0"], 2, "above 0 and up to 1"),
        (["token", "x", "--origincert", "/nowhere"], 1, "/nowhere"),
        (["--output", "xml", "x"], 2, "--output is default or json"),
        (["--token", "a.b.c"], 1, "the token cannot be used"),
        (["--connector-id", "x", "--token", "a.b.c"], 2, "--connector-id is no UUID"),
        (["--edge-url", "edge.test", "--token", management_token("t")], 2, "--edge-url is http"),
        (["--edge-url", "http://127.0.0.1:1", "--token", management_token("t")], 1, "cannot reach http://127.0.0.1:1"),
    ],
)
def test_what_is_wrong_is_one_sentence(arguments: list[str], code: int, sentence: str) -> None:
    found = CliRunner().invoke(main, ["tail", *arguments], env={"TUNNEL_MANAGEMENT_TOKEN": ""})
    assert found.exit_code == code, found.output
    assert sentence in found.output
    assert "a.b.c" not in found.output


@pytest.mark.parametrize(("arguments", "code"), [(["x", "--help"], 0), (["x", "y"], 2)])
def test_the_tunnel_of_tail_is_no_command_in_its_usage(arguments: list[str], code: int) -> None:
    found = CliRunner().invoke(main, ["tail", *arguments], prog_name="pyconnector")
    assert found.exit_code == code
    assert "Usage: pyconnector tail [OPTIONS] TUNNEL" in found.output
    assert "tail of" not in found.output


@pytest.mark.parametrize("command", [["tail", "token", "x"], ["management", "token", "--resource", "logs", "x"]])
def test_flags_of_the_account_may_stand_before_the_command(command: list[str]) -> None:
    found = CliRunner().invoke(main, ["--config", "c.yml", "--origincert", "/nowhere", *command])
    assert (found.exit_code, "/nowhere" in found.output) == (1, True), found.output
    refused = CliRunner().invoke(main, ["--edge", "127.0.0.1:1", *command])
    assert (refused.exit_code, f"no flags can stand before the command {command[0]}" in refused.output) == (2, True)


def test_a_line_is_time_level_event_message_and_fields() -> None:
    line = {"time": "T", "level": "info", "message": "a\x1b", "event": "http", "fields": {"a": 1}}
    assert line_text(line) == 'T info http a\\x1b {"a": 1}'
    assert line_text({"time": "T", "message": "m"}) == "T debug cloudflared m null"


async def read(script: Server) -> list[str]:
    """The messages that a reader gets of a server that runs `script` once it has accepted."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"GET /logs?access_token=token HTTP/1.1\r\nHost: management.test\r\n" in head
        key = head.partition(b"Sec-WebSocket-Key: ")[2].partition(b"\r\n")[0]
        guid = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        proof = base64.b64encode(hashlib.sha1(key + guid, usedforsecurity=False).digest())
        writer.write(b"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: " + proof + b"\r\n\r\n")
        await script(reader, writer)
        writer.close()

    return await _read(serve)


async def _read(serve: Server) -> list[str]:
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    log = LogReader(Wanted(url=f"http://127.0.0.1:{port}", hostname="management.test", token="token", share=0.5))
    try:
        await log.open()
        return [line["message"] async for line in log.lines()]
    finally:
        await log.close()
        server.close()


def logs(*messages: str) -> bytes:
    text = json.dumps({"type": "logs", "logs": [{"message": message} for message in messages]}).encode()
    return frames.frame(frames.TEXT, text[:10], fin=False) + frames.frame(frames.CONTINUATION, text[10:])


async def test_lines_are_read_until_the_far_end_closes() -> None:
    started: list[bytes] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        decoder = frames.FrameDecoder()
        writer.write(logs("a", "b") + frames.frame(frames.PING, b"?"))
        while len(started) < 2:
            started.extend(item.payload for item in decoder.feed(await reader.read(1000)))
        writer.write(logs("c") + frames.close_frame(1000))

    assert await read(script) == ["a", "b", "c"]
    assert json.loads(started[0]) == {"type": "start_streaming", "filters": {"level": "debug", "sampling": 0.5}}
    assert started[1] == b"?"


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (frames.close_frame(4002), "somebody else reads its log"),
        (frames.close_frame(4003), "idle for too long"),
        (frames.close_frame(1011, "why"), "the connector ended it: why"),
        (frames.frame(frames.TEXT, b"[]"), "what is no line of a log"),
        (b"\xff\xff", "the connection broke off: reserved bits are set"),
        (b"", "the connection broke off"),
    ],
)
async def test_why_it_ends_is_said(answer: bytes, sentence: str) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        writer.write(answer)

    with pytest.raises(TailFailed, match=sentence):
        await read(script)


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (b"HTTP/1.1 530 x\r\nContent-Length: 0\r\n\r\n", "no connector of this tunnel is connected"),
        (
            b'HTTP/1.1 400 x\r\nContent-Length: 44\r\n\r\n{"errors": [{"code": 1001, "message": "gone"}]}',
            r"was refused with status 400|\(1001\) gone",
        ),
        (b"HTTP/1.1 403 x\r\n\r\n", "was refused with status 403; is the token right"),
        (b"SSH-2.0\r\n\r\n", "does not speak HTTP"),
        (b"HTTP/1.1 101 x\r\nSec-WebSocket-Accept: x\r\n\r\n", "does not speak WebSocket"),
        (b"", "it closed the connection"),
    ],
)
async def test_a_far_end_that_refuses_is_understood(answer: bytes, sentence: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    with pytest.raises(TailFailed, match=sentence):
        await _read(serve)
