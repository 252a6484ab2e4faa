"""How long a worker that ended is waited for before it is started again."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, cast

from pyconnector.connector.config.model import ConnectorConfig, Credentials
from pyconnector.connector.workers.fleet import FIRST_RESTART_SECONDS, Fleet
from pyconnector.connector.workers.member import how_it_ended

if TYPE_CHECKING:
    from pyconnector.connector.workers.member import Member


class Restarts(Fleet):
    """A fleet of processes that end at once, each with `code`."""

    def __init__(self, code: int) -> None:
        super().__init__(
            ConnectorConfig(credentials=Credentials(account_tag="a", tunnel_id=uuid.UUID(int=2), secret=b"s"))
        )
        self.waits: list[float] = []
        self._code = code

    async def restarted(self) -> list[float]:
        await self._keep(cast("Member", _Ended()))
        return self.waits

    async def _live(self, member: Member, *, begun: bool) -> str:
        return how_it_ended(self._code)

    async def _spawn(self, number: int) -> Any:
        return _Ended()

    async def _ends_within(self, seconds: float) -> bool:
        self.waits.append(seconds)
        return len(self.waits) == 5


class _Ended:
    number = 0


async def test_a_worker_that_fails_again_and_again_is_waited_for_longer() -> None:
    assert await Restarts(1).restarted() == [FIRST_RESTART_SECONDS * factor for factor in (1, 2, 4, 8, 16)]


async def test_a_worker_that_was_asked_to_end_is_replaced_at_once() -> None:
    assert await Restarts(0).restarted() == [FIRST_RESTART_SECONDS] * 5
