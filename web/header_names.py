"""Names of header fields that mean the same to every HTTP end, in lower case, and what a name may be made of."""

from __future__ import annotations

import re
from typing import Final

#: Whether a name is a token (RFC 9110 5.6.2). A pattern's `fullmatch`: None where it is none.
is_token = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch

#: Fields of one connection that an HTTP/2 field section may not hold (RFC 9113 8.2.2).
CONNECTION_SPECIFIC: Final = frozenset(
    (b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade")
)
#: Fields that concern one hop alone (RFC 9110 7.6.1).
HOP_BY_HOP: Final = CONNECTION_SPECIFIC | {b"te", b"trailer"}
#: How the names of fields between the edge and a connector begin, which no visitor says or sees (wire.md 14).
INTERNAL_PREFIXES: Final = (b"cf-int-", b"cf-cloudflared-", b"cf-proxy-")
