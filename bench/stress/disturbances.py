"""What happens to the house while it serves: connections killed at either end, edges restarted, rules reloaded."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.stress.house import House
    from bench.stress.ledger import Ledger

#: How often each happens. Those that excuse anything are rare enough that most visits are judged strictly.
SHARES = {"kill at the edge": 3, "kill at the connector": 3, "reload": 6, "edge restart": 1, "standstill": 1}
#: Seconds that the whole process stands still, at the most.
LONGEST_STANDSTILL = 2.0
#: Seconds between two, at the least and at the most.
PAUSES = (0.1, 0.8)


async def disturb(house: House, ledger: Ledger, seed: int, goes_on: Callable[[], bool]) -> None:
    """Disturb the house until `goes_on` says no. Cancel between two; within one it leaves the house half restarted."""
    dice = random.Random(f"{seed}/disturbances")
    while True:
        await asyncio.sleep(dice.uniform(*PAUSES))
        (name,) = dice.choices(list(SHARES), list(SHARES.values()))
        choice = dice.random()
        if not goes_on():
            return
        try:
            await _disturb(house, ledger, name, choice)
        except Exception as error:  # noqa: BLE001 - TimeoutError too: the house did not come back in time
            ledger.finding(f"after a disturbance ({name}): {type(error).__name__}: {error}")


async def _disturb(house: House, ledger: Ledger, name: str, choice: float) -> None:
    if name == "reload":
        with ledger.disturbance(name, cuts=False):
            await house.reload()
    elif name == "standstill":
        # As a busy machine or a paused container has it: what arrives waits in the sockets, and all timers are late.
        with ledger.disturbance(name, cuts=False):
            time.sleep(choice * LONGEST_STANDSTILL)
    elif name == "edge restart":
        with ledger.disturbance(name, cuts=True):
            await house.restart_edge()
    elif name == "kill at the edge":
        # Excused is who was under way at that moment. Whoever comes a moment later finds the other connections.
        with ledger.disturbance(name, cuts=True):
            house.kill_at_the_edge(choice)
        await house.all_registered()
    else:
        with ledger.disturbance(name, cuts=True):
            await house.kill_at_the_connector(choice)
        await house.all_registered()
