"""The one shape of whatever stands around an origin: `Layer`, from an origin and its rule to an origin.

A layer returns the origin that it was given where the rule needs nothing of it, so that nobody pays for layers that
other rules have. `origins.layers.compose` puts them around each other; the first of a list is the outermost.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from pyconnector.origins.base import ByteReader, Headers, Origin, OriginRequest, OriginResponse

if TYPE_CHECKING:
    from pyconnector.identity.access_token import Identity
    from pyconnector.ingress import Rule

#: Puts something around the origin of one rule, or returns the origin as it is. Called when a configuration is built,
#: once for each rule; a `ValueError` refuses the configuration, with the place of the rule.
Layer: TypeAlias = Callable[[Origin, "Rule"], Origin]

#: What a gate says that it enforces where it decides by who is asking.
ACCESS = "access"


@dataclass(slots=True, kw_only=True, eq=False)
class Rejection(Exception):
    """A layer's answer in place of the origin's. Caught by the request path, which sends it and logs the reason."""

    status: int
    reason: str
    "For the log; never shown to whoever asked, never a secret."
    headers: Headers = field(default_factory=list)
    body: bytes = b""

    def __str__(self) -> str:
        return self.reason


class LayeredOrigin(Origin):
    """An origin around `inner`, which serves whatever this leaves alone. The class itself is a `Layer`."""

    def __init__(self, inner: Origin, rule: Rule) -> None:
        self.inner = inner
        self.rule = rule

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.inner!r}>"

    async def serve(self, request: OriginRequest, body: ByteReader) -> OriginResponse:
        """See `Origin.serve`. Cancel is that of `inner`."""
        return await self.inner.serve(request, body)

    async def start(self) -> None:
        """See `Origin.start`."""
        await self.inner.start()

    async def probe(self) -> None:
        """See `Origin.probe`."""
        await self.inner.probe()

    async def close(self) -> None:
        """See `Origin.close`."""
        await self.inner.close()


class Gate(LayeredOrigin):
    """A layer that only lets a request pass or refuses it."""

    #: What it enforces. A gate with "access" in here is also asked about requests that another rule serves, where
    #: their path may be taken for one of this rule, or where local access is kept beside pushed rules.
    enforces: frozenset[str] = frozenset()

    @abstractmethod
    async def admit(self, request: OriginRequest) -> None:
        """Return to let `request` pass; it may be changed in place.

        Cancel at any time. Whatever this raises refuses the request.

        Raises:
            Rejection: the answer that refuses it.
        """

    async def identify(self, request: OriginRequest) -> Identity | None:
        """Return who asks, where that is verified here, so that rules with an `identity` can be told apart by it.

        None where it is nobody that would be let in. Nothing of the request is changed. Cancel at any time.

        Raises:
            Rejection: the answer that refuses it, where nobody could say.
        """
        del request
        return None

    async def serve(self, request: OriginRequest, body: ByteReader) -> OriginResponse:
        """Ask `admit`, then the origin. Cancel at any time: nothing is left of the request.

        Raises:
            Rejection: it may not pass; `inner` was not asked.
            OriginError: as `inner`.
        """
        await self.admit(request)
        return await self.inner.serve(request, body)
