from __future__ import annotations

import asyncio

from pyconnector.connector.tasks import TaskOwner


async def test_a_failure_is_told_at_once_and_a_cancellation_is_none() -> None:
    failures: list[str] = []
    idle: list[bool] = []
    owner = TaskOwner(lambda task, error: failures.append(f"{task.get_name()}: {error}"), lambda: idle.append(True))

    async def fail() -> None:
        raise ValueError("a defect")

    owner.spawn(fail(), name="one")
    owner.spawn(asyncio.sleep(100), name="two")
    assert len(owner) == 2
    await asyncio.sleep(0.01)
    assert failures == ["one: a defect"]
    assert idle == []
    await owner.cancel_all()
    await asyncio.sleep(0)
    assert (len(owner), failures, idle) == (0, ["one: a defect"], [True])


async def test_a_task_that_will_not_end_does_not_hold_its_owner_up() -> None:
    release = asyncio.Event()

    async def stubborn() -> None:
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            await release.wait()

    owner = TaskOwner(lambda task, error: None)
    owner.spawn(stubborn(), name="stubborn")
    await asyncio.sleep(0)
    async with asyncio.timeout(30):
        await owner.cancel_all(timeout=0.01)
    assert len(owner) == 1
    release.set()
    await owner.cancel_all()
