"""A fixture for folders whose tests fail when an exception reaches the event loop, or a task outlives them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest


@pytest.fixture(autouse=True)
async def nothing_reaches_the_loop() -> AsyncIterator[None]:
    reached: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: reached.append(context))
    tasks = asyncio.all_tasks()
    yield
    left = {task for task in asyncio.all_tasks() - tasks - {asyncio.current_task()} if not task.done()}
    loop.set_exception_handler(None)
    assert not reached
    assert not left
