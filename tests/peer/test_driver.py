"""When commands are moved on: one alone at once, those of a busy turn together."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from dhtex.peer.driver import Driver
from dhtex.replication import Effect, Now, Replica


class Counting:
    """In place of a replica: how many commands each look at its effects found."""

    next_deadline = 2**62

    def __init__(self) -> None:
        self.pending_count = 0
        self.found: list[int] = []
        self._submitted = 0

    def submit(self, commands: bytes, count: int, now: Now) -> int:
        first_n = self.pending_count + 1
        self.pending_count += count
        self._submitted += count
        return first_n

    def take_effects(self) -> list[Effect]:
        self.found.append(self._submitted)
        self._submitted = 0
        return []


def _unexpected(error: Exception) -> None:
    raise error


async def test_a_command_alone_leaves_at_once_and_others_of_a_turn_together() -> None:
    replica = Counting()
    driver = Driver(
        cast(Replica, replica), cast(Any, None), lambda effects: None, _unexpected, may_found=False
    )

    assert driver.submit(b"\x91\x01", 1, lambda first_n: first_n) == 1
    assert replica.found == [1]
    for _ in range(100):
        driver.submit(b"\x91\x01", 1, lambda first_n: first_n)
    assert replica.found == [1]
    await asyncio.sleep(0)
    assert replica.found == [1, 100]
    await driver.close()
