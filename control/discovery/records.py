"""Answers to questions about the mesh's edges, in the two regions that connectors look for (lifecycle.md 4). Pure.

Any domain will do behind the names, so that a zone can be delegated here and a resolver can forward the provider's.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

#: Seconds for which an answer may be kept: about as long as an edge that died is listed.
TTL = 5
#: Bytes of an answer over UDP at most, whatever room the asker says it has: more would be sent in fragments.
MAX_UDP, LEAST_UDP = 1232, 512
#: Edges that an answer names at most.
MAX_EDGES = 64
SERVICE, PROTOCOL, HOSTS = "v2-origintunneld", "_tcp", "v2"
#: Connectors take no answer with fewer targets.
REGIONS = 2
_SHORTEST = 12  # bytes of a message's header
#: Bytes of a query that is looked into, and additional records that it may have (EDNS, and a signature). A question
#: about one name needs no more, and taking a longer message apart costs seconds: names in it may point at each other.
MAX_QUERY, MAX_ADDITIONAL = 1232, 2


@dataclass(frozen=True, slots=True)
class EdgeAddress:
    """Where connectors reach an edge."""

    host: str
    "An IP address."
    port: int


#: Names of hosts with the port and the addresses behind each.
Places = dict[str, tuple[int, list[str]]]


def places_of(edges: Sequence[EdgeAddress]) -> Places:
    """Return the hosts that edges are named by: two regions where all have one port, else a host for each port."""
    by_port: dict[int, list[str]] = {}
    for edge in edges[:MAX_EDGES]:
        held = by_port.setdefault(edge.port, [])
        if edge.host not in held:
            held.append(edge.host)
    if len(by_port) != 1:
        return {f"port{port}": (port, hosts) for port, hosts in by_port.items()}
    ((port, hosts),) = by_port.items()
    return {
        # One edge is both.
        f"region{number + 1}": (port, hosts[number::REGIONS] or hosts)
        for number in range(REGIONS)
    }


def answer(data: bytes, edges: Sequence[EdgeAddress], *, shuffle: Callable[[list[str]], None]) -> bytes | None:
    """Return the answer to a query, whole as over TCP; None where none is due: it is no query.

    `shuffle` puts hosts into another order each time: connectors use the first two.
    """
    if len(data) < _SHORTEST or data[2] & 0x80:
        return None  # what is an answer itself is never answered
    if len(data) > MAX_QUERY or not _asks_one_thing(data):
        return _refused(data, dns.rcode.FORMERR if _opcode(data) == dns.opcode.QUERY else dns.rcode.NOTIMP)
    try:
        query = dns.message.from_wire(data)
    except (dns.exception.DNSException, ValueError):
        return _refused(data, dns.rcode.FORMERR)
    response = dns.message.make_response(query, our_payload=MAX_UDP)
    response.flags &= ~dns.flags.RD & 0xFFFF
    if query.opcode() != dns.opcode.QUERY:
        response.set_rcode(dns.rcode.NOTIMP)
        return response.to_wire()
    if query.question[0].rdclass != dns.rdataclass.IN:
        response.set_rcode(dns.rcode.REFUSED)
        return response.to_wire()
    question = query.question[0]
    _fill(response, question.name, question.rdtype, edges, shuffle)
    return response.to_wire()


def for_udp(whole: bytes, query: bytes) -> bytes:
    """Return an answer as it goes over UDP: one that has no room says so and nothing else."""
    if len(whole) <= LEAST_UDP:
        return whole
    try:
        room = dns.message.from_wire(query).payload
    except (dns.exception.DNSException, ValueError):
        room = 0
    if len(whole) <= min(room, MAX_UDP):
        return whole
    short = dns.message.from_wire(whole)
    short.answer, short.additional, short.authority = [], [], []
    short.flags |= dns.flags.TC
    return short.to_wire()


def _fill(
    response: dns.message.Message,
    name: dns.name.Name,
    kind: dns.rdatatype.RdataType,
    edges: Sequence[EdgeAddress],
    shuffle: Callable[[list[str]], None],
) -> None:
    labels = [label.decode("latin-1").lower() for label in name.labels]
    is_service = len(labels) > 2 and labels[0].endswith(SERVICE) and labels[0][0] == "_" and labels[1] == PROTOCOL
    is_host = len(labels) > 2 and labels[1] == HOSTS
    if not is_service and not is_host:
        response.set_rcode(dns.rcode.REFUSED)
        return
    response.flags |= dns.flags.AA
    places = places_of(edges)
    if is_service:
        if kind in (dns.rdatatype.SRV, dns.rdatatype.ANY) and places:
            domain = dns.name.Name(name.labels[2:])
            hosts = list(places)
            shuffle(hosts)
            texts = [f"1 1 {places[host][0]} {dns.name.Name((host.encode(), HOSTS.encode())).concatenate(domain)}"
                     for host in hosts]  # fmt: skip
            response.answer.append(dns.rrset.from_text(name, TTL, "IN", "SRV", *texts))
        return
    # A region of the provider is named before it: `us-region1`.
    host = labels[0].rpartition("-")[2]
    if host not in places:
        response.set_rcode(dns.rcode.NXDOMAIN)
        return
    family = {dns.rdatatype.A: 4, dns.rdatatype.AAAA: 6}.get(kind)
    found = [text for text in places[host][1] if ipaddress.ip_address(text).version == family]
    if found:
        response.answer.append(dns.rrset.from_text(name, TTL, "IN", dns.rdatatype.to_text(kind), *found))


def _opcode(data: bytes) -> int:
    return data[2] >> 3 & 0xF


def _asks_one_thing(data: bytes) -> bool:
    questions, answers, authorities, additional = (int.from_bytes(data[at : at + 2]) for at in (4, 6, 8, 10))
    return (questions, answers, authorities) == (1, 0, 0) and additional <= MAX_ADDITIONAL


def _refused(data: bytes, code: dns.rcode.Rcode) -> bytes:
    """A header alone."""
    message = dns.message.Message(id=int.from_bytes(data[:2]))
    message.flags |= dns.flags.QR
    message.set_opcode(dns.opcode.Opcode(_opcode(data)))
    message.set_rcode(code)
    return message.to_wire()
