"""Tokens of logins, each in a file for its owner alone, named as the reference names it so that both find it."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pyconnector.agent.access.application import MAX_TEXT, file_name, payload_of
from pyconnector.agent.access.errors import AccessError

if TYPE_CHECKING:
    from pyconnector.agent.access.application import Application

DIRECTORY: Final = "~/.cloudflared"


class TokenStore:
    """A directory of tokens."""

    def __init__(self, directory: str | Path = DIRECTORY) -> None:
        self._directory = Path(directory).expanduser()

    def __repr__(self) -> str:
        return f"<TokenStore {self._directory}>"

    def get(self, application: Application, now: float) -> str:
        """Return the token for an application; "" where there is none that is still valid."""
        try:
            with self._path(application).open("rb") as file:
                token = file.read(MAX_TEXT + 1).decode("ascii").strip()
        except (OSError, UnicodeError):
            return ""
        return token if is_for(token, application, now) else ""

    def put(self, application: Application, token: str) -> None:
        """Keep a token.

        Raises:
            AccessError: it cannot be written.
        """
        path = self._path(application)
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor, temporary = tempfile.mkstemp(dir=self._directory, prefix=".token-")  # mode 0600
            try:
                with os.fdopen(descriptor, "w", encoding="ascii") as file:
                    file.write(token)
                os.replace(temporary, path)
            except BaseException:
                os.unlink(temporary)
                raise
        except OSError as error:
            raise AccessError(f"the token cannot be kept in {path}: {error.strerror or error}") from error

    def drop(self, application: Application) -> None:
        """Forget the token for an application. Idempotent."""
        with contextlib.suppress(OSError):
            self._path(application).unlink()

    def _path(self, application: Application) -> Path:
        return self._directory / f"{file_name(application.hostname)}-{application.audience}-token"


def is_for(token: str, application: Application, now: float) -> bool:
    """Return whether a token says that it is for an application, and has not expired. Its issuer verifies it."""
    claims = payload_of(token)
    audience, expires = claims.get("aud"), claims.get("exp")
    audiences = audience if isinstance(audience, list) else [audience]
    return application.audience in audiences and isinstance(expires, int | float) and now < expires
