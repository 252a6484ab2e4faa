"""The service token of an agent, kept once in a file that nobody else can read."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

#: Bytes of the file that are read.
MAX_FILE: Final = 64 * 1024


class TokenError(ValueError):
    """The file cannot be used. Its text is one sentence without the secret."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """What an agent shows to the gateway."""

    client_id: str
    secret: str = field(repr=False)


def read_token(path: str | Path) -> Token:
    """Read `client_id` and `client_secret` of a JSON file, as `pyconnector edge new-token` writes it.

    Raises:
        TokenError: it cannot be read, others can read it too, or it holds something else.
    """
    try:
        with Path(path).expanduser().open("rb") as file:
            if os.name == "posix" and stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                raise TokenError(f"{path} can be read by others than its owner: allow only that one (mode 0600)")
            data = file.read(MAX_FILE + 1)
    except OSError as error:
        raise TokenError(f"{path} cannot be read: {error.strerror or error}") from error
    try:
        value = json.loads(data)
        client_id, secret = value["client_id"], value["client_secret"]
    except (ValueError, KeyError, TypeError):
        client_id = secret = None
    if not isinstance(client_id, str) or not isinstance(secret, str) or not client_id or not secret:
        raise TokenError(f"{path} holds no client_id and client_secret")
    if not f"{client_id}{secret}".isascii() or ":" in client_id or "+" in client_id:
        raise TokenError(f"{path} holds a client_id or client_secret that is none")
    return Token(client_id=client_id, secret=secret)
