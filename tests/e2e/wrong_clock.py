"""`dhtex` on a machine whose clock is wrong: `python wrong_clock.py SECONDS peer …`."""

from __future__ import annotations

import sys
import time

OFFSET_NS = int(sys.argv.pop(1)) * 1_000_000_000
_time_ns = time.time_ns


def _wrong_time_ns() -> int:
    return _time_ns() + OFFSET_NS


def _wrong_time() -> float:
    return _wrong_time_ns() / 1e9


time.time_ns = _wrong_time_ns  # before anything that could keep the right one
time.time = _wrong_time

from dhtex.cli import main  # noqa: E402  # see above

main()
