"""The JSON schema of a whole config file, for editors: flags as top-level keys, and what the ingress room reads.

Made from the tables that reading uses. Called by `pyconnector ingress schema` and `scripts/generate-docs`.
"""

from __future__ import annotations

from typing import Any

from pyconnector.connector.config.flags import AUTO, FLAGS, OLD_KEYS, Flag, Kind
from pyconnector.connector.config.settings import CHOICES
from pyconnector.connector.observe.log import LEVELS
from pyconnector.ingress import config_schema
from pyconnector.ingress.config.keys.kinds import Duration

_TYPES: dict[Kind, dict[str, Any]] = {
    Kind.TEXT: {"type": "string"},
    Kind.BOOL: {"type": "boolean"},
    Kind.INT: {"type": "integer"},
    Kind.DURATION: Duration().schema(),
    Kind.TEXTS: {"type": "array", "items": {"type": "string"}},
    Kind.COUNT: {"anyOf": [{"type": "integer"}, {"const": AUTO}]},
}


def file_schema() -> dict[str, Any]:
    """Return the JSON schema of a config file."""
    keys: dict[str, Any] = {"tunnel": {"type": "string", "description": "UUID of the tunnel, or its name."}}
    keys |= {flag.name: _of(flag) for flag in FLAGS.values() if flag.in_file}
    keys |= {name: {"deprecated": True, "description": "Of an older release."} for name in OLD_KEYS}
    return config_schema(keys)


def _of(flag: Flag) -> dict[str, Any]:
    choices = tuple(LEVELS) if flag.name == "loglevel" else CHOICES.get(flag.name)
    schema = {"enum": list(choices)} if choices else _TYPES[flag.kind]
    if not flag.has_effect:
        return schema | {"deprecated": True, "description": "Known to the reference; has no effect here."}
    return schema | {"description": flag.meaning}
