"""Types of what clients send: strict, so that nothing is guessed, and bounded."""

from __future__ import annotations

import datetime
import uuid
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, StringConstraints

#: Characters of a name and of a comment.
MAX_NAME = 255
MAX_COMMENT = 1000


class Body(BaseModel):
    """A JSON object whose fields are known and have the right types."""

    model_config = ConfigDict(strict=True, extra="forbid")


def _plain(text: str) -> str:
    # A database ends a text at NUL, or refuses it; half of a surrogate pair is no character.
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("it holds a character that no text may have")
    return text


def _printable(text: str) -> str:
    if not text.strip():
        raise ValueError("it is empty")
    if any(ord(character) < 32 or ord(character) == 127 for character in text):
        raise ValueError("it holds a control character")
    return text


def moment(value: Any) -> Any:
    """Return the moment that a JSON text is: strict types take none for it, and JSON has nothing else."""
    try:
        return datetime.datetime.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        raise ValueError("it is no moment as of RFC 3339") from None


def _uuid(value: Any) -> str:
    try:
        return str(uuid.UUID(value))
    except (ValueError, TypeError, AttributeError):
        raise ValueError("it is no UUID") from None


Text = Annotated[str, StringConstraints(max_length=MAX_COMMENT), AfterValidator(_plain)]
Name = Annotated[str, StringConstraints(max_length=MAX_NAME), AfterValidator(_plain), AfterValidator(_printable)]
#: A UUID in any spelling, as the canonical one.
Id = Annotated[str, BeforeValidator(_uuid)]
Hex = Annotated[str, StringConstraints(pattern="^[0-9a-f]{32}$")]
Moment = AwareDatetime
