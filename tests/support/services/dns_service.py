"""A resolver for tests, over UDP and TCP on one port: A and AAAA records of a table, NXDOMAIN for everything else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import dns.flags
import dns.message
import dns.rcode
import dns.rrset

from tests.support.services.udp_service import UdpService


def answer(wire: bytes, records: Mapping[str, str]) -> bytes:
    query = dns.message.from_wire(wire)
    response = dns.message.make_response(query)
    question = query.question[0]
    name = question.name.to_text(omit_final_dot=True)
    if name not in records:
        response.set_rcode(dns.rcode.NXDOMAIN)
    elif (":" in records[name]) == (question.rdtype == dns.rdatatype.AAAA):
        response.answer.append(dns.rrset.from_text(question.name, 60, "IN", question.rdtype, records[name]))
    return response.to_wire()


@asynccontextmanager
async def dns_service(records: Mapping[str, str], *, host: str = "127.0.0.1") -> AsyncIterator[UdpService]:
    """Serve until the block ends; `received` of the value has the queries over UDP."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        size = int.from_bytes(await reader.readexactly(2), "big")
        reply = answer(await reader.readexactly(size), records)
        writer.write(len(reply).to_bytes(2, "big") + reply)
        writer.close()

    for _ in range(20):
        async with UdpService(lambda wire: answer(wire, records), host=host) as service:
            try:
                server = await asyncio.start_server(serve, host, service.port)
            except OSError:
                continue  # a free UDP port may be no free TCP port
            async with server:
                yield service
            return
    raise AssertionError("no port is free for UDP and for TCP")
