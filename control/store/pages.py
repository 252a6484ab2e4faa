"""One page of a list."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from sqlalchemy import func, select

if TYPE_CHECKING:
    from sqlalchemy import Select
    from sqlalchemy.ext.asyncio import AsyncSession

#: Objects on one page, at most, and where nobody says.
MAX_PER_PAGE = 1000
DEFAULT_PER_PAGE = 100

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True, kw_only=True)
class PageRequest:
    """Which page is wanted; the first has number 1."""

    page: int = 1
    per_page: int = DEFAULT_PER_PAGE


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[Row]):
    """The objects of a page, and how many there are on all of them."""

    rows: list[Row]
    request: PageRequest
    total: int


async def fetch_page(session: AsyncSession, statement: Select[Row], request: PageRequest, *order: Any) -> Page[Row]:
    """Return one page of `statement`, in `order`; one behind the end is empty. Cancel reads nothing more."""
    total = (await session.execute(select(func.count()).select_from(statement.subquery()))).scalar_one()
    wanted = statement.order_by(*order).limit(request.per_page).offset((request.page - 1) * request.per_page)
    return Page(rows=list((await session.execute(wanted)).scalars()), request=request, total=total)
