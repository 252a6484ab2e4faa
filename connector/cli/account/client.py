"""Asks the API: one request at a time, its envelope taken apart, its errors in the reference's words (cli.md 4)."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

from pyconnector.connector.version import VERSION
from pyconnector.transport.tls.client_context import client_context

BASE_URL = "https://api.cloudflare.com/client/v4"
#: Where the API of a control plane is.
CLIENT_PREFIX = "/client/v4"
FED_URL = "https://api.fed.cloudflare.com/client/v4"
#: Seconds for one request.
TIMEOUT = 15.0
#: Bytes of one answer.
MAX_ANSWER = 64 * 1024 * 1024
#: Pages of one list.
MAX_PAGES = 10_000
_SENTENCES = {400: "incorrect request parameters", 401: "unauthorized", 403: "unauthorized", 404: "not found"}


class ApiError(Exception):
    """A request failed; the text says why without saying what was wanted."""


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """Takes a redirect for a failure: a token must not follow where an answer points to."""

    def redirect_request(self, *_: Any) -> None:
        """See `urllib.request.HTTPRedirectHandler`."""
        return None


def plain(reason: object) -> object:
    """Return why a request failed, without an error number."""
    return (reason.strerror or reason) if isinstance(reason, OSError) else reason


@dataclass(slots=True)
class ApiClient:
    """The API as one account's token sees it."""

    base_url: str
    token: str = field(repr=False)
    account_id: str
    zone_id: str
    timeout: float = TIMEOUT
    _opener: urllib.request.OpenerDirector = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}),  # as the reference: the API is asked directly
            urllib.request.HTTPSHandler(context=client_context()),
            NoRedirect(),
        )

    @property
    def is_provider(self) -> bool:
        """Whether it is the provider's API, which says nothing of edges."""
        return self.base_url.rstrip("/") in (BASE_URL, FED_URL)

    def account(self, path: str) -> str:
        """Return a path below the account."""
        return f"/accounts/{quote(self.account_id, safe='')}/{path}"

    def zone(self, path: str) -> str:
        """Return a path below the zone."""
        return f"/zones/{quote(self.zone_id, safe='')}/{path}"

    def call(self, operation: str, method: str, path: str, body: object = None, **query: str | None) -> Any:
        """Return the `result` of a request.

        Raises:
            ApiError: there is none. `operation` is what the sentence says was tried.
        """
        return self._envelope(operation, method, path, body, query).get("result")

    def pages(self, operation: str, path: str, **query: str | None) -> list[dict[str, Any]]:
        """Return every object of a list that comes in pages.

        Raises:
            ApiError: a page could not be had.
        """
        found: list[dict[str, Any]] = []
        for page in range(1, MAX_PAGES + 1):
            envelope = self._envelope(operation, "GET", path, None, {**query, "page": str(page)})
            rows = envelope.get("result")
            rows = rows if isinstance(rows, list) else []
            found += rows
            info = envelope.get("result_info") or {}
            if not info or len(rows) < info.get("per_page", 0) or len(found) >= info.get("total_count", 0) or not rows:
                break
        return found

    def _envelope(
        self, operation: str, method: str, path: str, body: object, query: dict[str, str | None]
    ) -> dict[str, Any]:
        given = {name: value for name, value in sorted(query.items()) if value is not None}
        url = self.base_url.rstrip("/") + path + ("?" + urlencode(given) if given else "")
        headers = {
            "Authorization": f"Bearer {self.token}",
            "Accept": "application/json;version=1",
            "User-Agent": f"pyconnector/{VERSION}",
        }
        data = None
        if body is not None:
            data, headers["Content-Type"] = json.dumps(body).encode(), "application/json"
        elif method == "POST":
            data = b""
        try:
            request = urllib.request.Request(url, data=data, headers=headers, method=method)
            with self._opener.open(request, timeout=self.timeout) as response:
                return _parsed(response.status, response.reason, response.read(MAX_ANSWER), True, operation)
        except urllib.error.HTTPError as error:
            is_json = error.headers.get_content_type() == "application/json"
            with error:
                return _parsed(error.code, error.reason, error.read(MAX_ANSWER), is_json, operation)
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = error.reason if isinstance(error, urllib.error.URLError) else error
            raise ApiError(f"REST request failed: {plain(reason)}") from None


def _parsed(status: int, reason: str, data: bytes, is_json: bool, operation: str) -> dict[str, Any]:
    envelope: object = None
    if is_json:
        try:
            envelope = json.loads(data)
        except (ValueError, RecursionError):
            if status == 200:
                raise ApiError("failed to decode response: it is not JSON") from None
    told = envelope if isinstance(envelope, dict) else {}
    errors = [error for error in told.get("errors") or () if isinstance(error, dict)]
    if errors:
        texts = [f"code: {error.get('code')}, reason: {error.get('message')}" for error in errors]
        raise ApiError(texts[0] if len(texts) == 1 else "API errors: " + "; ".join(texts))
    if status != 200:
        raise ApiError(_SENTENCES.get(status) or f"API call to {operation} failed with status {status}: {reason}")
    if not told.get("success"):
        raise ApiError("API call failed")
    return told
