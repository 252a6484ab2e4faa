"""A new `cert.pem` for somebody who is signed in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyconnector.control.login.cert_pem import OriginCert, encode
from pyconnector.control.store.objects import dns, tokens

if TYPE_CHECKING:
    from collections.abc import Collection

    from pyconnector.control.store.work import Work

#: What a token needs to make another.
NEEDED = "tokens:edit"
MAX_NAME = 255


def may_grant(scopes: Collection[str]) -> bool:
    """Return whether a token of these scopes can hand out a certificate that can do anything."""
    return NEEDED in scopes and any(scope in scopes for scope in tokens.CLIENT_SCOPES)


async def grant(work: Work, zone_id: str, *, api_url: str) -> str:
    """Make a token for tunnels, names and networks, as far as the asker may, and return the file. Cancel undoes it.

    Raises:
        NotFound: there is no such zone.
        Invalid: the asker's token can give nothing of it.
    """
    zone = await dns.zone_of(work.session, work.account_id, zone_id)
    scopes = tuple(scope for scope in tokens.CLIENT_SCOPES if scope in work.actor.scopes)
    name = f"cert.pem by {work.actor.token_name}"[:MAX_NAME]
    made = await tokens.create(work, name=name, scopes=scopes)
    return encode(OriginCert(zone_id=zone.id, account_id=work.account_id, api_token=made.text, api_url=api_url))
