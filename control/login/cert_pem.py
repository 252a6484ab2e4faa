"""`cert.pem`, as the reference's `tunnel login` would have fetched it (cli.md 3). Pure."""

from __future__ import annotations

import base64
import json
import textwrap
from dataclasses import dataclass, field

_TYPE = "ARGO TUNNEL TOKEN"
_COLUMNS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class OriginCert:
    """What the file grants: to act in an account with a token, and to route names of a zone."""

    zone_id: str
    account_id: str
    api_token: str = field(repr=False)
    api_url: str = ""
    "Base of the API that the token is for: read by our own commands, passed over by the reference."
    endpoint: str = ""


def encode(cert: OriginCert) -> str:
    """Return the text of the file."""
    fields = {"zoneID": cert.zone_id, "accountID": cert.account_id, "apiToken": cert.api_token}
    fields |= {name: value for name, value in (("endpoint", cert.endpoint), ("apiURL", cert.api_url)) if value}
    payload = base64.b64encode(json.dumps(fields, separators=(",", ":")).encode()).decode("ascii")
    lines = "\n".join(textwrap.wrap(payload, _COLUMNS))
    return f"-----BEGIN {_TYPE}-----\n{lines}\n-----END {_TYPE}-----\n"


def moved(text: str, api_url: str) -> str:
    """Return a file's text with another address of the API; as it is where it is no such file."""
    payload = text.partition(f"-----BEGIN {_TYPE}-----")[2].partition(f"-----END {_TYPE}-----")[0]
    try:
        fields = json.loads(base64.b64decode("".join(payload.split()), validate=True))
        cert = OriginCert(
            zone_id=fields["zoneID"], account_id=fields["accountID"], api_token=fields["apiToken"],
            endpoint=fields.get("endpoint", ""), api_url=api_url,
        )  # fmt: skip
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return text
    return encode(cert)
