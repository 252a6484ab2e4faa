"""Asks OpenID providers: metadata, keys, tokens. Bounded in size and time; what can be kept is kept, and renewed.

The only file of the login that knows HTTP clients.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from pyconnector.identity.people.oidc import (
    Metadata,
    OidcError,
    ProviderKeys,
    UnknownKey,
    address_of,
    given_metadata,
    kept_claims,
    metadata_url,
    name_of,
    parse_metadata,
    verified_claims,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    import httpx

    from pyconnector.identity.people.providers import IdentityProvider, OidcSettings

#: Seconds for one question, bytes of an answer, and logins that may ask at once.
TIMEOUT, MAX_ANSWER, MAX_AT_ONCE = 10.0, 262_144, 64
#: Seconds for which metadata and keys are used, between two fetches for a key that is not known, and after which a
#: provider whose metadata could not be had is asked again.
FRESH, RENEW_EVERY, ASK_AGAIN = 3600.0, 10.0, 2.0

_log = logging.getLogger("pyconnector.edge.login")


class ProviderUnavailable(Exception):
    """A provider cannot be asked, or its answer is not good. The text is for the log."""


@dataclass(slots=True)
class _Known:
    """What is known of one provider, as of `moment` (seconds of any clock)."""

    metadata: Metadata
    moment: float
    keys: ProviderKeys | None = None
    keys_moment: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedIn:
    """Whom a provider vouches for."""

    email: str
    name: str
    claims: dict[str, list[str]]
    "What is kept of everything else that it says."


class ProviderClient:
    """One edge's questions to all providers."""

    def __init__(self, ticks: Callable[[], float], clock: Callable[[], float]) -> None:
        """`ticks` tells seconds of any clock, `clock` those since the epoch."""
        import httpx

        from pyconnector.logpush.senders.slices import read_in_slices, verifying

        self._errors = (httpx.HTTPError, httpx.InvalidURL)
        self._client = read_in_slices(httpx.AsyncClient(timeout=TIMEOUT, follow_redirects=False, verify=verifying()))
        self._ticks = ticks
        self._clock = clock
        self._known: dict[OidcSettings, _Known] = {}
        self._failed: dict[OidcSettings, float] = {}
        self._turn = asyncio.Semaphore(MAX_AT_ONCE)

    async def close(self) -> None:
        """Close its connections. Cancel leaves some open."""
        await self._client.aclose()

    async def metadata(self, provider: IdentityProvider) -> Metadata:
        """Return where a provider is asked what. Cancel gives it up.

        Raises:
            ProviderUnavailable: it does not say so.
        """
        assert provider.oidc is not None
        return (await self._of(provider.oidc)).metadata

    async def finish(
        self, provider: IdentityProvider, *, code: str, redirect: str, nonce: str, verifier: str,
        asked: Collection[tuple[str, str]] = (),
    ) -> LoggedIn:  # fmt: skip
        """Exchange a code; return whom the provider vouches for, with the claims that rules have `asked` for.

        Cancel gives it up.

        Raises:
            ProviderUnavailable: it vouches for nobody.
        """
        settings = provider.oidc
        assert settings is not None
        known = await self._of(settings)
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": redirect, "code_verifier": verifier}
        answer = await self._token(known.metadata, settings, form)
        id_token, access_token = answer.get("id_token"), answer.get("access_token")
        if not isinstance(id_token, str):
            raise ProviderUnavailable("it gave no ID token")
        try:
            claims = await self._verified(known, settings, id_token, nonce)
            email = address_of(claims, settings)
            wanting = email is None or any(name not in claims for name in settings.claims)
            if wanting and known.metadata.userinfo_endpoint and isinstance(access_token, str):
                said = await self._about(known.metadata, access_token, claims)
                if email is None:  # what vouches for an address stands beside it
                    email = address_of(said, settings)
                claims = {**said, **claims}
            kept = kept_claims(claims, settings, asked)
        except OidcError as error:
            raise ProviderUnavailable(str(error)) from error
        if email is None:
            raise ProviderUnavailable("it names no e-mail address")
        return LoggedIn(email=email, name=name_of(claims), claims=kept)

    async def _of(self, settings: OidcSettings) -> _Known:
        known = self._known.get(settings)
        if known is None or self._ticks() - known.moment >= FRESH:
            if self._ticks() - self._failed.get(settings, -ASK_AGAIN) < ASK_AGAIN:
                raise ProviderUnavailable("its metadata could not be had a moment ago")
            for kept in (self._known, self._failed):
                if len(kept) >= MAX_AT_ONCE:
                    kept.clear()
            try:
                known = self._known[settings] = await self._fetched(settings)
            except ProviderUnavailable:
                self._failed[settings] = self._ticks()
                raise
        return known

    async def _fetched(self, settings: OidcSettings) -> _Known:
        if (given := given_metadata(settings)) is not None:
            return _Known(given, self._ticks())
        try:
            document = await self._ask("GET", metadata_url(settings.issuer))
            return _Known(parse_metadata(document, settings.issuer), self._ticks())
        except OidcError as error:
            raise ProviderUnavailable(str(error)) from error

    async def _verified(self, known: _Known, settings: OidcSettings, token: str, nonce: str) -> dict[str, Any]:
        now = self._ticks()
        if known.keys is None or now - known.keys_moment >= FRESH:
            await self._renew(known)
        assert known.keys is not None
        try:
            return verified_claims(token, known.keys, settings, nonce=nonce, now=self._clock())
        except UnknownKey:
            if now - known.keys_moment < RENEW_EVERY:
                raise
            await self._renew(known)
            return verified_claims(token, known.keys, settings, nonce=nonce, now=self._clock())

    async def _renew(self, known: _Known) -> None:
        known.keys = ProviderKeys(await self._ask("GET", known.metadata.jwks_uri))
        known.keys_moment = self._ticks()

    async def _token(self, metadata: Metadata, settings: OidcSettings, form: dict[str, str]) -> dict[str, Any]:
        headers = {}
        if settings.client_secret and metadata.basic:
            # RFC 6749 2.3.1: both are encoded as in a form before they are joined.
            pair = f"{quote(settings.client_id, safe='')}:{quote(settings.client_secret, safe='')}"
            headers["Authorization"] = "Basic " + _base64(pair)
        else:
            form["client_id"] = settings.client_id
            if settings.client_secret:
                form["client_secret"] = settings.client_secret
        return _object(await self._ask("POST", metadata.token_endpoint, headers=headers, form=form))

    async def _about(self, metadata: Metadata, access_token: str, claims: dict[str, Any]) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {access_token}"}
        said = _object(await self._ask("GET", metadata.userinfo_endpoint, headers=headers))
        if said.get("sub") != claims.get("sub"):  # OpenID Connect Core 5.3.2
            raise ProviderUnavailable("it tells of somebody else")
        return said

    async def _ask(
        self, method: str, url: str, *, headers: dict[str, str] | None = None, form: dict[str, str] | None = None
    ) -> bytes:
        # What is compressed may be of any size once it is not.
        wanted = {"Accept": "application/json", "Accept-Encoding": "identity", **(headers or {})}
        try:
            async with (
                asyncio.timeout(TIMEOUT),
                self._turn,
                self._client.stream(method, url, headers=wanted, data=form) as response,
            ):
                if response.status_code != 200:
                    raise ProviderUnavailable(f"{url.partition('?')[0]} answered {response.status_code}")
                return await _whole(response)
        except TimeoutError as error:
            raise ProviderUnavailable(f"{url.partition('?')[0]} did not answer within {TIMEOUT:g} s") from error
        except self._errors as error:
            raise ProviderUnavailable(f"{url.partition('?')[0]}: {type(error).__name__}") from error


async def _whole(response: httpx.Response) -> bytes:
    if response.headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        raise ProviderUnavailable("an answer is encoded, which was not asked for")
    data = bytearray()
    async for piece in response.aiter_raw():
        data += piece
        if len(data) > MAX_ANSWER:
            raise ProviderUnavailable(f"an answer is larger than {MAX_ANSWER} bytes")
    return bytes(data)


def _object(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ProviderUnavailable("an answer is no JSON") from error
    if not isinstance(value, dict):
        raise ProviderUnavailable("an answer is no JSON object")
    return value


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode("ascii")
