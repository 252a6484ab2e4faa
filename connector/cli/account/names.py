"""Names that lead to tunnels: route dns, route lb."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import idna

from pyconnector.connector.cli.account import output
from pyconnector.connector.cli.account.client import ApiError
from pyconnector.connector.cli.account.errors import CommandFailed
from pyconnector.connector.cli.account.lookup import find, say

if TYPE_CHECKING:
    from pyconnector.connector.cli.account.client import ApiClient

_HOSTNAME = re.compile(r"[*_a-zA-Z0-9][-_.a-zA-Z0-9]*")
_POOL = re.compile(r"[_a-zA-Z0-9][-_.a-zA-Z0-9]*")
#: What became of the load balancer and of its pool.
_BALANCED = {
    ("new", "new"): "Created load balancer {0} and added a new pool {1} with this tunnel as an origin",
    ("new", "updated"): "Created load balancer {0} with an existing pool {1} which was updated to use this tunnel as an"
    " origin",
    ("new", "unchanged"): "Created load balancer {0} with an existing pool {1} which already has this tunnel as an"
    " origin",
    ("updated", "new"): "Added new pool {1} with this tunnel as an origin to load balancer {0}",
    ("updated", "updated"): "Updated pool {1} to use this tunnel as an origin and added it to load balancer {0}",
    ("updated", "unchanged"): "Added pool {1}, which already has this tunnel as an origin, to load balancer {0}",
    ("unchanged", "updated"): "Added this tunnel as an origin in pool {1} which is already used by load balancer {0}",
    ("unchanged", "unchanged"): "Load balancer {0} already uses pool {1} which has this tunnel as an origin",
}


def route_dns(client: ApiClient, tunnel: str, hostname: str, *, overwrite: bool, form: str = "") -> None:
    """Lead a hostname to a tunnel.

    Raises:
        CommandFailed: there is no such tunnel, that is no hostname, or it leads elsewhere.
    """
    output.check_form(form)
    tunnel_id = find(client, tunnel)
    if not is_hostname(hostname):
        raise CommandFailed(f"{hostname} is not a valid hostname")
    body = {"type": "dns", "user_hostname": hostname, "overwrite_existing": overwrite}
    try:
        result = client.call("add route", "PUT", client.zone(f"tunnels/{tunnel_id}/routes"), body) or {}
    except ApiError as error:
        raise CommandFailed(f"Failed to add route: {error}") from None
    name = result.get("name") or hostname
    if form:
        told = {"tunnel_id": tunnel_id, "name": name, "cname": result.get("cname")}
        output.print_structured(form, told, told)
        return
    sentences = {
        "new": f"Added CNAME {name} which will route to this tunnel",
        "updated": f"{name} updated to route to your tunnel",
        "unchanged": f"{name} is already configured to route to your tunnel",
    }
    say(sentences.get(str(result.get("cname")), f"{name} leads to your tunnel"), tunnelID=tunnel_id)


def route_lb(client: ApiClient, tunnel: str, name: str, pool: str, *, form: str = "") -> None:
    """Make a tunnel an origin of a load balancer's pool, and make both where they are not there.

    Raises:
        CommandFailed: there is no such tunnel, those are no names, or the API has no load balancers.
    """
    output.check_form(form)
    tunnel_id = find(client, tunnel)
    if not is_hostname(name):
        raise CommandFailed(f"{name} is not a valid load balancer name")
    if _POOL.fullmatch(pool) is None:
        raise CommandFailed(f"{pool} is not a valid pool name")
    body = {"type": "lb", "lb_name": name, "lb_pool": pool}
    try:
        result = client.call("add route", "PUT", client.zone(f"tunnels/{tunnel_id}/routes"), body) or {}
    except ApiError as error:
        raise CommandFailed(f"Failed to add route: {error}") from None
    done = str(result.get("load_balancer")), str(result.get("pool"))
    if form:
        told = {"tunnel_id": tunnel_id, "load_balancer": done[0], "pool": done[1]}
        output.print_structured(form, told, told)
    elif done in _BALANCED:
        say(_BALANCED[done].format(name, pool), tunnelID=tunnel_id)
    else:
        raise CommandFailed(f"The API answered, and says of neither load balancer {name} nor pool {pool} what it did")


def is_hostname(text: str) -> bool:
    """Return whether a text is a hostname, perhaps behind `*.`."""
    star, name = ("*.", text[2:]) if text.startswith("*.") else ("", text)
    try:
        encoded = name if name.isascii() else idna.encode(name, uts46=True).decode("ascii")
    except idna.IDNAError:
        return False
    labels = encoded.removesuffix(".").split(".")
    fits = all(0 < len(label) <= 63 for label in labels) and len(encoded) <= 253
    return fits and _HOSTNAME.fullmatch(star + encoded) is not None
