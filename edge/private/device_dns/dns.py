"""Answers to a device's DNS questions: private names get addresses that stand for them, all else is refused. Pure.

It is no resolver: what a name is in the network behind its tunnel, the connector there finds out for each flow.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

import dns.exception
import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from pyconnector.edge.private.device_dns.name_addresses import TTL

if TYPE_CHECKING:
    from collections.abc import Callable
    from ipaddress import IPv4Address

#: Bytes of a message that is looked at, and records behind its one question: EDNS, and a signature. More of either
#: would be nothing that is answered, and costs its reader 100 ms where its sender counts on it.
MAX_QUERY, MAX_ADDITIONAL = 1_232, 2
_HEAD: Final = struct.Struct("!6H")


def answer_query(
    data: bytes, is_private: Callable[[str], bool], address_of: Callable[[str], IPv4Address | None]
) -> bytes | None:
    """Return the answer to a question, or None for what is none.

    `is_private` says of a lower-case name whether a route leads to it, `address_of` which address stands for it.
    """
    if len(data) > MAX_QUERY or not _asks_one_thing(data):
        return None
    try:
        query = dns.message.from_wire(data)
    except (dns.exception.DNSException, ValueError):
        return None
    if query.flags & dns.flags.QR:
        return None
    response = dns.message.make_response(query, recursion_available=True)
    if query.opcode() != dns.opcode.QUERY or len(query.question) != 1:
        response.set_rcode(dns.rcode.NOTIMP)
        return response.to_wire()
    question = query.question[0]
    name = question.name.to_text(omit_final_dot=True).lower()
    if question.rdclass != dns.rdataclass.IN or not is_private(name):
        response.set_rcode(dns.rcode.REFUSED)
        return response.to_wire()
    response.flags |= dns.flags.AA
    if question.rdtype == dns.rdatatype.A:
        address = address_of(name)
        if address is None:
            response.set_rcode(dns.rcode.SERVFAIL)
        else:
            response.answer.append(dns.rrset.from_text(question.name, TTL, "IN", "A", str(address)))
    return response.to_wire()  # of another type: there is the name, and nothing of that type


def _asks_one_thing(data: bytes) -> bool:
    if len(data) < _HEAD.size:
        return False
    _, _, questions, answers, authorities, additional = _HEAD.unpack_from(data)
    return (questions, answers, authorities) == (1, 0, 0) and additional <= MAX_ADDITIONAL
