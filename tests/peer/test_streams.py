"""Readers at their own pace: nothing dropped silently, nothing kept without bound."""

from __future__ import annotations

import asyncio

import pytest

from dhtex.errors import FellBehind
from dhtex.peer.streams import Stream


async def test_each_reader_sees_everything_since_it_came() -> None:
    stream: Stream[int] = Stream()
    assert not stream
    first = stream.subscribe()
    stream.publish(1, 2)
    second = stream.subscribe()
    stream.publish(3)
    stream.close()
    assert [item async for item in first] == [1, 2, 3]
    assert [item async for item in second] == [3]
    assert not stream


async def test_a_waiting_reader_is_woken() -> None:
    stream: Stream[str] = Stream()
    async with stream.subscribe() as reader:
        waiting = asyncio.ensure_future(anext(reader))
        await asyncio.sleep(0)
        stream.publish("now")
        assert await waiting == "now"
    assert not stream


async def test_a_reader_that_falls_behind_is_told_how_much_it_missed() -> None:
    stream: Stream[int] = Stream()
    reader = stream.subscribe(limit=2)
    stream.publish(1, 2)
    stream.publish(3)
    stream.publish(4)
    assert [await anext(reader), await anext(reader)] == [1, 2]
    with pytest.raises(FellBehind, match="2 items"):
        await anext(reader)
    assert not stream


async def test_a_cancelled_wait_leaves_the_reader_usable() -> None:
    stream: Stream[int] = Stream()
    reader = stream.subscribe()
    waiting = asyncio.ensure_future(anext(reader))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    stream.publish(7)
    assert await anext(reader) == 7


async def test_a_closed_stream_gives_empty_subscriptions() -> None:
    stream: Stream[int] = Stream()
    stream.close()
    assert [item async for item in stream.subscribe()] == []
