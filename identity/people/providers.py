"""By what people log in: a one-time PIN of this mesh, or any OpenID provider. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

#: The kinds that are served.
ONE_TIME_PIN, OIDC = "onetimepin", "oidc"
KINDS = (ONE_TIME_PIN, OIDC)
#: Characters of an address, an id and a secret; entries of a list.
MAX_URL, MAX_TEXT, MAX_LIST = 1024, 1024, 20
#: What is asked of a provider where nobody says.
DEFAULT_SCOPES = ("openid", "email", "profile")
_WORD = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,100}")
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_OIDC_FIELDS = frozenset(
    (
        "client_id", "client_secret", "issuer_url", "scopes", "email_claim_name", "pkce_enabled", "claims", "auth_url",
        "token_url", "certs_url", "userinfo_url",
    )
)  # fmt: skip
_ENDPOINTS = ("auth_url", "token_url", "certs_url")


class ProviderError(Exception):
    """A configuration that makes no sense. The text is one sentence for whoever wrote it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoints:
    """Where a provider without discovery is asked what."""

    authorization: str
    token: str
    keys: str
    userinfo: str = ""
    "Empty where it is not asked."


@dataclass(frozen=True, slots=True, kw_only=True)
class OidcSettings:
    """An OpenID provider (OpenID Connect Discovery 1.0), and who we are to it."""

    issuer: str
    client_id: str
    client_secret: str = field(default="", repr=False)
    "Empty for a public client: PKCE is used either way."
    scopes: tuple[str, ...] = DEFAULT_SCOPES
    email_claim: str = "email"
    "Of `email` the provider has to say that it verified it; naming another claim is taking the provider's word."
    claims: tuple[str, ...] = ()
    "What else it says of people that is kept, for rules and for services."
    endpoints: Endpoints | None = None
    "Where it is asked what; None where that is discovered."


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityProvider:
    """One way to log in."""

    id: str
    name: str
    kind: str
    oidc: OidcSettings | None = None


def parse_provider(provider_id: str, value: Mapping[str, Any]) -> IdentityProvider:
    """Return a provider of its JSON: `name`, `type` and `config`.

    Raises:
        ProviderError: it makes no sense, with one sentence.
    """
    name, kind, config = value.get("name"), value.get("type"), value.get("config")
    if not isinstance(name, str) or not isinstance(config, Mapping):
        raise ProviderError("An identity provider has a name and a config.")
    if kind == ONE_TIME_PIN:
        if config:
            raise ProviderError("The config of a one-time PIN is empty: edges are told where PINs go (--login-pins).")
        return IdentityProvider(id=provider_id, name=name, kind=kind)
    if kind != OIDC:
        raise ProviderError(f"type is onetimepin or oidc; {str(kind)[:40]!r} is not served here.")
    return IdentityProvider(id=provider_id, name=name, kind=kind, oidc=_oidc(config))


def is_provider_url(url: object) -> bool:
    """Return whether `url` is an address that a provider may be asked at: https, or http on this machine."""
    if not isinstance(url, str) or len(url) > MAX_URL or not url.isascii() or not url.isprintable() or " " in url:
        return False
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return False
    if not parts.hostname or parts.username is not None or parts.fragment:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)


def _oidc(config: Mapping[str, Any]) -> OidcSettings:
    if "issuer_url" not in config:
        raise ProviderError(
            "config.issuer_url is missing: who logs in is verified against it, and endpoints and keys are discovered "
            "there unless auth_url, token_url and certs_url say them."
        )
    if unknown := sorted(str(name)[:40] for name in config if name not in _OIDC_FIELDS):
        raise ProviderError(f"config.{unknown[0]} is not used here.")
    issuer, client_id, secret = config["issuer_url"], config.get("client_id"), config.get("client_secret") or ""
    if not is_provider_url(issuer) or urlsplit(issuer).query:
        raise ProviderError("config.issuer_url is no https:// address without a query (http:// on this machine alone).")
    for field_name, text in (("client_id", client_id), ("client_secret", secret)):
        if not isinstance(text, str) or len(text) > MAX_TEXT or not text.isprintable():
            raise ProviderError(f"config.{field_name} is no text of at most {MAX_TEXT} characters.")
    if not client_id:
        raise ProviderError("config.client_id is missing.")
    if config.get("pkce_enabled") is False:
        raise ProviderError("config.pkce_enabled cannot be false: PKCE is always used (RFC 9700 2.1.1).")
    claims = config.get("claims") or []
    if not isinstance(claims, list) or len(claims) > MAX_LIST or not all(map(_is_word, claims)):
        raise ProviderError(f"config.claims is a list of at most {MAX_LIST} names.")
    scopes = config.get("scopes") or list(DEFAULT_SCOPES)
    if not isinstance(scopes, list) or len(scopes) > MAX_LIST or not all(map(_is_word, scopes)):
        raise ProviderError(f"config.scopes is a list of at most {MAX_LIST} words.")
    claim = config.get("email_claim_name") or "email"
    if not _is_word(claim):
        raise ProviderError("config.email_claim_name is the name of a claim.")
    return OidcSettings(
        issuer=issuer, client_id=str(client_id), client_secret=secret, email_claim=claim,
        scopes=tuple(dict.fromkeys(["openid", *scopes])), claims=tuple(dict.fromkeys(claims)),
        endpoints=_endpoints(config, issuer),
    )  # fmt: skip


def _endpoints(config: Mapping[str, Any], issuer: str) -> Endpoints | None:
    given = {name: config[name] for name in (*_ENDPOINTS, "userinfo_url") if config.get(name)}
    if not given:
        return None
    if missing := [name for name in _ENDPOINTS if name not in given]:
        raise ProviderError(f"config.{missing[0]} is missing: auth_url, token_url and certs_url come together.")
    for name, url in given.items():
        if not is_provider_url(url) or (issuer.startswith("https:") and not url.startswith("https:")):
            raise ProviderError(f"config.{name} is no https:// address (http:// on this machine alone).")
    return Endpoints(
        authorization=given["auth_url"], token=given["token_url"], keys=given["certs_url"],
        userinfo=given.get("userinfo_url", ""),
    )  # fmt: skip


def _is_word(value: object) -> bool:
    return isinstance(value, str) and _WORD.fullmatch(value) is not None
