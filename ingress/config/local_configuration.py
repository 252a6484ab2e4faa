"""The local rules as the edge is told of them after registration (reference/wire.md 5.6).

Defaults are folded into each rule, and only what differs from the built-in defaults is sent. Settings that the
reference does not have stay here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pyconnector.ingress.config.keys.origin_keys import ORIGIN_REQUEST
from pyconnector.ingress.config.settings import OriginSettings
from pyconnector.ingress.config.warp_routing import WARP_ROUTING, WarpRouting

if TYPE_CHECKING:
    from pyconnector.ingress.config.keys.table import Table
    from pyconnector.ingress.rules.rules import Ingress, Rule

_DEFAULTS = OriginSettings()


def local_configuration(
    ingress: Ingress, warp_routing: WarpRouting, flags: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return the JSON object for updateLocalConfiguration; `flags` are those that were set and are not empty."""
    result: dict[str, Any] = {}
    if flags:
        result["__configuration_flags"] = dict(flags)
    result["ingress"] = [_rule(rule) for rule in ingress.rules]
    result["warp-routing"] = _changed(WARP_ROUTING, warp_routing, WarpRouting())
    return result


def _rule(rule: Rule) -> dict[str, Any]:
    settings = rule.settings
    if settings.access is not None and not settings.access.required:
        settings = replace(settings, access=None)
    return {
        **({"hostname": rule.hostname} if rule.hostname else {}),
        **({"path": rule.path} if rule.path else {}),
        **({"identity": list(rule.identity)} if rule.identity else {}),
        "service": str(rule.service),
        "originRequest": _changed(ORIGIN_REQUEST, settings, _DEFAULTS),
    }


def all_settings(settings: OriginSettings) -> dict[str, Any]:
    """Return every setting that the reference has, changed or not, as JSON (for a page that shows the config)."""
    result = {}
    for key in ORIGIN_REQUEST.keys:
        if key.reference:
            value = getattr(settings, key.field)
            result[key.name] = None if value is None or value == () else key.kind.dump(value)
    return result


def _changed(table: Table, value: object, defaults: object) -> dict[str, Any]:
    changed = {}
    for key in table.keys:
        ours = getattr(value, key.field)
        if key.reference and ours != getattr(defaults, key.field):
            changed[key.name] = key.kind.dump(ours)
    return changed
