"""What is shown to an application: a service token, or a token of a login, and fields of one's own. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Final

_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
#: Fields that the handshake says itself.
_OWN: Final = frozenset({"host", "connection", "upgrade", "content-length", "transfer-encoding"})
Fields = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What requests show. The secret and the token are in no text of it."""

    client_id: str = ""
    secret: str = field(default="", repr=False)
    app_token: str = field(default="", repr=False)
    destination: str = ""
    "For a bastion: where to go behind the application."
    more: Fields = field(default=(), repr=False)
    "Fields of one's own; of a name that the others have they count instead."

    def __post_init__(self) -> None:
        if bool(self.client_id) is not bool(self.secret):
            raise ValueError("a service token is its id and its secret: one of them is missing")
        for text in (self.client_id, self.secret, self.app_token, self.destination):
            if not text.isascii() or not text.isprintable():
                raise ValueError("a service token, token or destination is plain ASCII in one line")

    @property
    def has_service_token(self) -> bool:
        """Whether a service token is shown."""
        return bool(self.client_id) or any(name.lower() == "cf-access-client-id" for name, _ in self.more)

    def with_app_token(self, app_token: str) -> Credentials:
        """Return these with the token of a login."""
        return replace(self, app_token=app_token)

    def identity_fields(self) -> Fields:
        """Return the fields that say who asks."""
        fields: list[tuple[str, str]] = []
        if self.client_id:
            fields += [("Cf-Access-Client-Id", self.client_id), ("Cf-Access-Client-Secret", self.secret)]
        if self.app_token:
            fields.append(("Cf-Access-Token", self.app_token))
        return tuple(fields)

    def fields(self) -> Fields:
        """Return all fields, those of one's own last."""
        fields = list(self.identity_fields())
        if self.destination:
            fields.append(("Cf-Access-Jump-Destination", self.destination))
        replaced = {name.lower() for name, _ in self.more}
        return (*(entry for entry in fields if entry[0].lower() not in replaced), *self.more)


def parse_fields(texts: Iterable[str]) -> Fields:
    """Read fields as `Name: value`.

    Raises:
        ValueError: one is none, or is not for others to say. Its value is not in the text.
    """
    found: list[tuple[str, str]] = []
    for text in texts:
        name, colon, value = text.partition(":")
        name, value = name.strip(), value.strip()
        if not colon or not _NAME.fullmatch(name) or not value.isascii() or not value.isprintable():
            raise ValueError(f"--header {name[:60]!r} is no header, such as 'Name: value'")
        if name.lower() in _OWN or name.lower().startswith("sec-websocket-"):
            raise ValueError(f"--header {name}: that field is the handshake's own")
        found.append((name, value))
    return tuple(found)
