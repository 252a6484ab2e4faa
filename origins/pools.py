"""Which files of authorities the rules name, so that they are read beside the event loop and not on it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from pyconnector.ingress.config.services import HttpService, Service, UnixService
from pyconnector.origins.base import OriginError
from pyconnector.origins.build import ALPN_HTTP2

if TYPE_CHECKING:
    from pyconnector.ingress import Rule
    from pyconnector.origins.build import OriginResources

#: Different files that the rules of one configuration may name: each costs a set of authorities of its own.
MAX_POOLS = 64


class Pools:
    """The pools that rules name, to be read beside the event loop before the rules are put together."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        """Collect them.

        Raises:
            OriginError: there are more than MAX_POOLS.
        """
        self._wanted: dict[tuple[str, bool, bool], None] = {}
        for rule in rules:
            settings = rule.settings
            if settings.ca_pool and any(map(_is_tls, (rule.service, *settings.backends))):
                self._wanted[settings.ca_pool, not settings.no_tls_verify, settings.http2_origin] = None
        if len({pool for pool, _, _ in self._wanted}) > MAX_POOLS:
            raise OriginError(f"the rules name more than {MAX_POOLS} different files as caPool")

    def __bool__(self) -> bool:
        return bool(self._wanted)

    def load(self, resources: OriginResources) -> None:
        """Make what the rules will ask `resources` for. What cannot be used is told when they ask."""
        for pool, verify, http2 in self._wanted:
            try:
                for alpn in ((), ALPN_HTTP2) if http2 else ((),):
                    resources.tls.client(ca_pool=pool, verify=verify, alpn=alpn, log=False)
            except OriginError:
                continue


def _is_tls(service: Service) -> bool:
    if isinstance(service, HttpService):
        return service.scheme == "https"
    return isinstance(service, UnixService) and service.tls
