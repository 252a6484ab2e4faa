"""Tunnel tokens: what a user pastes instead of a credentials file.

A token is base64 (standard alphabet, padded) of JSON with the keys a (account), s (secret, base64 again), t (tunnel id)
and, sometimes, e (endpoint). Read by the connector's CLI and by the local edge that issues them.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass, field
from uuid import UUID

from pyconnector.protocol.errors import ProtocolError

#: Longest token looked at; real ones have about 200 characters.
MAX_TOKEN_CHARS = 4_096


@dataclass(frozen=True, slots=True, kw_only=True)
class TunnelToken:
    """What a token grants: to be one tunnel of one account."""

    account_tag: str
    secret: bytes = field(repr=False)
    tunnel_id: UUID
    endpoint: str = ""
    "Region of the edge to dial; empty for any."


def decode_token(text: str) -> TunnelToken:
    """Read a token, as pasted: white space around it is ignored.

    Raises:
        ProtocolError: it is no token. The sentence says why and repeats no part of it.
    """
    text = text.strip()
    if len(text) > MAX_TOKEN_CHARS:
        raise ProtocolError(f"a token of {len(text)} characters is beyond the limit of {MAX_TOKEN_CHARS}")
    try:
        fields = json.loads(base64.b64decode(text, validate=True))
    except (ValueError, RecursionError):
        # Without a cause: it would quote the token.
        raise ProtocolError("the token is not base64 of JSON; copy it whole, without quotes") from None
    if not isinstance(fields, dict):
        raise ProtocolError("the token holds no JSON object")
    try:
        secret = base64.b64decode(_field(fields, "s", "secret"), validate=True)
    except (binascii.Error, ValueError):
        raise ProtocolError("the token's secret is not base64") from None
    try:
        tunnel_id = UUID(_field(fields, "t", "tunnel id"))
    except ValueError:
        raise ProtocolError("the token's tunnel id is not a UUID") from None
    return TunnelToken(
        account_tag=_field(fields, "a", "account"),
        secret=secret,
        tunnel_id=tunnel_id,
        endpoint=_field(fields, "e", "endpoint", default=""),
    )


def _field(fields: dict[str, object], key: str, meaning: str, *, default: str | None = None) -> str:
    value = fields.get(key, default)
    if not isinstance(value, str) or not (value or default is not None):
        raise ProtocolError(f"the token lacks its {meaning} ({key!r})")
    return value


def encode_token(token: TunnelToken) -> str:
    """Return the token as the reference writes it, to be pasted by a user."""
    fields = {
        "a": token.account_tag,
        "s": base64.b64encode(token.secret).decode("ascii"),
        "t": str(token.tunnel_id),
    }
    if token.endpoint:
        fields["e"] = token.endpoint
    return base64.b64encode(json.dumps(fields, separators=(",", ":")).encode()).decode("ascii")
