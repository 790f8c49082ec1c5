"""A member whose disk is full: it says so, accepts nothing, holds up nobody, and goes on when there is room."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from e2e.dhtex_process import Event
from e2e.test_faults import accepted
from e2e.test_market import assert_agree, assert_quiet, facts, market

pytestmark = pytest.mark.e2e


def of_kind(kind: str) -> Callable[[Event], bool]:
    return lambda event: event.get("kind") == kind


def limit_file_sizes(pid: int, size: int) -> None:
    """From now on no file of the process grows beyond *size* bytes; -1: any does."""
    import resource  # noqa: PLC0415  # not everywhere

    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, hard))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits another process")
def test_a_member_without_room_says_so_accepts_nothing_and_goes_on_when_there_is(tmp_path: Path) -> None:
    with market(tmp_path, dev=False) as (_, peers):
        carol = peers["carol"]
        since = {name: len(process.events) for name, process in peers.items()}
        limit_file_sizes(carol.pid, 4096)
        carol.tell("buy 1 90")  # when nobody knows yet
        told = carol.hear(of_kind("disk_full"), "word of the full disk", since["carol"])
        assert "no room to write the journal" in told["sentence"]
        assert "a limit on the size of files" in told["sentence"], (
            "there is plenty of room, and yet there is none"
        )
        refused = carol.do("buy 2 91")
        assert refused["event"] == "refused"
        assert "the disk is full" in refused["reason"]
        for price in range(100, 105):  # the others do not wait for it
            assert peers["alice"].do(f"sell 1 {price}")["status"] == "open"
        limit_file_sizes(carol.pid, -1)
        carol.hear(of_kind("disk_room"), "word of room", since["carol"])
        final = carol.hear(
            lambda event: event["event"] == "final" and event.get("command") == "buy 1 90.00",
            "what was accepted",
            since["carol"],
        )
        assert final["status"] == "open"
        assert carol.do("buy 1 104")["status"] == "filled"
        for name in ("alice", "bob"):
            process = peers[name]
            if any(event["event"] == "view" for event in process.events[since[name] :]):
                process.hear_view(3, since[name])  # it was left out, and is back
        assert facts(peers["alice"], 7) == facts(carol, 7)
        assert assert_agree(peers) == 7
        assert len(accepted(carol)) == 2
        for process in peers.values():
            assert process.end() == 0
        assert_quiet(peers["alice"])
        assert_quiet(peers["bob"])
