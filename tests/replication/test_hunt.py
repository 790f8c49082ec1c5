"""Random histories, and proof that they would show a broken rule."""

from __future__ import annotations

from typing import Any

import pytest

from dhtex.replication.core import Core
from dhtex.replication.finality import ViewLog
from dhtex.replication.membership import Acceptor
from dhtex.replication.records import Vote
from dhtex.replication.replica import Replica
from replication.hunt import contradiction, history


@pytest.mark.parametrize("start", range(0, 60, 10))
def test_random_histories(start: int) -> None:
    for seed in range(start, start + 10):
        history(seed)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_many_random_histories() -> None:
    for seed in range(10_000, 15_000):
        history(seed)


@pytest.mark.parametrize(
    "faults", [("crash",), ("cut",), ("clock", "crash"), ("leave", "cut"), ("disk", "crash")]
)
def test_few_faults_at_wild_rates(faults: tuple[str, ...]) -> None:
    for seed in range(500, 506):
        history(seed, only=faults)


def _save_without_freezing(acceptor: Acceptor) -> None:
    core = acceptor._core
    if core.view is not None:
        core.outbox.record(Vote(core.view.number, acceptor.promised, acceptor.accepted, acceptor.value))


def _progress_without_freezing(replica: Replica, original: Any = Replica._progress) -> None:
    original(replica)
    replica._succession.acceptor.retry_offer()
    replica._succession.proposer.retry()


def _cover_without_writing(core: Core, timestamp: int) -> None:
    core.ceiling = core.ceiling_asked = 2**62


MUTATIONS: dict[str, tuple[list[tuple[type, str, Any]], tuple[str, ...]]] = {
    "no majority condition": ([(ViewLog, "is_held", lambda self, origin, seq: True)], ()),
    "no stability condition": ([(ViewLog, "stable", lambda self, own_promise: 2**62)], ()),
    "no freeze during a view change": (
        [
            (Acceptor, "_save", _save_without_freezing),
            (Acceptor, "restore", lambda self, vote: None),
            (Replica, "_progress", _progress_without_freezing),
            (ViewLog, "contradicts", lambda self, closing: False),  # the second line behind it
        ],
        (),
    ),
    "no persisted clock ceiling": ([(Core, "cover", _cover_without_writing)], ("relapse", "clock")),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_broken_rule_is_caught_within_100_histories(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not by getting stuck: by a history that contradicts another, or itself."""
    patches, faults = MUTATIONS[name]
    for owner, attribute, replacement in patches:
        monkeypatch.setattr(owner, attribute, replacement)
    assert contradiction(range(100), faults)
