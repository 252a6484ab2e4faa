"""The origin of `files:/path`: GET and HEAD of files and listings. Everything that touches the disk is in threads."""

from __future__ import annotations

import asyncio
import mimetypes
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from pyconnector.origins.base import Headers, Origin, OriginError, OriginRequest, OriginResponse, RequestKind
from pyconnector.origins.builtin.memory import MemoryResponse
from pyconnector.origins.files.conditions import Version, choose
from pyconnector.origins.files.listing import as_json, as_page
from pyconnector.origins.files.opening import IS_POSSIBLE, NotThere, list_directory, open_path, open_root
from pyconnector.origins.files.paths import read_path
from pyconnector.origins.files.response import FileResponse

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyconnector.origins.base import ByteReader
    from pyconnector.origins.files.opening import Listing
    from pyconnector.origins.files.paths import FilePath

#: Files of one service that are open at once.
MAX_OPEN = 256
#: Threads that touch the disk, of one service.
THREADS = 4
#: Only what Python brings: what this machine says of its own may change.
_TYPES = mimetypes.MimeTypes(filenames=())
_COMPRESSED = {"gzip": b"application/gzip", "bzip2": b"application/x-bzip2", "xz": b"application/x-xz"}
#: A page among the files must not act in the name of its host, and no cache may answer for a grant that is over.
_SAFE: Headers = [(b"X-Content-Type-Options", b"nosniff"), (b"Cache-Control", b"private, no-cache")]
_SANDBOX = (b"Content-Security-Policy", b"sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src 'self'")
#: What is shown by something of its own, which a sandbox would not let begin.
_PDF = b"application/pdf"


