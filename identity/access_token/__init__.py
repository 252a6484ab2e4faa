"""Who may pass: Access tokens verified against a team's keys. Pure; fetching the keys is the connector's job."""

from pyconnector.identity.access_token.keys import AccessKeys, UnusableKeys, parse_keys
from pyconnector.identity.access_token.policy import AccessPolicy
from pyconnector.identity.access_token.token import TOKEN_HEADER, AccessDenied, Identity, UnknownKey, verify

__all__ = [
    "TOKEN_HEADER",
    "AccessDenied",
    "AccessKeys",
    "AccessPolicy",
    "Identity",
    "UnknownKey",
    "UnusableKeys",
    "parse_keys",
    "verify",
]
