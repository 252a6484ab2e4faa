"""A connector inside another asyncio program: start it, wait for it, look at it, change its rules, drain it.

A local edge stands in for the provider's, so this runs as it is. With a real tunnel the config comes from
`load_config("config.yaml")`, and the lines about the edge go away.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import secrets
import urllib.request
import uuid

from pyconnector import (
    Connector,
    ConnectorConfig,
    Credentials,
    EdgeSettings,
    Event,
    LifecycleConfig,
    LocalEdge,
    Registered,
    TunnelSettings,
    parse_ingress,
)


def get(url: str, host: str) -> tuple[int, str]:
    """One visitor's request: the status and the content type of its answer."""
    with urllib.request.urlopen(urllib.request.Request(url, headers={"Host": host}), timeout=10) as response:
        return response.status, response.headers.get("Content-Type", "no content")


def report(event: Event) -> None:
    """Called from the event loop whenever something happens; it must not block."""
    if isinstance(event, Registered):
        print(f"connection {event.index} is registered at {event.location}")


async def main() -> None:
    logging.basicConfig(level=logging.WARNING)  # the program's choice: the connector only logs to `pyconnector.*`
    credentials = Credentials(account_tag="example", tunnel_id=uuid.uuid4(), secret=secrets.token_bytes(32))
    tunnel = TunnelSettings(
        account_tag=credentials.account_tag, tunnel_id=credentials.tunnel_id, secret=credentials.secret
    )
    config = ConnectorConfig(
        credentials=credentials,
        ingress=parse_ingress({"ingress": [{"service": "hello_world"}]}),
        lifecycle=LifecycleConfig(ha_connections=2),
    )
    async with LocalEdge(EdgeSettings(tunnels=(tunnel,))) as edge:
        config = config.with_edge("{}:{}".format(*edge.quic_address), ca_file=str(edge.ca_path))
        url = "http://{}:{}/".format(*edge.visitor_address)
        async with Connector(config, on_event=report) as connector:
            await connector.wait_ready(connections=2)
            print("before:", *await asyncio.to_thread(get, url, "app.example"))

            rules = parse_ingress({"ingress": [{"service": "http_status:204"}]})
            await connector.reload(dataclasses.replace(config, ingress=rules))
            print("after: ", *await asyncio.to_thread(get, url, "app.example"))

            figures = connector.statistics()
            print(f"{figures.total_requests} requests over {figures.connected} connections")
            await connector.drain(grace_period=5)


if __name__ == "__main__":
    asyncio.run(main())
