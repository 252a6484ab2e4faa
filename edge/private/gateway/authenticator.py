"""Who a client of the gateway is: a service token, shown by its client id and secret."""

from __future__ import annotations

import asyncio
import datetime
from typing import TYPE_CHECKING, Protocol

from pyconnector.identity.service_tokens import ServiceToken, fits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pyconnector.edge.access.state import AccessState


def wall_clock() -> float:
    """Seconds since the epoch: what tokens expire by."""
    return datetime.datetime.now(datetime.UTC).timestamp()


class Authenticator(Protocol):
    """What the gateway asks. Nothing here waits."""

    def authenticate(self, client_id: str, secret: str) -> ServiceToken | None:
        """Return the living token of that id and secret, in a time that depends on neither."""

    def current(self, client_id: str) -> ServiceToken | None:
        """Return the token as it is now, if it may still be used: running flows are held to it."""


class Tokens:
    """Tokens that are given once, and may be replaced; behind them those of a control plane."""

    def __init__(
        self,
        tokens: Iterable[ServiceToken] = (),
        *,
        access: AccessState | None = None,
        now: Callable[[], float] = wall_clock,
    ) -> None:
        """`access` holds what a control plane says now."""
        self._access = access
        self._now = now
        self._tokens = {token.client_id: token for token in tokens}

    def __repr__(self) -> str:
        return f"<Tokens {len(self._tokens)}>"

    def put(self, token: ServiceToken) -> None:
        """Let a token be as it is now."""
        self._tokens[token.client_id] = token

    def drop(self, client_id: str) -> None:
        """Forget a token. Idempotent."""
        self._tokens.pop(client_id, None)

    def authenticate(self, client_id: str, secret: str) -> ServiceToken | None:
        """See `Authenticator.authenticate`."""
        token, now = self._find(client_id), self._now()
        if not fits(token, secret, now):
            return None
        if token is not None and self._access is not None and client_id not in self._tokens:
            self._access.note_use(token, asyncio.get_running_loop().time())
        return token

    def current(self, client_id: str) -> ServiceToken | None:
        """See `Authenticator.current`."""
        token = self._find(client_id)
        return token if token is not None and token.lives(self._now()) else None

    def _find(self, client_id: str) -> ServiceToken | None:
        token = self._tokens.get(client_id)
        return token if token is not None or self._access is None else self._access.tokens.get(client_id)
