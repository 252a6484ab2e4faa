"""What an OpenID provider says, judged without I/O: its metadata, its keys, its ID tokens (OpenID Connect Core 3.1)."""

from __future__ import annotations

import base64
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from joserfc import jwk, jws
from joserfc.errors import JoseError

from pyconnector.identity.access_token.keys import MAX_KEYS, MIN_RSA_BITS
from pyconnector.identity.people.person import MAX_NAME, email_of
from pyconnector.identity.people.providers import is_provider_url
from pyconnector.identity.policies.rules import MAX_VALUE

if TYPE_CHECKING:
    from pyconnector.identity.people.providers import OidcSettings

#: Signatures that are taken, with the type of key that each needs; `none` and the HMAC family are not among them.
ALGORITHMS = {
    "RS256": "RSA", "RS384": "RSA", "RS512": "RSA", "PS256": "RSA", "PS384": "RSA", "PS512": "RSA",
    "ES256": "EC", "ES384": "EC", "ES512": "EC", "EdDSA": "OKP",
}  # fmt: skip
#: Bytes of an ID token, and seconds by which clocks may differ.
MAX_ID_TOKEN, SKEW = 32_768, 60.0
#: Bytes of all claims that are kept, since a browser keeps cookies of 4 KiB.
MAX_CLAIMS = 1500


class OidcError(Exception):
    """A provider's answer that is not good. The text is for the log: it holds no token and no claim of anybody's."""


class UnknownKey(OidcError):
    """The ID token names a key that the provider does not publish (any more): perhaps it has new ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """Where a provider is asked what (OpenID Connect Discovery 1.0, 3)."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str
    "Empty where it has none."
    basic: bool
    "Whether the client secret goes into `Authorization`, or else into the form."


def metadata_url(issuer: str) -> str:
    """Return where a provider publishes its metadata."""
    return issuer.rstrip("/") + "/.well-known/openid-configuration"


def parse_metadata(document: bytes, issuer: str) -> Metadata:
    """Return what a provider publishes.

    Raises:
        OidcError: it is nothing of the kind, or speaks for another issuer.
    """
    value = _object(document, "its metadata")
    if value.get("issuer") != issuer:
        raise OidcError("its metadata is that of another issuer")
    found = {name: value.get(name) for name in ("authorization_endpoint", "token_endpoint", "jwks_uri")}
    userinfo = value.get("userinfo_endpoint") or ""
    for name, url in (*found.items(), *([("userinfo_endpoint", userinfo)] if userinfo else [])):
        if not is_provider_url(url):
            raise OidcError(f"its {name} is no https:// address")
        if issuer.startswith("https:") and not str(url).startswith("https:"):
            raise OidcError(f"its {name} leaves TLS")
    methods = value.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
    return Metadata(
        issuer=issuer, userinfo_endpoint=str(userinfo), basic="client_secret_basic" in methods,
        **{name: str(url) for name, url in found.items()},
    )  # fmt: skip


def given_metadata(settings: OidcSettings) -> Metadata | None:
    """Return what the settings of a provider say; None where it is to be discovered."""
    found = settings.endpoints
    return None if found is None else Metadata(
        issuer=settings.issuer, authorization_endpoint=found.authorization, token_endpoint=found.token,
        jwks_uri=found.keys, userinfo_endpoint=found.userinfo, basic=True,
    )  # fmt: skip


def authorization_url(
    metadata: Metadata, settings: OidcSettings, *, redirect: str, state: str, nonce: str, verifier: str
) -> str:
    """Return where a browser is sent to log in: authorization code, PKCE with S256 (RFC 7636), state and nonce."""
    challenge = base64.urlsafe_b64encode(sha256(verifier.encode("ascii")).digest()).rstrip(b"=").decode("ascii")
    query = urlencode({
        "response_type": "code", "client_id": settings.client_id, "redirect_uri": redirect,
        "scope": " ".join(settings.scopes), "state": state, "nonce": nonce, "code_challenge": challenge,
        "code_challenge_method": "S256",
    })  # fmt: skip
    return f"{metadata.authorization_endpoint}{'&' if '?' in metadata.authorization_endpoint else '?'}{query}"


class ProviderKeys:
    """The keys that a provider publishes."""

    def __init__(self, document: bytes) -> None:
        """`document` is a key set (RFC 7517).

        Raises:
            OidcError: it is none, or has no usable key.
        """
        entries = _object(document, "its key set").get("keys")
        if not isinstance(entries, list):
            raise OidcError("its key set is none")
        self._keys = [key for entry in entries[:MAX_KEYS] if (key := _key_of(entry)) is not None]
        if not self._keys:
            raise OidcError("its key set holds no usable key")

    def find(self, key_id: object, key_type: str) -> jwk.Key:
        """Return the key of an id; without one the only key of a type.

        Raises:
            UnknownKey: there is none, or more than one.
        """
        fitting = [key for key in self._keys if key.key_type == key_type and key_id in (None, key.kid)]
        if len(fitting) != 1:
            raise UnknownKey("its ID token names a key that it does not publish")
        return fitting[0]


