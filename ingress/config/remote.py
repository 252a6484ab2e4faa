"""The configuration that the edge sends (reference/wire.md 10): JSON with whole seconds and keys in any case.

What it does not know is ignored, keys that this connector adds to the reference's included: those are for the
owner of the machine to set (an error page may name a file).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pyconnector.ingress.config.errors import IngressError, NoIngressRules, RuleProblem, describe
from pyconnector.ingress.config.keys.kinds import Reader
from pyconnector.ingress.config.parse import read_ingress
from pyconnector.ingress.config.warp_routing import WarpRouting, read_warp_routing
from pyconnector.ingress.rules.rules import Ingress, default_ingress

#: Bytes of one configuration.
MAX_REMOTE_CONFIGURATION = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class RemoteConfiguration:
    """What one configuration of the edge says."""

    ingress: Ingress
    warp_routing: WarpRouting


def parse_remote_configuration(data: bytes) -> RemoteConfiguration:
    """Read a configuration as it came.

    Raises:
        IngressError: it is no JSON object, too large, or not valid; the current configuration stays in force.
    """
    mapping = decode_json(data)
    return RemoteConfiguration(parse_remote_ingress(mapping), parse_remote_warp_routing(mapping))


def parse_remote_ingress(mapping: Mapping[str, Any], *, default_if_empty: bool = True) -> Ingress:
    """Read `ingress` and `originRequest`; without rules every request gets a 503.

    With `default_if_empty` False a configuration without rules is an error (`ingress validate --json`).

    Raises:
        IngressError: something is wrong; all of it is in there.
    """
    try:
        return read_ingress(_fold(mapping), Reader(remote=True))
    except NoIngressRules:
        if default_if_empty:
            return default_ingress()
        raise


def parse_remote_warp_routing(mapping: Mapping[str, Any]) -> WarpRouting:
    """Read `warp-routing`.

    Raises:
        IngressError: something is wrong; all of it is in there.
    """
    return read_warp_routing(_fold(mapping), Reader(remote=True))


def decode_json(data: bytes) -> Mapping[str, Any]:
    """Decode a JSON object.

    Raises:
        IngressError: it is none, or larger than MAX_REMOTE_CONFIGURATION.
    """
    if len(data) > MAX_REMOTE_CONFIGURATION:
        raise IngressError(
            [RuleProblem((), f"the configuration is larger than {MAX_REMOTE_CONFIGURATION // 1024} KiB")]
        )
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        reason = str(error) if isinstance(error, json.JSONDecodeError) else "it is nested too deeply or malformed"
        raise IngressError([RuleProblem((), f"the configuration is not valid JSON: {reason}")]) from error
    if not isinstance(value, dict):
        raise IngressError([RuleProblem((), f"expected a JSON object, found {describe(value)}")])
    return value


def _fold(mapping: object) -> object:
    """Return the mapping with the names of its keys as a config has them; where one comes twice, the last counts."""
    if not isinstance(mapping, Mapping):
        return mapping
    names = {"ingress": "ingress", "originrequest": "originRequest", "warp-routing": "warp-routing"}
    return {names.get(key.lower(), key): value for key, value in mapping.items() if isinstance(key, str)}
