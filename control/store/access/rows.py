"""What every kind of row here has in common: it is found by id within its account, and each change of it is told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from pyconnector.control.store.errors import NotFound
from pyconnector.control.store.work import Entry

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from pyconnector.control.store.work import Work


class Owned(Protocol):
    """A row of some account."""

    @property
    def account_id(self) -> Any:
        """Whose it is."""


_Row = TypeVar("_Row", bound=Owned)
_DONE = {"create": "Created", "update": "Updated", "delete": "Deleted"}


async def find_row(
    session: AsyncSession, table: type[_Row], account_id: str, row_id: str, what: str, code: int
) -> _Row:
    """Return a row of an account by its id; `what` is what it is called. Cancel changes nothing.

    Raises:
        NotFound: there is none, with a sentence and `code`.
    """
    row = await session.get(table, row_id)
    if row is None or row.account_id != account_id:
        raise NotFound(f"There is no {what} of that id.", code)
    return row


def tell(work: Work, kind: str, row_id: str, action: str, what: str, value: dict[str, Any] | None) -> None:
    """Tell edges what an object is now (None: it is gone), and record who did `action` to `what`."""
    work.publish(kind, row_id, value)
    record(work, kind, row_id, action, what, None if value is None else {"id": row_id, **value})


def record(work: Work, kind: str, row_id: str, action: str, what: str, shown: dict[str, Any] | None) -> None:
    """Record who did `action` to `what`, which is then as `shown`."""
    description = f"{_DONE[action]} {what}"
    work.audit(Entry(action=action, resource_type=kind, resource_id=row_id, description=description, response=shown))
