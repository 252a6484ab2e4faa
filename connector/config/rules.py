"""The rules of a config: its `ingress` list, else the one origin that flags name, else 503
(reference/ingress.md 3, 4.3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pyconnector.connector.config.flags import REQUEST_FLAGS
from pyconnector.ingress import (
    Ingress,
    IngressError,
    NoIngressRules,
    SingleOrigin,
    WarpRouting,
    default_ingress,
    parse_ingress,
    parse_warp_routing,
    single_origin_ingress,
)
from pyconnector.ingress.config.durations import format_duration
from pyconnector.ingress.rules.guarded_paths import demand_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pyconnector.connector.config.problems import Problem
    from pyconnector.connector.config.yaml_source import Source
    from pyconnector.ingress import RuleProblem

_NO_RULES = {
    False: "no ingress rules and no --url: every request will be answered with 503",
    True: "the config holds no ingress rules",
}


@dataclass(frozen=True, slots=True)
class Rules:
    """What a config says about requests and about private-network streams."""

    ingress: Ingress
    warp_routing: WarpRouting


def demands_access(ingress: Ingress) -> bool:
    """Say whether any rule lets in only visitors with a valid token."""
    return any(demand_of(rule) is not None for rule in ingress.rules)


def load_rules(
    source: Source,
    values: Mapping[str, Any],
    problems: list[Problem],
    *,
    allow_unknown_keys: bool = False,
    must_have_rules: bool = False,
) -> Rules | None:
    """Return the rules of a config; None where problems were added to `problems`. `values` are its flags.

    A config without any gets a rule that answers 503, with a warning, unless it `must_have_rules`.
    """
    ingress = warp_routing = None
    try:
        ingress = _ingress(source, values, allow_unknown_keys)
        problems += _problems(source, ingress.warnings)
        if ingress.is_default:
            problems.append(source.problem(("ingress",), _NO_RULES[must_have_rules], warning=not must_have_rules))
            ingress = None if must_have_rules else ingress
    except IngressError as error:
        problems += _problems(source, error.problems)
    try:
        warp_routing = parse_warp_routing(source.values, allow_unknown_keys=allow_unknown_keys)
        problems += _problems(source, warp_routing.warnings)
    except IngressError as error:
        problems += _problems(source, error.problems)
    return Rules(ingress, warp_routing) if ingress is not None and warp_routing is not None else None


def _ingress(source: Source, values: Mapping[str, Any], allow_unknown_keys: bool) -> Ingress:
    try:
        return parse_ingress(source.values, allow_unknown_keys=allow_unknown_keys)
    except NoIngressRules:
        single = single_origin_ingress(
            SingleOrigin(
                hello_world=values.get("hello-world") or None,
                bastion=values.get("bastion") or None,
                url=values.get("url"),
                unix_socket=values.get("unix-socket"),
            )
        )
    if single is None:
        return default_ingress()
    # Read again with what the config says of every origin: leaving its `access` out would open the service to all.
    service = str(single.rules[0].service)
    request = _origin_request(source.values, values)
    return parse_ingress(
        {"ingress": [{"service": service}], "originRequest": request}, allow_unknown_keys=allow_unknown_keys
    )


def _origin_request(config: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    given = config.get("originRequest")
    request = dict(given) if isinstance(given, Mapping) else {}
    for flag, key in REQUEST_FLAGS.items():
        if flag in values:
            value = values[flag]
            request[key] = format_duration(value) if isinstance(value, float) else value
    if values.get("socks5"):
        request["proxyType"] = "socks"
    return request


def _problems(source: Source, problems: Iterable[RuleProblem]) -> list[Problem]:
    """Give problems of the ingress room their place in the file: a wrong key at the key, a wrong value at the value."""
    return [
        source.problem(
            problem.path,
            problem.message,
            suggestion=problem.suggestion,
            warning=problem.warning,
            key=problem.warning or problem.at_key,
        )
        for problem in problems
    ]
