"""Coroutines that start at once, on each Python version."""

import asyncio
import contextvars
import gc
from typing import Any

import pytest

from madang.tasks import start

NAME = contextvars.ContextVar("NAME", default="outer")


def run(coroutine: Any) -> asyncio.Task[Any]:
    return start(coroutine, asyncio.get_running_loop())


async def test_runs_to_the_first_wait_at_once() -> None:
    log: list[str] = []
    gate: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def work() -> str:
        log.append("started")
        log.append(await gate)
        return "done"

    task = run(work())
    assert log == ["started"]
    assert not task.done()
    gate.set_result("woken")
    assert log == ["started"]
    assert await task == "done"
    assert log == ["started", "woken"]


async def test_what_never_waits_is_done_at_once() -> None:
    async def work() -> int:
        return 7

    task = run(work())
    assert task.done()
    assert task.result() == 7
    assert await task == 7


async def test_what_fails_at_once() -> None:
    async def work() -> None:
        raise LookupError("x")

    task = run(work())
    assert task.done()
    with pytest.raises(LookupError):
        task.result()


async def test_what_fails_later() -> None:
    async def work() -> None:
        await asyncio.sleep(0)
        raise LookupError("x")

    task = run(work())
    assert not task.done()
    with pytest.raises(LookupError):
        await task


async def test_callbacks_come_in_a_later_turn() -> None:
    log: list[str] = []

    async def work() -> None:
        log.append("work")

    task = run(work())
    task.add_done_callback(lambda task: log.append("callback"))
    assert log == ["work"]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert log == ["work", "callback"]


async def test_the_current_task() -> None:
    outer = asyncio.current_task()
    seen: list[Any] = []

    async def work() -> None:
        seen.append(asyncio.current_task())
        await asyncio.sleep(0)
        seen.append(asyncio.current_task())

    task = run(work())
    assert asyncio.current_task() is outer
    assert seen == [task]
    await task
    assert seen == [task, task]
    assert asyncio.current_task() is outer


async def test_the_current_task_where_there_is_none() -> None:
    """Packets come in callbacks of the loop, outside of any task."""
    loop = asyncio.get_running_loop()
    seen: list[Any] = []
    done: asyncio.Future[None] = loop.create_future()

    async def work() -> None:
        seen.append(asyncio.current_task())
        await asyncio.sleep(0)
        seen.append(asyncio.current_task())

    def callback() -> None:
        seen.append(asyncio.current_task())
        task = run(work())
        seen.append(asyncio.current_task())
        task.add_done_callback(lambda task: done.set_result(None))

    loop.call_soon(callback)
    await done
    assert seen[0] is None
    assert seen[2] is None
    assert seen[1] is seen[3] is not None


async def test_one_inside_of_another() -> None:
    seen: list[Any] = []

    async def inner() -> None:
        seen.append(("inner", asyncio.current_task()))
        await asyncio.sleep(0)

    async def outer() -> asyncio.Task[Any]:
        me = asyncio.current_task()
        task = run(inner())
        assert asyncio.current_task() is me
        seen.append(("outer", me))
        return task

    task = run(outer())
    assert [name for name, _ in seen] == ["inner", "outer"]
    assert seen[0][1] is not seen[1][1]
    await task.result()


async def test_timeouts_inside() -> None:
    async def work() -> str:
        try:
            async with asyncio.timeout(0.001):
                await asyncio.get_running_loop().create_future()
        except TimeoutError:
            return "too late"
        return "never"

    assert await run(work()) == "too late"

    async def waiting() -> Any:
        return await asyncio.wait_for(asyncio.get_running_loop().create_future(), 0.001)

    with pytest.raises(TimeoutError):
        await run(waiting())


async def test_a_timeout_that_is_over_before_the_first_wait() -> None:
    async def work() -> str:
        async with asyncio.timeout(10):
            return "in time"

    assert run(work()).result() == "in time"


async def test_a_group_inside() -> None:
    async def child(number: int) -> int:
        await asyncio.sleep(0)
        return number

    async def work() -> list[int]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(child(number)) for number in range(3)]
        return [task.result() for task in tasks]

    assert await run(work()) == [0, 1, 2]


async def test_cancelled_while_it_waits() -> None:
    log: list[str] = []

    async def work() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            log.append("cancelled")
            raise

    task = run(work())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert log == ["cancelled"]
    assert task.cancelled()


async def test_cancelled_by_itself() -> None:
    async def work() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)
        raise AssertionError("went on")

    with pytest.raises(asyncio.CancelledError):
        await run(work())


async def test_context_variables_stay_inside() -> None:
    seen: list[str] = []

    async def work() -> None:
        seen.append(NAME.get())
        NAME.set("inner")
        await asyncio.sleep(0)
        seen.append(NAME.get())

    NAME.set("caller")
    task = run(work())
    assert NAME.get() == "caller"
    NAME.set("changed")
    await task
    assert seen == ["caller", "inner"]
    assert NAME.get() == "changed"


async def test_awaiting_a_future_of_this_loop_and_of_no_loop() -> None:
    async def yielding() -> str:
        await asyncio.sleep(0)
        return await asyncio.to_thread(lambda: "from a thread")

    assert await run(yielding()) == "from a thread"


async def test_nothing_is_left_behind() -> None:
    async def quick() -> None: ...

    async def slow() -> None:
        await asyncio.sleep(0)

    before = len(asyncio.all_tasks())
    tasks = [run(quick()) for _ in range(10)]
    assert len(asyncio.all_tasks()) == before
    tasks = [run(slow()) for _ in range(10)]
    assert len(asyncio.all_tasks()) == before + 10
    await asyncio.gather(*tasks)
    assert len(asyncio.all_tasks()) == before
    del tasks
    gc.collect()


async def test_its_loop() -> None:
    async def slow() -> None:
        await asyncio.sleep(0)

    task = run(slow())
    assert task.get_loop() is asyncio.get_running_loop()
    assert task.get_coro() is not None
    await task
