"""What each request knows: who asks, whether they may, and where the objects are."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Depends, Query, Request

from pyconnector.control.store.pages import DEFAULT_PER_PAGE, MAX_PER_PAGE, PageRequest

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from sqlalchemy.ext.asyncio import AsyncSession

from collections.abc import Awaitable, Callable
from typing import TypeVar

from pyconnector.control.api.guard import Served
from pyconnector.control.store.database import Database
from pyconnector.control.store.feed import ChangeFeed
from pyconnector.control.store.objects.authority import MeshAuthority
from pyconnector.control.store.objects.first import Installation
from pyconnector.control.store.work import Actor, Work

#: Pages that may be asked for.
MAX_PAGE = 1_000_000
Result = TypeVar("Result")


class Forbidden(Exception):
    """The token is valid, and not for this. Its text is one sentence; answered 403."""


@dataclass(frozen=True, slots=True)
class Context:
    """One request's view of the control plane."""

    database: Database
    feed: ChangeFeed
    installation: Installation
    authority: MeshAuthority
    actor: Actor
    dns_address: tuple[str, int] | None = None
    "Where connectors find the edges by DNS; None where that is not served."

    @property
    def account_id(self) -> str:
        """Whose objects they are."""
        return self.actor.account_id

    @property
    def now(self) -> datetime.datetime:
        """The moment, by the clock of the database."""
        return self.database.now()

    def read(self) -> AbstractAsyncContextManager[AsyncSession]:
        """Return a session for reading."""
        return self.database.read()

    async def write(self, operation: Callable[[Work], Awaitable[Result]], *, in_turn: bool = True) -> Result:
        """Run `operation` in a transaction, in the asker's name. Cancel undoes it."""
        return await self.database.write(self.actor, operation, in_turn=in_turn)


def context_of(request: Request) -> Context:
    """Return the request's context; `control.api.guard` has put the actor there."""
    served: Served = request.scope["pyconnector.served"]
    return Context(
        served.database,
        served.feed,
        served.installation,
        served.authority,
        request.scope["pyconnector.actor"],
        served.dns_address,
    )


def needs(scope: str) -> Any:
    """Return a dependency that lets only tokens of `scope` through; one that may edit may read."""

    def check(request: Request) -> None:
        actor: Actor = request.scope["pyconnector.actor"]
        edit = scope.removesuffix(":read") + ":edit"
        if scope not in actor.scopes and edit not in actor.scopes:
            raise Forbidden(f"The token lacks the scope {scope}.")
        if request.path_params.get("account_id", actor.account_id) != actor.account_id:
            raise Forbidden("The token is not for that account.")

    return Depends(check)


def page_of(
    page: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 1,
    per_page: Annotated[int, Query(ge=1, le=MAX_PER_PAGE)] = DEFAULT_PER_PAGE,
) -> PageRequest:
    """Return which page is asked for."""
    return PageRequest(page=page, per_page=per_page)


Ctx = Annotated[Context, Depends(context_of)]
Paging = Annotated[PageRequest, Depends(page_of)]
