"""The layer of a rule's opt-in changes: rewritten targets, header rules, an error page of one's own.

Only rules that ask for one of these have it; all others are served by their origin directly.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pyconnector.ingress.rules.error_page import MAX_ERROR_PAGE
from pyconnector.ingress.rules.rewrite import Redirect, TargetRewriter, TargetTooLong
from pyconnector.origins.base import ByteReader, Origin, OriginError, OriginRequest, OriginResponse
from pyconnector.origins.builtin.memory import MemoryResponse
from pyconnector.origins.layers.base import LayeredOrigin

if TYPE_CHECKING:
    from pyconnector.ingress import Rule
    from pyconnector.ingress.rules.error_page import ErrorPage


class RewritingOrigin(LayeredOrigin):
    """Changes requests on their way to `inner`, and responses on their way back."""

    def __init__(self, inner: Origin, rule: Rule) -> None:
        super().__init__(inner, rule)
        settings = rule.settings
        self._rewriter = TargetRewriter.of(settings)
        self._request_rules = settings.request_headers
        self._response_rules = settings.response_headers
        self._page = settings.error_page
        self._page_content: bytes | None = None

    async def start(self) -> None:
        """Read the error page and start the origin. Cancel leaves it unstarted.

        Raises:
            OriginError: the page's file cannot be used, or the origin cannot start.
        """
        if self._page is not None and self._page.file:
            self._page_content = await asyncio.to_thread(_read_page, self._page)
        await self.inner.start()

    async def serve(self, request: OriginRequest, body: ByteReader) -> OriginResponse:
        """Change, ask, change. Cancel is the origin's.

        Raises:
            OriginError: as the origin, unless there is a page for it; with status 414 where rewriting made the target
                too long.
        """
        request = replace(request)  # the log tells what was asked for
        response = self._redirect(request) or await self._ask(request, body)
        if self._response_rules is not None:
            try:
                response.headers = self._response_rules.apply(response.headers)
            except BaseException:
                response.abort()  # ours until it is returned
                raise
        return response

    def _redirect(self, request: OriginRequest) -> OriginResponse | None:
        """Rewrite the target; the answer where the visitor is to go elsewhere."""
        if not self._rewriter:
            return None
        try:
            target = self._rewriter.rewrite(request.target)
        except TargetTooLong as error:
            raise OriginError("rewritePath made the path too long", 414) from error
        if isinstance(target, Redirect):
            location = target.location.encode("utf-8", "surrogateescape")
            return MemoryResponse(target.status, [(b"Location", location), (b"Content-Length", b"0")])
        request.target = target
        return None

    async def _ask(self, request: OriginRequest, body: ByteReader) -> OriginResponse:
        if self._request_rules is not None:
            request.headers = self._request_rules.apply(request.headers)
        if self._page is None:
            return await self.inner.serve(request, body)
        try:
            return await self.inner.serve(request, body)
        except OriginError as error:
            if error.status < 500:
                raise  # the visitor's own fault: the page speaks of the origin
            status, headers, content = self._page.response(self._page_content)
            response = MemoryResponse(status, headers, b"" if request.method == "HEAD" else content)
            response.failure = error.reason
            return response


def _read_page(page: ErrorPage) -> bytes:
    try:
        with Path(page.file).expanduser().open("rb") as file:
            content = file.read(MAX_ERROR_PAGE + 1)
    except OSError as error:
        raise OriginError(f"the error page {page.file} cannot be read: {error.strerror or error}") from error
    if len(content) > MAX_ERROR_PAGE:
        raise OriginError(f"the error page {page.file} is larger than {MAX_ERROR_PAGE // 1024} KiB")
    return content
