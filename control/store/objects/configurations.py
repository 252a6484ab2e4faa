"""The configuration that a tunnel is given here; each PUT is a version, which edges push to its connectors."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pyconnector.control.store.errors import Invalid
from pyconnector.control.store.objects import tunnels
from pyconnector.control.store.work import Entry

if TYPE_CHECKING:
    from pyconnector.control.store.models import Tunnel
    from pyconnector.control.store.work import Work

#: Versions are 32-bit numbers on the wire (wire.md 10).
MAX_VERSION = 2**31 - 1
#: Rules of one configuration.
MAX_RULES = 10_000
BAD_CONFIGURATION = 1056


async def put(work: Work, tunnel_id: str, configuration: dict[str, Any]) -> Tunnel:
    """Give a tunnel its next configuration; it is managed here from then on. Cancel undoes it.

    Raises:
        NotFound: there is no such tunnel.
        Invalid: a connector could not use it, or there were too many versions.
    """
    check(configuration)
    tunnel = await tunnels.find(work.session, work.account_id, tunnel_id)
    if tunnel.configuration_version >= MAX_VERSION:
        raise Invalid("The tunnel has had as many configurations as can be numbered.", BAD_CONFIGURATION)
    tunnel.configuration = configuration
    tunnel.configuration_version += 1
    tunnel.configured_at = work.now
    tunnel.config_src = "cloudflare"
    work.publish("tunnel", tunnel.id, tunnels.edge_value(tunnel))
    work.audit(
        Entry(
            action="update", resource_type="tunnel_configuration", resource_id=tunnel.id,
            description=f"Configured tunnel {tunnel.name}, version {tunnel.configuration_version}",
            request={"config": configuration}, response={"version": tunnel.configuration_version},
        )
    )  # fmt: skip
    return tunnel


def check(configuration: dict[str, Any]) -> None:
    """Refuse what no connector could use. What each rule says is for the connector to judge.

    Raises:
        Invalid: with the place.
    """
    try:
        json.dumps(configuration, allow_nan=False)
    except (ValueError, RecursionError):
        raise Invalid(
            "config holds a number that JSON does not have, or is nested too deeply.", BAD_CONFIGURATION
        ) from None
    unknown = set(configuration) - {"ingress", "originRequest", "warp-routing"}
    if unknown:
        raise Invalid(
            f"config.{min(unknown)} is not known; ingress, originRequest and warp-routing are.", BAD_CONFIGURATION
        )
    for name in ("originRequest", "warp-routing"):
        if not isinstance(configuration.get(name, {}), dict | None):
            raise Invalid(f"config.{name} is an object.", BAD_CONFIGURATION)
    rules = configuration.get("ingress")
    if rules is None:
        return
    if not isinstance(rules, list) or len(rules) > MAX_RULES:
        raise Invalid(f"config.ingress is a list of at most {MAX_RULES} rules.", BAD_CONFIGURATION)
    for number, rule in enumerate(rules):
        _check_rule(f"config.ingress[{number}]", rule)
    if rules and (rules[-1].get("hostname") or rules[-1].get("path")):
        raise Invalid(
            "The last rule of config.ingress must match every request: no hostname, no path.", BAD_CONFIGURATION
        )


def _check_rule(place: str, rule: Any) -> None:
    if not isinstance(rule, dict):
        raise Invalid(f"{place} is an object.", BAD_CONFIGURATION)
    if not isinstance(rule.get("service"), str) or not rule["service"]:
        raise Invalid(f"{place}.service is a text.", BAD_CONFIGURATION)
    for name in ("hostname", "path"):
        if not isinstance(rule.get(name, ""), str | None):
            raise Invalid(f"{place}.{name} is a text.", BAD_CONFIGURATION)
    if not isinstance(rule.get("originRequest", {}), dict | None):
        raise Invalid(f"{place}.originRequest is an object.", BAD_CONFIGURATION)
