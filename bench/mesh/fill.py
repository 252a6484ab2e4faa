"""Puts many objects into a control plane's database at once: one by one over the API would take an hour."""

from __future__ import annotations

import ipaddress
import uuid
from typing import TYPE_CHECKING

from sqlalchemy import insert, select

from pyconnector.control.store.models import DnsRecord, IpRoute, Tunnel, VirtualNetwork
from pyconnector.control.store.objects.names import TUNNEL_SUFFIX
from pyconnector.control.store.work import Actor

if TYPE_CHECKING:
    from pyconnector.control.store.database import Database
    from pyconnector.control.store.work import Work

SECRET = "YSBzZWNyZXQgb2YgdGhlIGJlbmNoLCAzMiBieXRlcy4="
#: Rows of one statement.
AT_ONCE = 2000


async def fill(database: Database, told: dict[str, str], *, tunnels: int, routes: int, hostnames: int) -> None:
    """Make that many tunnels, routes of /30 networks and names, shared out evenly. Cancel undoes it.

    `told` is what the control plane printed at its start.
    """
    account, zone, zone_name = told["account_id"], told["zone_id"], told["zone_name"]
    ids = [str(uuid.uuid4()) for _ in range(tunnels)]
    first = int(ipaddress.ip_address("10.0.0.0"))

    async def operation(work: Work) -> None:
        session, now = work.session, work.now
        network = (await session.execute(select(VirtualNetwork.id).where(VirtualNetwork.is_default))).scalar_one()
        rows: dict[type, list[dict[str, object]]] = {Tunnel: [], IpRoute: [], DnsRecord: []}
        for number, tunnel_id in enumerate(ids):
            rows[Tunnel].append(
                {"id": tunnel_id, "account_id": account, "name": f"tunnel-{number}", "secret": SECRET,
                 "config_src": "local", "configuration": None, "configuration_version": 0, "configured_at": None,
                 "created_at": now, "deleted_at": None, "version": 1}
            )  # fmt: skip
        for number in range(routes):
            start = first + 4 * number
            rows[IpRoute].append(
                {"id": str(uuid.uuid4()), "account_id": account,
                 "network": f"{ipaddress.ip_address(start)}/30", "family": 4, "prefix": 30, "first": f"{start:032x}",
                 "last": f"{start + 3:032x}", "tunnel_id": ids[number % tunnels], "virtual_network_id": network,
                 "comment": "", "created_at": now, "deleted_at": None, "version": 1}
            )  # fmt: skip
        for number in range(hostnames):
            rows[DnsRecord].append(
                {"id": uuid.uuid4().hex, "zone_id": zone, "name": f"host-{number}.{zone_name}",
                 "type": "CNAME", "content": ids[number % tunnels] + TUNNEL_SUFFIX, "ttl": 1, "proxied": True,
                 "comment": None, "tags": [], "created_at": now, "modified_at": now, "version": 1}
            )  # fmt: skip
        for table, all_rows in rows.items():
            for begin in range(0, len(all_rows), AT_ONCE):
                await session.execute(insert(table), all_rows[begin : begin + AT_ONCE])

    await database.write(Actor(account_id=account), operation)
