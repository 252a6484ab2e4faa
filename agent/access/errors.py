"""Why an application was not reached."""

from __future__ import annotations


class AccessError(OSError):
    """One sentence without a secret. `status` is what the edge answered, 0 where it did not answer."""

    def __init__(self, sentence: str, status: int = 0, *, wants_login: bool = False) -> None:
        super().__init__(sentence)
        self.status = status
        self.wants_login = wants_login
        "Whether the edge asks for a person who is logged in."
