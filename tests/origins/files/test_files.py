"""`files:/path`: what is served, what is not, conditions and ranges, and that nothing stays open."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from pyconnector.origins.base import OriginError, OriginResponse, RequestKind
from pyconnector.origins.files import opening
from pyconnector.origins.files import origin as origins
from pyconnector.origins.files.origin import FilesOrigin, content_type
from tests.origins.support import get, read_all
from tests.support.houses.house import open_descriptors
from tests.support.wire.bodies import Body

TEXT = b"0123456789" * 100


@contextlib.asynccontextmanager
async def files(root: Path) -> AsyncIterator[FilesOrigin]:
    """An origin of `root`; nothing is open any more at the end."""
    before = open_descriptors()
    origin = FilesOrigin(str(root))
    await origin.start()
    try:
        yield origin
    finally:
        await origin.close()
    async with asyncio.timeout(30):
        while open_descriptors() > before:
            await asyncio.sleep(0.01)
    assert origin._open == 0


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "docs"
    (root / "sub" / "deep").mkdir(parents=True)
    (root / "handbook.pdf").write_bytes(TEXT)
    (root / "empty.txt").write_bytes(b"")
    (root / "sub" / "a b%&\"'<.html").write_bytes(b"<script>")
    (root / "sub" / "ü").write_bytes(b"umlaut")
    (root / ".secret").write_bytes(b"hidden")
    (root / ".git").mkdir()
    (root / ".git" / "config").write_bytes(b"hidden")
    (tmp_path / "outside.txt").write_bytes(b"outside")
    (root / "link.txt").symlink_to(tmp_path / "outside.txt")
    (root / "inside-link.txt").symlink_to("handbook.pdf")
    (root / "link-dir").symlink_to(tmp_path)
    os.mkfifo(root / "pipe")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(root / "socket"))
    return root


def field(response: OriginResponse, name: bytes) -> bytes | None:
    found = [value for key, value in response.headers if key == name]
    assert len(found) <= 1
    return found[0] if found else None


async def ask(origin: FilesOrigin, target: str, *headers: tuple[bytes, bytes], method: str = "GET") -> OriginResponse:
    async with asyncio.timeout(30):
        return await origin.serve(get(target, *headers, method=method), Body(b""))


async def told(
    origin: FilesOrigin, target: str, *headers: tuple[bytes, bytes], method: str = "GET"
) -> tuple[int, bytes]:
    response = await ask(origin, target, *headers, method=method)
    return response.status, await read_all(response)


async def test_a_file_is_read_whole_with_what_it_is(root: Path) -> None:
    async with files(root) as origin:
        response = await ask(origin, "/handbook.pdf?x=y")
        assert (response.status, field(response, b"Content-Type")) == (200, b"application/pdf")
        assert field(response, b"Content-Length") == b"1000"
        assert field(response, b"Accept-Ranges") == b"bytes"
        assert field(response, b"Cache-Control") == b"private, no-cache"
        assert await read_all(response) == TEXT
        assert await told(origin, "/handbook.pdf", method="HEAD") == (200, b"")
        assert await told(origin, "/empty.txt") == (200, b"")
        assert await told(origin, "/sub/%C3%BC") == (200, b"umlaut")
        page = await ask(origin, "/sub/a%20b%25%26%22%27%3C.html")
        assert field(page, b"Content-Security-Policy") is not None  # it must not act in the name of its host
        assert await read_all(page) == b"<script>"


NOWHERE = [
        "/none.txt", "/..", "/../outside.txt", "/sub/../../outside.txt", "/sub/..", "/%2e%2e/outside.txt",
        "/.%2e/outside.txt", "/%252e%252e/outside.txt", "/sub/%2e/deep", "/./handbook.pdf", "//handbook.pdf",
        "/sub//deep", "/sub%2fdeep", "/..%2foutside.txt", "/..%5coutside.txt", "/..\\outside.txt",
        "/handbook.pdf%00", "/handbook.pdf%00.txt", "/handbook.pdf%0a", "/handbook.pdf/", "/handbook.pdf/x",
        "/handbook.pdf%", "/handbook.pdf%zz", "/.secret", "/.git/config", "/.git", "/link.txt", "/inside-link.txt",
        "/link-dir/outside.txt", "/link-dir/", "/link-dir/docs/handbook.pdf", "/pipe", "/socket", "/HANDBOOK.PDF",
        "/handbook.pdf;x", "*", "", "http://x/handbook.pdf", "/" + "a" * 300, "/" + "a/" * 100, "/" + "%61" * 5000,
        "/\udcff",
]  # fmt: skip


async def test_nothing_leads_out_of_the_directory(root: Path) -> None:
    async with files(root) as origin:
        for target in NOWHERE:
            assert await told(origin, target) == (404, b"There is no such file.\n"), target


async def test_devices_and_what_may_not_be_read_are_not_there(root: Path) -> None:
    async with files(Path("/dev")) as devices:
        for name in ("null", "zero", "tty"):
            assert (await told(devices, f"/{name}"))[0] == 404
    async with files(Path("/proc/self")) as process:
        assert (await told(process, "/fd/0"))[0] == 404  # a link, whatever it leads to


async def test_a_name_that_becomes_a_link_in_between_leads_nowhere(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    look = os.stat

    def replace(path: Any, **more: Any) -> os.stat_result:
        found = look(path, **more)
        (root / "handbook.pdf").unlink()
        (root / "handbook.pdf").symlink_to(root.parent / "outside.txt")
        return found

    async with files(root) as origin:
        monkeypatch.setattr(os, "stat", replace)
        assert (await told(origin, "/handbook.pdf"))[0] == 404


async def test_directories_are_listed_without_what_is_not_served(root: Path) -> None:
    async with files(root) as origin:
        status, page = await told(origin, "/")
        assert status == 200
        assert b"handbook.pdf" in page
        for name in (b"secret", b".git", b"link", b"pipe", b"socket"):
            assert name not in page
        listing = json.loads((await told(origin, "/sub/", (b"Accept", b"application/json")))[1])
        assert [(entry["name"], entry["type"], entry["url"]) for entry in listing["entries"]] == [
            ("deep", "directory", "/sub/deep/"),
            ("a b%&\"'<.html", "file", "/sub/a%20b%25%26%22%27%3C.html"),
            ("ü", "file", "/sub/%C3%BC"),
        ]
        page = (await told(origin, "/sub/"))[1]
        assert b"a b%&amp;&quot;&#x27;&lt;.html" in page
        assert b"<.html" not in page
        for entry in listing["entries"]:
            assert (await told(origin, entry["url"]))[0] == 200
        moved = await ask(origin, "/sub?x")
        assert (moved.status, field(moved, b"Location")) == (301, b"/sub/")
        assert (await ask(origin, "/sub/", method="HEAD")).status == 200


async def test_a_listing_has_an_end(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "MAX_ENTRIES", 3)
    for number in range(10):
        (root / "sub" / str(number)).write_bytes(b"")
    async with files(root) as origin:
        listing = json.loads((await told(origin, "/sub/", (b"Accept", b"application/json")))[1])
        assert (len(listing["entries"]), listing["whole"]) == (3, False)
        assert b"more files than are shown" in (await told(origin, "/sub/"))[1]


@pytest.mark.parametrize(
    ("wanted", "status", "content_range", "body"),
    [
        (b"bytes=0-9", 206, b"bytes 0-9/1000", TEXT[:10]),
        (b"bytes=990-", 206, b"bytes 990-999/1000", TEXT[990:]),
        (b"bytes=-5", 206, b"bytes 995-999/1000", TEXT[995:]),
        (b"bytes=-5000", 206, b"bytes 0-999/1000", TEXT),
        (b"bytes=995-5000", 206, b"bytes 995-999/1000", TEXT[995:]),
        (b"bytes=1000-", 416, b"bytes */1000", b""),
        (b"bytes=-0", 416, b"bytes */1000", b""),
        (b"bytes=0-1,5-6", 200, None, TEXT),
        (b"bytes=9-0", 200, None, TEXT),
        (b"bytes=-", 200, None, TEXT),
        (b"lines=0-1", 200, None, TEXT),
        (b"bytes=" + b"9" * 30 + b"-", 200, None, TEXT),
    ],
)
async def test_one_range_is_served(
    root: Path, wanted: bytes, status: int, content_range: bytes | None, body: bytes
) -> None:
    async with files(root) as origin:
        response = await ask(origin, "/handbook.pdf", (b"Range", wanted))
        assert (response.status, field(response, b"Content-Range")) == (status, content_range)
        assert await read_all(response) == body
        assert (await ask(origin, "/handbook.pdf", (b"Range", wanted), method="HEAD")).status == 200


async def test_conditions_decide_in_their_order(root: Path) -> None:
    os.utime(root / "handbook.pdf", (1_700_000_000, 1_700_000_000))
    async with files(root) as origin:
        response = await ask(origin, "/handbook.pdf", method="HEAD")
        tag, modified = field(response, b"ETag"), field(response, b"Last-Modified")
        assert tag is not None
        assert modified == b"Tue, 14 Nov 2023 22:13:20 GMT"
        earlier, later = b"Tue, 14 Nov 2023 22:13:19 GMT", b"Tue, 14 Nov 2023 22:13:21 GMT"
        first = (b"Range", b"bytes=0-0")
        for status, *headers in (
            (304, (b"If-None-Match", tag)),
            (304, (b"If-None-Match", b'"x", W/' + tag)),
            (304, (b"If-None-Match", b"*")),
            (200, (b"If-None-Match", b'"x"')),
            (200, (b"If-None-Match", b'"x"'), (b"If-Modified-Since", later)),
            (304, (b"If-Modified-Since", modified)),
            (304, (b"If-Modified-Since", later)),
            (200, (b"If-Modified-Since", earlier)),
            (200, (b"If-Modified-Since", b"nonsense")),
            (412, (b"If-Match", b'"x"')),
            (412, (b"If-Match", b"W/" + tag)),
            (200, (b"If-Match", tag)),
            (412, (b"If-Unmodified-Since", earlier)),
            (200, (b"If-Unmodified-Since", modified)),
            (304, (b"If-None-Match", tag), first),
            (206, (b"If-Range", tag), first),
            (206, (b"If-Range", modified), first),
            (200, (b"If-Range", later), first),
            (200, (b"If-Range", b'"x"'), first),
        ):
            found = await ask(origin, "/handbook.pdf", *headers)
            assert found.status == status, headers
            await read_all(found)
        (root / "handbook.pdf").write_bytes(TEXT[:-1] + b"!")
        assert (await told(origin, "/handbook.pdf", (b"If-None-Match", tag)))[0] == 200


async def test_only_reading_is_served(root: Path) -> None:
    async with files(root) as origin:
        for method in ("PUT", "DELETE", "POST", "PATCH", "PROPFIND"):
            response = await ask(origin, "/handbook.pdf", method=method)
            assert (response.status, field(response, b"Allow")) == (405, b"GET, HEAD")
        assert (await origin.serve(get("/", kind=RequestKind.WEBSOCKET), Body(b""))).status == 405
        with pytest.raises(OriginError, match="TCP"):
            await origin.serve(get("/", kind=RequestKind.TCP), Body(b""))


async def test_a_file_is_read_no_further_than_it_is_taken_and_closed_when_given_up(root: Path) -> None:
    (root / "large").write_bytes(bytes(10_000_000))
    async with files(root) as origin:
        response = await ask(origin, "/large")
        assert len(await response.receive(1000)) == 1000
        response.abort()
        response.abort()
        with pytest.raises(OriginError):
            await (await shortened(origin, root)).receive()
        waiting = await ask(origin, "/large")
        task = asyncio.ensure_future(waiting.receive())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(await read_all(waiting)) == 10_000_000


async def shortened(origin: FilesOrigin, root: Path) -> OriginResponse:
    response = await ask(origin, "/handbook.pdf")
    (root / "handbook.pdf").write_bytes(b"")
    return response


async def test_open_files_are_bounded(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(origins, "MAX_OPEN", 2)
    async with files(root) as origin:
        held = [await ask(origin, "/handbook.pdf") for _ in range(2)]
        with pytest.raises(OriginError, match="open already") as caught:
            await ask(origin, "/handbook.pdf")
        assert caught.value.status == 503
        for response in held:
            response.abort()
        assert (await told(origin, "/handbook.pdf"))[0] == 200


async def test_a_request_that_is_cancelled_leaves_nothing_open(root: Path) -> None:
    async with files(root) as origin:
        for target in ("/handbook.pdf", "/sub/"):
            for turns in range(4):
                task = asyncio.ensure_future(ask(origin, target))
                for _ in range(turns):
                    await asyncio.sleep(0)
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    (await task).abort()


async def test_a_directory_that_is_none_stops_the_start(tmp_path: Path) -> None:
    for place in (tmp_path / "none", __file__):
        with pytest.raises(OriginError, match="cannot be opened"):
            await FilesOrigin(str(place)).start()


def test_types_are_those_of_python_alone() -> None:
    assert [content_type(name) for name in (b"a.txt", b"a.tar.gz", b"a.json", b"a.unknown", b"a", b"\xff.pdf")] == [
        b"text/plain; charset=utf-8", b"application/gzip", b"application/json", b"application/octet-stream",
        b"application/octet-stream", b"application/pdf",
    ]  # fmt: skip
