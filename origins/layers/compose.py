"""The one place that puts layers around an origin, and the layers that rules can ask for by their keys.

From the outside to the inside: access, those of an embedding program, rewriting, failover, the service itself.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pyconnector.ingress.config.services import is_stream, redacted
from pyconnector.origins.base import ByteReader, Origin, OriginError, OriginRequest, OriginResponse
from pyconnector.origins.build import build_origin
from pyconnector.origins.layers.base import ACCESS, Gate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyconnector.ingress import Rule
    from pyconnector.origins.build import OriginResources
    from pyconnector.origins.layers.base import Layer


@dataclass(frozen=True, slots=True)
class Composed:
    """An origin with its layers around it."""

    origin: Origin
    access: tuple[Gate, ...]
    "Those of the layers that enforce access, outermost first."


def compose(origin: Origin, rule: Rule, layers: Sequence[Layer]) -> Composed:
    """Put `layers` around `origin`, the first of them outermost.

    Raises:
        ValueError: one of them cannot be made for `rule`, or the access that it requires is enforced by none.
    """
    gates: list[Gate] = []
    for layer in reversed(layers):
        inner = origin
        origin = layer(inner, rule)
        if not isinstance(origin, Origin):
            raise ValueError(  # noqa: TRY004 - the one error that a layer may end with
                f"a layer returned {type(origin).__name__} in place of an Origin"
            )
        if origin is not inner and isinstance(origin, Gate) and ACCESS in origin.enforces:
            gates.insert(0, origin)
    if requires_access(rule) and not gates:
        # Serving without the check that the config asks for would leave the service open.
        raise ValueError("access is required, but nothing here can verify it; not serving")
    if rule.identity and not any(type(gate).identify is not Gate.identify for gate in gates):
        raise ValueError("the rule is for somebody, but nothing here can say who asks; not serving")
    return Composed(origin, tuple(gates))


def access_gates(rule: Rule, layers: Sequence[Layer]) -> tuple[Gate, ...]:
    """Return the gates that enforce the access of `rule`, where its service is not to be asked.

    Raises:
        ValueError: as `compose`.
    """
    return compose(_Nowhere(), rule, layers).access if requires_access(rule) else ()


def requires_access(rule: Rule) -> bool:
    """Whether nobody may pass `rule` without a verified identity."""
    access = rule.settings.access
    return access is not None and access.required


def origin_of(rule: Rule, *, resources: OriginResources | None = None) -> Origin:
    """Return the origin of a rule's own service with the layers that its keys ask for; not started yet."""
    origin = build_origin(rule.service, rule.settings, resources=resources)
    return rewriting(failover(origin, rule, resources=resources), rule)


def failover(origin: Origin, rule: Rule, *, resources: OriginResources | None = None) -> Origin:
    """The layer of `backends`, `retryFor` and `healthCheck`."""
    settings = rule.settings
    # Keys of the top level reach every rule. What is about HTTP means nothing to a stream, well where it connects.
    if settings.health_check is not None and is_stream(rule.service):
        settings = replace(settings, health_check=replace(settings.health_check, path=""))
    if not (settings.backends or settings.retry_for or settings.health_check):
        return origin
    from pyconnector.origins.layers.failover import FailoverOrigin  # few rules need it

    others = [build_origin(backend, settings, resources=resources) for backend in settings.backends]
    names = [redacted(each) for each in (rule.service, *settings.backends)]
    return FailoverOrigin([origin, *others], names, settings)


def rewriting(origin: Origin, rule: Rule) -> Origin:
    """The layer of what changes targets, headers and error pages; none of it means anything to a stream."""
    if not rule.settings.adjusts or is_stream(rule.service):
        return origin
    from pyconnector.origins.layers.rewriting import RewritingOrigin  # with its rules: few have them

    return RewritingOrigin(origin, rule)


class _Nowhere(Origin):
    """Stands in for a service where only the layers count."""

    async def serve(self, request: OriginRequest, body: ByteReader) -> OriginResponse:
        raise OriginError("there is no service here")
