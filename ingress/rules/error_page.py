"""The page that a visitor gets when the origin is down, where a config gives its own (issue: own error page).

The file is read by the connector; this only says what the response is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyconnector.ingress.rules.header_rules import HeaderList

#: Bytes of an error page, from the config or from its file.
MAX_ERROR_PAGE = 256 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorPage:
    """Status and body in place of the plain error. Either `body` or `file`, or neither for an empty body."""

    status: int = 502
    body: str = ""
    file: str = ""
    "Path of a file that holds the body; read by the connector."
    content_type: str = "text/html; charset=utf-8"

    def response(self, content: bytes | None = None) -> tuple[int, HeaderList, bytes]:
        """Return status, headers and body; `content` is what the file held.

        Raises:
            ValueError: `content` is larger than MAX_ERROR_PAGE.
        """
        body = self.body.encode() if content is None else content
        if len(body) > MAX_ERROR_PAGE:
            raise ValueError(f"the error page is larger than {MAX_ERROR_PAGE // 1024} KiB")
        headers = [
            (b"Content-Type", self.content_type.encode("ascii", "replace")),
            (b"Content-Length", str(len(body)).encode()),
            (b"Cache-Control", b"no-store"),
        ]
        return self.status, headers if body else headers[1:], body
