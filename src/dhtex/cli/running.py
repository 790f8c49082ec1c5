"""Running a coroutine as a command: a loop, and signals that end it in order."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any


def run(main: Callable[[], Coroutine[Any, Any, int]], *, signalled: int = 0) -> int:
    """Run *main* to its exit code. SIGINT, SIGTERM and SIGHUP cancel it, so that every `async with` ends in order.

    Args:
        signalled: the exit code then: 0 for what runs until it is told to end.
    """
    _open_standard_streams()
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(_until_signalled(main, signalled))


def _open_standard_streams() -> None:
    """What the caller closed (`<&-`, `>&-`) becomes empty: a socket in its place would get what is meant for people."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            descriptor = os.open(os.devnull, os.O_RDWR)  # the lowest free number, so this stream's own
            setattr(sys, name, os.fdopen(descriptor, mode, closefd=False))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's where it is installed (`pip install dhtex[fast]`), else asyncio's own."""
    try:
        import uvloop  # noqa: PLC0415  # an extra
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


async def _until_signalled(main: Callable[[], Coroutine[Any, Any, int]], code: int) -> int:
    task = asyncio.ensure_future(main())
    signalled = False

    def stop() -> None:
        nonlocal signalled
        signalled = True
        task.cancel()

    loop = asyncio.get_running_loop()
    if sys.platform != "win32":
        loop.add_signal_handler(signal.SIGINT, stop)
        loop.add_signal_handler(signal.SIGTERM, stop)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # the terminal was closed, and no nohup
            loop.add_signal_handler(signal.SIGHUP, stop)
    try:
        return await task
    except asyncio.CancelledError:
        if signalled:
            return code
        raise
