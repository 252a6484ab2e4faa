"""What a rule's `access` block demands, as the verifier needs it (ingress.md 6)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from values import dataclass

if TYPE_CHECKING:
    from ingress.settings import AccessSettings

# A team name becomes part of a host name: one DNS label and nothing else.
_TEAM = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessPolicy:
    """Tokens must come from `issuer`, be signed with a key published at `keys_url`, and name one of `audiences`."""

    issuer: str
    keys_url: str
    audiences: frozenset[str]

    @classmethod
    def of(cls, settings: AccessSettings) -> AccessPolicy:
        """Derive the policy from a config's `access` block.

        Raises:
            ValueError: the team name cannot be a host name, so there would be nobody to ask for keys.
        """
        if not _TEAM.fullmatch(settings.team_name):
            raise ValueError("access.teamName must be the team's short name, as in <teamName>.cloudflareaccess.com")
        domain = "fed.cloudflareaccess.com" if settings.environment == "fed" else "cloudflareaccess.com"
        issuer = f"https://{settings.team_name}.{domain}"
        return cls(
            issuer=issuer,
            keys_url=f"{issuer}/cdn-cgi/access/certs",
            audiences=frozenset(settings.aud_tag),
        )