def verified_claims(
    token: str, keys: ProviderKeys, settings: OidcSettings, *, nonce: str, now: float
) -> dict[str, Any]:
    """Return what an ID token says, all of whose demands are met at `now`, seconds since the epoch.

    Raises:
        UnknownKey: signed with a key that is not among `keys`.
        OidcError: anything else is wrong with it.
    """
    if len(token) > MAX_ID_TOKEN or token.count(".") != 2 or not token.isascii():
        raise OidcError("its ID token is none")
    header = _part(token.partition(".")[0])
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise OidcError("its ID token has no signature of a kind that is taken")
    if "crit" in header or "b64" in header:
        raise OidcError("its ID token demands extensions that are not understood")
    key = keys.find(header.get("kid"), ALGORITHMS[algorithm])
    try:
        jws.deserialize_compact(token, key, algorithms=[algorithm])
    except (JoseError, ValueError, TypeError) as error:
        raise OidcError("the signature of its ID token is wrong") from error
    claims = _part(token.split(".")[1])
    _judge(claims, settings, nonce, now)
    return claims


def address_of(claims: Mapping[str, Any], settings: OidcSettings) -> str | None:
    """Return the e-mail address that claims vouch for; None where they name none.

    Raises:
        OidcError: the provider does not vouch for it, or it is none that could be compared.
    """
    text = claims.get(settings.email_claim)
    if text is None:
        return None
    if settings.email_claim == "email" and claims.get("email_verified") not in (True, "true"):
        raise OidcError("the provider has not verified the e-mail address")
    address = email_of(text) if isinstance(text, str) else None
    if address is None:
        raise OidcError("the provider gives no e-mail address that can be compared")
    return address


def kept_claims(
    claims: Mapping[str, Any], settings: OidcSettings, asked: Collection[tuple[str, str]] = ()
) -> dict[str, list[str]]:
    """Return what is kept of a provider's claims: those that its settings name, each as texts.

    Where that is more than fits a cookie, it is what rules ask for: pairs of name and value, `asked`.

    Raises:
        OidcError: even that is too much. Leaving some out could let somebody pass whom a rule keeps out.
    """
    found = [(name, text) for name in settings.claims for text in _texts(claims.get(name))]
    for pairs in (found, [pair for pair in found if pair in asked]):
        kept: dict[str, list[str]] = {}
        for name, text in dict.fromkeys(pairs):
            kept.setdefault(name, []).append(text)
        if len(json.dumps(kept)) <= MAX_CLAIMS:
            return kept
    raise OidcError("it says more of somebody than can be kept: name fewer claims, or fewer values in rules")


def _texts(value: object) -> list[str]:
    values = value if isinstance(value, list) else [value]
    texts = [str(each).lower() if isinstance(each, bool) else str(each) for each in values if _is_simple(each)]
    return [text for text in texts if text and len(text) <= MAX_VALUE and text.isprintable()]


def _is_simple(value: object) -> bool:
    return isinstance(value, str | int)


def name_of(claims: Mapping[str, Any]) -> str:
    """Return the name that claims give, fit to be shown; empty without one."""
    name = claims.get("name")
    return name[:MAX_NAME] if isinstance(name, str) and name.isprintable() else ""


def _judge(claims: dict[str, Any], settings: OidcSettings, nonce: str, now: float) -> None:
    if claims.get("iss") != settings.issuer:
        raise OidcError("its ID token is of another issuer")
    audience = claims.get("aud")
    audiences = [audience] if isinstance(audience, str) else audience
    if not isinstance(audiences, list) or settings.client_id not in audiences:
        raise OidcError("its ID token is for another client")
    if claims.get("azp", settings.client_id) != settings.client_id or (len(audiences) > 1 and "azp" not in claims):
        raise OidcError("its ID token was asked for by another client")
    if claims.get("nonce") != nonce:
        raise OidcError("its ID token belongs to another attempt")
    expires, issued = claims.get("exp"), claims.get("iat")
    for moment in (expires, issued, claims.get("nbf", 0)):
        if isinstance(moment, bool) or not isinstance(moment, int | float) or not 0 <= moment < 2**53:
            raise OidcError("its ID token has no dates")
    assert isinstance(expires, int | float)
    assert isinstance(issued, int | float)
    if now >= expires + SKEW or now < max(issued, claims.get("nbf", 0)) - SKEW:
        raise OidcError("its ID token has expired, or is not valid yet")
    if not isinstance(claims.get("sub"), str) or not claims["sub"]:
        raise OidcError("its ID token names nobody")


def _object(document: bytes, what: str) -> dict[str, Any]:
    try:
        value = json.loads(document)
    except (ValueError, RecursionError) as error:
        raise OidcError(f"{what} is no JSON") from error
    if not isinstance(value, dict):
        raise OidcError(f"{what} is no JSON object")
    return value


def _part(part: str) -> dict[str, Any]:
    try:
        return _object(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)), "a part of its ID token")
    except ValueError as error:
        raise OidcError("its ID token is none") from error


def _key_of(entry: object) -> jwk.Key | None:
    if not isinstance(entry, dict) or entry.get("use", "sig") != "sig":
        return None
    fields = ("kty", "kid", "alg", "n", "e", "crv", "x", "y")
    try:
        key = jwk.import_key({name: entry[name] for name in fields if name in entry})
    except Exception:  # noqa: BLE001 - libraries raise many kinds for odd numbers; one bad key must not cost the others
        return None
    if isinstance(key, jwk.RSAKey):
        return key if key.public_key.key_size >= MIN_RSA_BITS else None
    return key if isinstance(key, jwk.ECKey | jwk.OKPKey) else None
