"""What editors and the docs say about the config's `ingress`, `originRequest` and `warp-routing`.

Both come from the key tables that parsing uses, so neither can fall behind.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pyconnector.ingress.config.keys.kinds import ListOf
from pyconnector.ingress.config.keys.origin_keys import ORIGIN_REQUEST
from pyconnector.ingress.config.keys.rule_keys import RULE
from pyconnector.ingress.config.keys.table import Section
from pyconnector.ingress.config.settings import OriginSettings
from pyconnector.ingress.config.warp_routing import WARP_ROUTING, WarpRouting

if TYPE_CHECKING:
    from pyconnector.ingress.config.keys.kinds import Kind
    from pyconnector.ingress.config.keys.table import Key, Table

SCHEMA_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def config_schema(other_keys: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the JSON schema of a config; `other_keys` are the schemas of the top-level keys of other rooms."""
    rule = RULE.schema() | {"anyOf": [{"required": ["service"]}, {"required": ["originRequest"]}]}  # bastionMode
    rule["properties"]["originRequest"] = {"$ref": "#/$defs/originRequest"} | _described(RULE["originRequest"].meaning)
    top = ORIGIN_REQUEST.schema()
    shared = {name: schema for name, schema in top["properties"].items() if not ORIGIN_REQUEST[name].only_in_rules}
    return {
        "$schema": SCHEMA_DIALECT,
        "title": "Tunnel connector configuration",
        "type": "object",
        "properties": {
            **(other_keys or {}),
            "ingress": {"type": "array", "items": rule} | _described("Rules; the first that matches takes a request."),
            "originRequest": top | {"properties": shared} | _described("Settings for all rules."),
            "warp-routing": WARP_ROUTING.schema() | _described("Settings of private-network traffic."),
        },
        "additionalProperties": other_keys is None,
        "$defs": {"originRequest": top},
    }


def _described(text: str) -> dict[str, Any]:
    return {"description": text}


def settings_table() -> str:
    """Return the docs' tables of all keys in Markdown: rules, settings, what is nested in them, private traffic."""
    parts = [
        ("`ingress` entries", _table(RULE, None)),
        ("`originRequest`, at the top or in a rule", _table(ORIGIN_REQUEST, OriginSettings())),
    ]
    for key in ORIGIN_REQUEST.keys:
        nested = _nested(key.kind)
        if nested is not None:
            parts.append((f"`{key.name}`" + (" entries" if isinstance(key.kind, ListOf) else ""), _table(nested, None)))
    parts.append(("`warp-routing`", _table(WARP_ROUTING, WarpRouting())))
    return "\n".join(f"### {title}\n\n{table}" for title, table in parts)


def _nested(kind: Kind[Any]) -> Table | None:
    inner = kind.item if isinstance(kind, ListOf) else kind
    return inner.table if isinstance(inner, Section) else None


def _table(table: Table, defaults: object) -> str:
    lines = ["| key | value | default | meaning |", "|---|---|---|---|"]
    lines += [f"| {_name(key)} | {key.kind.shown} | {_default(key, defaults)} | {key.meaning} |" for key in table.keys]
    return "\n".join(lines) + "\n"


def _name(key: Key) -> str:
    return f"`{key.name}`" + ("" if key.reference else " ⁺")


def _default(key: Key, defaults: object) -> str:
    value = getattr(defaults, key.field, None) if key.field else None
    shown = "" if value is None else key.kind.show(value)
    return f"`{shown}`" if shown else ""
