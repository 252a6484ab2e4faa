"""Tokens for the management service of a connector: made by a control plane, verified by the edge, read by the
connector (reference/lifecycle.md 7).

A connector has no key to verify one with. It relies on its edge, which lets nothing pass to the management hostname
that it did not verify.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

#: The names under which connectors are managed, and the one of the provider's second network.
HOSTNAME, FED_HOSTNAME = "management.argotunnel.com", "management.fed.argotunnel.com"
HOSTNAMES = frozenset((HOSTNAME, FED_HOSTNAME))
#: What tokens of that network say is their issuer.
FED_ISSUER = "fed-tunnelstore"
#: Where a request has its token.
PARAMETER = "access_token"
#: Largest token that is looked at.
MAX_TOKEN_CHARS = 16_384
#: Seconds by which the clocks of control plane and edge may differ.
CLOCK_SKEW = 60.0
_ALGORITHM = "ES256"


class NoManagementToken(Exception):
    """It is none, or not to be trusted. The text says why and shows nothing of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ManagementClaims:
    """What a token says."""

    tunnel_id: str
    account_tag: str
    actor: str
    "Who asks: the same person has the same."
    resources: frozenset[str]
    "What it is for; empty where it does not say."
    issuer: str
    expires: float
    "Seconds since the epoch; infinite where it does not say."


def read_claims(token: str) -> ManagementClaims:
    """Return what `token` says, without verifying that anybody signed it.

    Raises:
        NoManagementToken: it says no such thing.
    """
    parts = token.split(".")
    if len(token) > MAX_TOKEN_CHARS or len(parts) != 3 or not all(parts):
        raise NoManagementToken("it is no signed token")
    header, claims = _decoded(parts[0]), _decoded(parts[1])
    if header.get("alg") != _ALGORITHM:
        raise NoManagementToken(f"it is not signed with {_ALGORITHM}")
    tunnel, actor, resources = claims.get("tun"), claims.get("actor"), claims.get("res")
    found = [
        value.get(name) if isinstance(value, dict) else None
        for value, name in ((tunnel, "id"), (tunnel, "account_tag"), (actor, "id"))
    ]
    if not all(isinstance(value, str) and value for value in found):
        raise NoManagementToken("it does not say for which tunnel it is, or who asks")
    expires, issuer = claims.get("exp", math.inf), claims.get("iss", "")
    if isinstance(expires, bool) or not isinstance(expires, int | float) or not isinstance(issuer, str):
        raise NoManagementToken("its dates or its issuer are none")
    names = [name for name in resources if isinstance(name, str)] if isinstance(resources, list) else []
    return ManagementClaims(
        tunnel_id=str(found[0]), account_tag=str(found[1]), actor=str(found[2]), resources=frozenset(names),
        issuer=issuer, expires=expires,
    )  # fmt: skip


class ManagementKey:
    """The public key of a control plane."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        """`document` is the key as a JSON Web Key.

        Raises:
            ValueError: it is none for this.
        """
        from joserfc.errors import JoseError  # only where something is verified: it takes a while to load
        from joserfc.jwk import ECKey

        try:
            key = ECKey.import_key({name: str(document[name]) for name in ("kty", "crv", "x", "y")})
        except (KeyError, TypeError, ValueError, JoseError) as error:
            raise ValueError("no key") from error
        if key.curve_name != "P-256":
            raise ValueError("no key of P-256")
        self._key = key

    def verify(self, token: str, now: float) -> ManagementClaims:
        """Return what a token says that this key signed and that is still valid at `now`, seconds since the epoch.

        Raises:
            NoManagementToken: it did not, or no longer.
        """
        from joserfc import jws
        from joserfc.errors import JoseError

        claims = read_claims(token)
        try:
            jws.deserialize_compact(token, self._key, algorithms=[_ALGORITHM])
        except (JoseError, ValueError, TypeError) as error:
            raise NoManagementToken("its signature is not that of the control plane") from error
        if not now < claims.expires + CLOCK_SKEW:
            raise NoManagementToken("it has expired")
        return claims


def public_key(private_pem: str) -> dict[str, str]:
    """Return the public part of a control plane's key, as `ManagementKey` takes it."""
    from joserfc.jwk import ECKey

    document = ECKey.import_key(private_pem).as_dict(private=False)
    return {name: str(document[name]) for name in ("kty", "crv", "x", "y")}


def _decoded(part: str) -> dict[str, Any]:
    try:
        found = json.loads(base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True))
    except (ValueError, binascii.Error, RecursionError) as error:
        raise NoManagementToken("it is no signed token") from error
    if not isinstance(found, dict):
        raise NoManagementToken("it is no signed token")
    return found
