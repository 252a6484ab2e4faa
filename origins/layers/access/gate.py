"""Admits a request only with a valid Access token, for HTTP, WebSocket and stream rules alike (ingress.md 6).

Unlike the reference, a top-level `access` block counts (the ingress room merges it into each rule) and every refusal
is a 403 with its reason in the log (docs/parity.md).
"""

from __future__ import annotations

import re
from collections import OrderedDict
from typing import TYPE_CHECKING

from pyconnector.identity.access_token import TOKEN_HEADER, AccessDenied, Identity, UnknownKey, verify
from pyconnector.identity.access_token.token import CLOCK_SKEW
from pyconnector.origins.layers.access.key_cache import NoKeys
from pyconnector.origins.layers.base import ACCESS, Gate, Rejection

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyconnector.identity.access_token import AccessPolicy
    from pyconnector.ingress import Rule
    from pyconnector.origins.base import Origin, OriginRequest
    from pyconnector.origins.layers.access.key_cache import KeyCache

#: Verified tokens remembered per rule, so that a page with fifty images costs one signature check.
MAX_REMEMBERED = 1024

_TOKEN_NAME = TOKEN_HEADER.lower()
#: The edge's word on who it is; behind a verified token only the token's own word counts.
_EMAIL_HEADER = b"Cf-Access-Authenticated-User-Email"
_EMAIL_NAME = _EMAIL_HEADER.lower()
_NOT_ALNUM = re.compile(rb"[^a-z0-9]")


class SeveralTokens(AccessDenied):
    """Which of them counts is anybody's guess. Caught by the gate."""


class AccessGate(Gate):
    """The check of one rule."""

    enforces = frozenset({ACCESS})

    def __init__(
        self, inner: Origin, rule: Rule, *, policy: AccessPolicy, keys: KeyCache, clock: Callable[[], float]
    ) -> None:
        super().__init__(inner, rule)
        self._policy = policy
        self._keys = keys
        self._clock = clock
        self._allow = rule.settings.access.allow if rule.settings.access is not None else ()
        self._for = rule.identity
        self._remembered: OrderedDict[bytes, Identity] = OrderedDict()

    async def admit(self, request: OriginRequest) -> None:
        """Set `request.identity`. Cancel at any time.

        Raises:
            Rejection: the 403 that refuses it.
        """
        try:
            identity = await self._identity(_token_of(request))
            if self._for and not identity.is_any_of(self._for):
                raise AccessDenied("the rule is for others than whom the Access token names")
            if self._allow and not identity.is_any_of(self._allow):
                raise AccessDenied("the rule allows others than whom the Access token names")
        except AccessDenied as denied:
            raise Rejection(status=403, reason=f"access refused: {denied}") from denied
        except Exception as error:
            raise Rejection(status=403, reason=f"access refused: the check failed ({type(error).__name__})") from error
        request.identity = identity
        _replace_email(request, identity)

    async def identify(self, request: OriginRequest) -> Identity | None:
        """Return who a token stands for that this rule takes. Cancel at any time.

        Raises:
            Rejection: the 403 for a request with several tokens, and for one with a token while there are no keys: it
                could only be led astray.
        """
        try:
            token = _token_of(request)
            return await self._identity(token) if token else None
        except (NoKeys, SeveralTokens) as denied:
            raise Rejection(status=403, reason=f"access refused: {denied}") from denied
        except AccessDenied:
            return None

    async def _identity(self, token: bytes) -> Identity:
        remembered = self._remembered.get(token)
        if remembered is not None and self._clock() < remembered.expires + CLOCK_SKEW:
            return remembered
        keys = self._keys.current() or await self._keys.keys()
        try:
            identity = verify(token, policy=self._policy, keys=keys, now=self._clock())
        except UnknownKey:
            keys = await self._keys.keys(renew=True)
            identity = verify(token, policy=self._policy, keys=keys, now=self._clock())
        self._remembered[token] = identity
        while len(self._remembered) > MAX_REMEMBERED:
            self._remembered.popitem(last=False)
        return identity


def _token_of(request: OriginRequest) -> bytes:
    tokens = [value for name, value in request.headers if name.lower() == _TOKEN_NAME]
    if len(tokens) > 1:
        raise SeveralTokens("the request carries more than one Access token")
    return tokens[0] if tokens else b""


def _poses_as_ours(name: bytes) -> bool:
    """Whether an origin that takes `_` for `-`, as CGI does, would read `name` as the e-mail or the token."""
    if len(name) == len(_EMAIL_NAME):
        return _NOT_ALNUM.sub(b"-", name.lower()) == _EMAIL_NAME
    if len(name) == len(_TOKEN_NAME):
        lower = name.lower()
        return lower != _TOKEN_NAME and _NOT_ALNUM.sub(b"-", lower) == _TOKEN_NAME
    return False


def _replace_email(request: OriginRequest, identity: Identity) -> None:
    """Let the origin see the verified address and no other; a service token has none."""
    request.headers = [field for field in request.headers if not _poses_as_ours(field[0])]
    if identity.kind == "user" and "@" in identity.name and identity.name.isascii():
        request.headers.append((_EMAIL_HEADER, identity.name.encode()))
