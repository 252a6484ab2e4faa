"""Asks the control plane over HTTP: `/edge/v1` (docs/mesh.md). The only file that knows it is HTTP."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from pyconnector.edge.directory.values import DirectoryError, PeerEntry, parse_peers

if TYPE_CHECKING:
    import httpx

#: Seconds that a question may wait at the control plane for a change.
WAIT = 20.0
#: Seconds for everything else.
TIMEOUT = 10.0
#: Seconds for a count that somebody who logs in waits for.
LOGIN_TIMEOUT = 3.0
#: Lines of a snapshot that are read in one turn of the event loop.
LINES_AT_ONCE = 500
#: Bytes of an answer.
MAX_ANSWER = 256 * 1024 * 1024


class Unreachable(Exception):
    """The control plane did not answer, or not with what was asked for. Its text is one sentence."""


class Gone(Exception):
    """The changes asked for are no longer kept: take a snapshot."""


class ControlClient:
    """One edge's connection to its control plane."""

    def __init__(self, url: str, token: str) -> None:
        import httpx

        from pyconnector.logpush.senders.slices import verifying

        self._errors = (httpx.HTTPError, httpx.InvalidURL)
        self._client = httpx.AsyncClient(
            base_url=url.rstrip("/") + "/edge/v1",
            headers={"Authorization": f"Bearer {token}"},
            timeout=httpx.Timeout(TIMEOUT),
            trust_env=False,
            verify=verifying(trust_env=False),
        )

    async def close(self) -> None:
        """Close its connections. Cancel leaves some open."""
        await self._client.aclose()

    async def snapshot(self) -> dict[str, Any]:
        """Return a whole snapshot: `number` and `objects`. Cancel gives it up.

        Raises:
            Unreachable: there was none.
            DirectoryError: it was none.
        """
        first, *lines = (await self._ask("GET", "/snapshot")).split(b"\n")
        objects: dict[str, dict[str, Any]] = {}
        try:
            number = json.loads(first)["number"]
            for count, line in enumerate(lines):
                entry = json.loads(line)
                objects.setdefault(entry["kind"], {})[entry["id"]] = entry["value"]
                if not count % LINES_AT_ONCE:
                    await asyncio.sleep(0)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise DirectoryError("the control plane's snapshot is none") from error
        return {"number": number, "objects": objects}

    async def changes(self, after: int) -> object:
        """Return what changed after a number, once something did. Cancel gives it up.

        Raises:
            Gone: only a snapshot helps.
            Unreachable: there was no answer.
        """
        return _parsed(await self._ask("GET", f"/changes?after={after}&wait={WAIT:g}", WAIT + TIMEOUT))

    async def report(self, report: dict[str, Any]) -> tuple[list[str], tuple[PeerEntry, ...]]:
        """Send a report; return the connections that this edge has to close, and the other edges. Cancel gives it up.

        Raises:
            Unreachable: it was not taken.
            DirectoryError: the answer is none.
        """
        answer = _parsed(await self._ask("POST", "/report", body=report))
        close = answer.get("close") if isinstance(answer, dict) else None
        told = [entry for entry in close if isinstance(entry, str)] if isinstance(close, list) else []
        return told, parse_peers(answer)

    async def login_count(self, key: str, limit: int, seconds: int) -> bool | None:
        """Count one more of a login at all edges together; return whether it is allowed, None where nobody says so.

        Cancel leaves it counted or not.
        """
        body = {"key": key, "limit": limit, "seconds": seconds}
        try:
            answer = _parsed(await self._ask("POST", "/login_count", LOGIN_TIMEOUT, body))
        except (Unreachable, Gone, DirectoryError):
            return None
        allowed = answer.get("allowed") if isinstance(answer, dict) else None
        return allowed if isinstance(allowed, bool) else None

    async def certificate(self, request: str) -> tuple[str, str]:
        """Send a PKCS #10 request (PEM); return the chain and the authority. Cancel gives it up.

        Raises:
            Unreachable: there was no answer.
            DirectoryError: it was none.
        """
        answer = _parsed(await self._ask("POST", "/certificate", body={"csr": request}))
        try:
            return str(answer["chain"]), str(answer["authority"])  # type: ignore[index]  # what is none is told
        except (KeyError, TypeError) as error:
            raise DirectoryError("the control plane's answer holds no certificate") from error

    async def _ask(self, method: str, path: str, timeout: float = TIMEOUT, body: object = None) -> bytes:
        try:
            async with self._client.stream(method, path, timeout=timeout, json=body) as response:
                if response.status_code == 410:
                    raise Gone
                if response.status_code in (401, 403):
                    raise Unreachable("the control plane refuses the token: it is not its edge-token")
                if response.status_code != 200:
                    raise Unreachable(f"the control plane answered {response.status_code}")
                return await _whole(response)
        except self._errors as error:
            raise Unreachable(f"the control plane cannot be reached: {type(error).__name__}") from error


def _parsed(data: bytes) -> object:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise DirectoryError("the control plane's answer is not JSON") from error


async def _whole(response: httpx.Response) -> bytes:
    data = bytearray()
    async for piece in response.aiter_bytes():
        data += piece
        if len(data) > MAX_ANSWER:
            raise DirectoryError(f"the control plane's answer is larger than {MAX_ANSWER} bytes")
    return bytes(data)