class FilesOrigin(Origin):
    """Serves what is below one directory."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._root: int | None = None
        self._open = 0
        self._threads: ThreadPoolExecutor | None = None

    async def start(self) -> None:
        """Open the directory.

        Raises:
            OriginError: there is none, or this system cannot serve files safely.
        """
        if not IS_POSSIBLE:
            raise OriginError("files: is not served on this system, which cannot open files without following links")
        try:
            self._root = open_root(self._path)
        except OSError as error:
            raise OriginError(f"The directory {self._path} cannot be opened: {error.strerror or error}") from error
        self._threads = ThreadPoolExecutor(THREADS, "files")

    async def close(self) -> None:
        """Close the directory; files that are being read go on to their end. Idempotent."""
        root, self._root = self._root, None
        if root is not None:
            os.close(root)

    async def probe(self) -> None:
        """See `Origin.probe`.

        Raises:
            OriginError: the directory is gone.
        """
        if not await asyncio.to_thread(os.path.isdir, self._path):
            raise OriginError(f"The directory {self._path} is not there")

    async def serve(self, request: OriginRequest, body: ByteReader) -> OriginResponse:
        """Answer. Cancel leaves nothing open.

        Raises:
            OriginError: it is a TCP stream by address, or too many files are open.
        """
        if request.kind is RequestKind.TCP:
            raise OriginError("A TCP stream cannot be sent to an HTTP service")
        if request.method not in ("GET", "HEAD") or request.kind is RequestKind.WEBSOCKET:
            return _told(405, b"Only GET and HEAD are served here.", request, [(b"Allow", b"GET, HEAD")])
        path = read_path(request.target)
        if path is None:
            return _told(404, b"There is no such file.", request)
        if self._open >= MAX_OPEN:
            raise OriginError(f"{MAX_OPEN} files are open already", status=503)
        self._open += 1
        try:
            return await self._serve(request, path)
        except NotThere:
            self._closed()
            return _told(404, b"There is no such file.", request)
        except BaseException:
            self._closed()
            raise

    async def _serve(self, request: OriginRequest, path: FilePath) -> OriginResponse:
        if self._root is None or self._threads is None:
            raise OriginError("The directory is not open")
        file, found = await _opened(self._threads, os.dup(self._root), path)
        try:
            if not stat.S_ISDIR(found.st_mode):
                if path.is_directory:
                    raise NotThere
                return self._file(request, path, file, found)
            answer = await self._directory(request, path, file)
        except BaseException:
            os.close(file)
            raise
        os.close(file)
        self._closed()
        return answer

    async def _directory(self, request: OriginRequest, path: FilePath, directory: int) -> OriginResponse:
        assert self._threads is not None
        if path.names and not path.is_directory:
            return _told(301, b"", request, [(b"Location", path.url.encode("ascii") + b"/")])
        wanted = [value.lower() for name, value in request.headers if name.lower() == b"accept"]
        render, kind = as_page, b"text/html; charset=utf-8"
        if any(b"application/json" in value for value in wanted):
            render, kind = as_json, b"application/json"
        # Given up by a cancel it goes on with a descriptor of its own, which it closes.
        loop = asyncio.get_running_loop()
        page = await loop.run_in_executor(self._threads, _rendered, os.dup(directory), path, render)
        headers = [(b"Content-Type", kind), (b"Content-Length", b"%d" % len(page)), _SANDBOX, *_SAFE]
        return MemoryResponse(200, headers, b"" if request.method == "HEAD" else page)

    def _file(self, request: OriginRequest, path: FilePath, file: int, found: os.stat_result) -> OriginResponse:
        assert self._threads is not None
        version = Version(found.st_size, found.st_mtime_ns, found.st_ino)
        part = choose(version, request.method, {name.lower(): value for name, value in request.headers})
        headers: Headers = [(b"ETag", version.tag), (b"Last-Modified", version.modified), *_SAFE]
        if part.status in (200, 206):
            kind = content_type(path.names[-1])
            headers += [(b"Content-Type", kind), (b"Content-Length", b"%d" % part.length), (b"Accept-Ranges", b"bytes")]
            if kind != _PDF:
                headers.append(_SANDBOX)
        if part.status == 206:
            place = (part.first, part.first + part.length - 1, version.size)
            headers.append((b"Content-Range", b"bytes %d-%d/%d" % place))
        elif part.status == 416:
            headers += [(b"Content-Range", b"bytes */%d" % version.size), (b"Content-Length", b"0")]
        elif part.status == 412:
            headers.append((b"Content-Length", b"0"))
        length = part.length if request.method == "GET" else 0
        return FileResponse(part.status, headers, file, (part.first, length), self._threads, self._closed)

    def _closed(self) -> None:
        self._open -= 1


def content_type(name: bytes) -> bytes:
    """Return what a file is, by its name alone."""
    kind, encoding = _TYPES.guess_type(name.decode("utf-8", "replace"))
    if encoding is not None:
        return _COMPRESSED.get(encoding, b"application/octet-stream")
    if kind is None:
        return b"application/octet-stream"
    return kind.encode("ascii") + (b"; charset=utf-8" if kind.startswith("text/") else b"")


async def _opened(threads: ThreadPoolExecutor, root: int, path: FilePath) -> tuple[int, os.stat_result]:
    opening = asyncio.get_running_loop().run_in_executor(threads, open_path, root, path)
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        opening.add_done_callback(_close_opened)
        raise


def _close_opened(opening: asyncio.Future[tuple[int, os.stat_result]]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        os.close(opening.result()[0])


def _rendered(directory: int, path: FilePath, render: Callable[[Listing, FilePath], bytes]) -> bytes:
    try:
        return render(list_directory(directory), path)
    finally:
        os.close(directory)


def _told(status: int, text: bytes, request: OriginRequest, more: Headers | None = None) -> OriginResponse:
    body = text + b"\n" if text else b""
    headers = [(b"Content-Length", b"%d" % len(body)), *(more or []), *_SAFE]
    if body:
        headers.append((b"Content-Type", b"text/plain; charset=utf-8"))
    return MemoryResponse(status, headers, b"" if request.method == "HEAD" else body)
