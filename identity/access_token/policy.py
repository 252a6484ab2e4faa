"""What a rule's `access` block demands, as the verifier needs it (ingress.md 6)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

# A team name becomes part of a host name: one DNS label and nothing else.
_TEAM = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessPolicy:
    """Tokens must come from `issuer`, be signed with a key published at `keys_url`, and name one of `audiences`."""

    issuer: str
    keys_url: str
    audiences: frozenset[str]

    @classmethod
    def of_team(cls, team: str, *, environment: str, audiences: Iterable[str]) -> AccessPolicy:
        """Return the policy for tokens of Cloudflare's team named `team`; `environment` is "" or "fed".

        Raises:
            ValueError: the team name cannot be a host name, so there would be nobody to ask for keys.
        """
        if not _TEAM.fullmatch(team):
            raise ValueError("access.teamName must be the team's short name, as in <teamName>.cloudflareaccess.com")
        domain = "fed.cloudflareaccess.com" if environment == "fed" else "cloudflareaccess.com"
        issuer = f"https://{team}.{domain}"
        return cls(
            issuer=issuer,
            keys_url=f"{issuer}/cdn-cgi/access/certs",
            audiences=frozenset(audiences),
        )
