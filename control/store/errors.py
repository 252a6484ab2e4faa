"""What an operation on an object may end with, other than its result.

StoreError
├── NotFound      the object is not there           (answered 404 by `control.api.errors`)
├── Conflict      it cannot be done to it as it is  (409)
└── Invalid       what was asked makes no sense     (400)
StoreUnavailable  the database cannot be used now   (503)
"""

from __future__ import annotations


class StoreError(Exception):
    """One sentence for whoever asked, and the API's number for it."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class NotFound(StoreError):
    """There is no such object, or it is deleted."""


class Conflict(StoreError):
    """The object, or another one, stands in the way."""


class Invalid(StoreError):
    """What was asked cannot be done to any object."""


class StoreUnavailable(Exception):
    """The database cannot be reached or written now. Its text is one sentence without an address or a password."""
