"""Verify the token that an edge put before a service: signature, issuer, audience, expiry. Says who asks.

    verify_session.py KEYS_URL ISSUER AUDIENCE < token

as in `verify_session.py http://127.0.0.1:8080/cdn-cgi/access/certs https://access.mesh.localhost 4714c1...`. The token
is what came in `Cf-Access-Jwt-Assertion`; it stands in no argument, which everybody on the machine could read. A
service needs nothing but a JOSE library for it.
"""

from __future__ import annotations

import json
import sys
import urllib.request
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

#: Bytes of a key document; a real one has some 10,000.
MAX_DOCUMENT = 262_144


def verify_session(token: str, *, keys_url: str, issuer: str, audience: str) -> dict[str, Any]:
    """Return what a token says.

    Raises:
        JoseError, ValueError: it is no token for this audience, or not any more.
        OSError: the keys cannot be had.
    """
    with urllib.request.urlopen(keys_url, timeout=10) as answer:
        keys = KeySet.import_key_set(json.loads(answer.read(MAX_DOCUMENT)))
    # The one algorithm that edges sign with: what the token itself says of it is not asked.
    decoded = jwt.decode(token, keys, algorithms=["RS256"])
    jwt.JWTClaimsRegistry(  # clocks may differ by a minute
        leeway=60,
        iss={"essential": True, "value": issuer},
        aud={"essential": True, "value": audience},
        exp={"essential": True},
    ).validate(decoded.claims)
    if decoded.claims.get("type") != "app":
        raise ValueError("it is no token for an application")
    return decoded.claims


def main() -> int:
    """Read a token, and say whose it is."""
    if len(sys.argv) != 4:
        print(__doc__, file=sys.stderr)
        return 2
    keys_url, issuer, audience = sys.argv[1:]
    try:
        claims = verify_session(sys.stdin.read().strip(), keys_url=keys_url, issuer=issuer, audience=audience)
    except (JoseError, ValueError, OSError) as refused:
        print(f"refused: {refused}", file=sys.stderr)
        return 1
    custom = claims.get("custom", {})
    print(f"{claims.get('email') or claims.get('common_name')}, role {custom.get('role', 'none')}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
