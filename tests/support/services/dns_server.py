"""A DNS server on loopback, over UDP, TCP and TLS, that answers what a test tells it to."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import struct
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import cast

import dns.asyncresolver
import dns.flags
import dns.message
import dns.rcode
import dns.rrset

#: Makes the answer to a query, or None for none at all.
Behaviour = Callable[[dns.message.Message], dns.message.Message | bytes | None]


@dataclass(eq=False)
class Zone:
    """Records by name and type, as a zone file writes them; a name that is not there does not exist."""

    records: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    "Every question, with how it came."

    def answer(self, query: dns.message.Message, over: str) -> dns.message.Message:
        name, kind = query.question[0].name.to_text(True), dns.rdatatype.to_text(query.question[0].rdtype)
        self.asked.append(f"{over} {kind} {name}")
        reply = dns.message.make_response(query)
        found = self.records.get((name, kind))
        if found is None:
            known = any(each == name for each, _ in self.records)
            reply.set_rcode(dns.rcode.NOERROR if known else dns.rcode.NXDOMAIN)
        else:
            reply.answer.append(dns.rrset.from_text(name + ".", 60, "IN", kind, *found))
        return reply


class DnsServer:
    """Serves a zone; `behaviour` may replace an answer, and `silent` gives none."""

    def __init__(self, zone: Zone) -> None:
        self.zone = zone
        self.silent = False
        self.twist: Callable[[dns.message.Message], dns.message.Message] | None = None
        self.port = 0
        self.tls_port = 0

    def resolver(self) -> dns.asyncresolver.Resolver:
        """A resolver that asks this server alone."""
        made = dns.asyncresolver.Resolver(configure=False)
        made.nameservers = ["127.0.0.1"]
        made.port = self.port
        return made

    def reply(self, data: bytes, over: str) -> bytes | None:
        query = dns.message.from_wire(data)
        if self.silent:
            return None
        answer = self.zone.answer(query, over)
        if self.twist is not None:
            answer = self.twist(answer)
        if over != "udp":
            return answer.to_wire(max_size=65535)
        try:
            return answer.to_wire(max_size=1232)
        except dns.exception.TooBig:
            short = dns.message.make_response(query)
            short.flags |= dns.flags.TC
            return short.to_wire()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: DnsServer) -> None:
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)  # uvloop's is no subclass

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        answer = self._server.reply(data, "udp")
        if answer is not None:
            self._transport.sendto(answer, addr)


@contextlib.asynccontextmanager
async def dns_server(
    zone: Zone, tls: ssl.SSLContext | None = None, *, host: str = "127.0.0.1"
) -> AsyncIterator[DnsServer]:
    """Serve `zone` until the context ends; over TLS as well where there is a context for it."""
    server = DnsServer(zone)
    loop = asyncio.get_running_loop()

    def conversation(over: str) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[None, None, None]]:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                (size,) = struct.unpack("!H", await reader.readexactly(2))
                answer = server.reply(await reader.readexactly(size), over)
                if answer is not None:
                    writer.write(struct.pack("!H", len(answer)) + answer)
                    await writer.drain()
                await reader.read()
            writer.close()

        return serve

    while True:
        transport, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(server), local_addr=(host, 0))
        server.port = transport.get_extra_info("sockname")[1]
        try:
            listeners = [await asyncio.start_server(conversation("tcp"), host, server.port)]
        except OSError:  # the number is free for UDP and taken for TCP: another one
            transport.close()
        else:
            break
    if tls is not None:
        listeners.append(await asyncio.start_server(conversation("tls"), host, 0, ssl=tls))
        server.tls_port = listeners[-1].sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        transport.close()
        for listener in listeners:
            listener.close()


def dns_service(
    addresses: Mapping[str, str], *, host: str = "127.0.0.1"
) -> contextlib.AbstractAsyncContextManager[DnsServer]:
    """Serve these addresses by name until the context ends."""
    zone = Zone({(name, "AAAA" if ":" in address else "A"): [address] for name, address in addresses.items()})
    return dns_server(zone, host=host)
