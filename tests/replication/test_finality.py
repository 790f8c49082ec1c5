"""The walk and the logs against a naive model that recomputes everything from scratch."""

from __future__ import annotations

from functools import partial
from itertools import accumulate, islice

from hypothesis import given
from hypothesis import strategies as st

from dhtex.replication.finality import ViewLog
from dhtex.replication.log import Fit, OriginLog
from dhtex.replication.values import NO_CHAIN, Entry, next_chain
from replication.test_records import ONE, entry

NUMBERS = {node_id: number for number in (1, 2, 3) for node_id in [entry(1, 1, 1, number).origin]}
PLACES = [NUMBERS[node_id] for node_id in ONE.node_ids]  # place -> number of the signer

STEP = st.one_of(
    st.tuples(st.just("entry"), st.integers(0, 2), st.just(0)),
    st.tuples(st.just("durable"), st.just(0), st.just(0)),
    st.tuples(st.just("have"), st.integers(1, 2), st.lists(st.integers(0, 3), min_size=3, max_size=3)),
    st.tuples(st.just("promise"), st.integers(1, 2), st.tuples(st.integers(1, 40), st.integers(0, 6))),
    st.tuples(st.just("advance"), st.just(0), st.integers(0, 40)),
)


LENGTH = 60
NO_FORK = LENGTH + 1
TIMES = st.lists(st.integers(1, 4), min_size=LENGTH, max_size=LENGTH)
FORKS = st.lists(st.sampled_from((NO_FORK, NO_FORK, 1, 2, 4)), min_size=9, max_size=9)


def log_of(place: int, gaps: list[int], extra: int = 0) -> list[Entry]:
    """All that an origin ever issues; *extra* makes another log of it, from its first entry on."""
    times = accumulate(gaps, initial=1 + extra)
    return [entry(seq, at, seq, PLACES[place]) for seq, at in enumerate(islice(times, 1, LENGTH + 1), 1)]


def chains_of(entries: list[Entry]) -> list[bytes]:
    return list(accumulate(entries, next_chain, initial=NO_CHAIN))


class Naive:
    """Every rule of finality, as written: all entries, all reports, nothing incremental."""

    def __init__(self, forks: list[int]) -> None:
        self.entries: list[Entry] = []
        self.claims = [[[0] for _ in range(3)] for _ in range(3)]
        self.forks = forks
        self.promises: list[list[tuple[int, int]]] = [[(ONE.floor, 0)] for _ in range(3)]
        self.final: list[Entry] = []

    @property
    def have(self) -> list[list[int]]:
        """Per member and origin, the most it claimed that is here, and the same."""
        return [
            [
                max(c for c in claims if c <= self.count(k) and c < self.forks[3 * m + k])
                for k, claims in enumerate(row)
            ]
            for m, row in enumerate(self.claims)
        ]

    def count(self, place: int) -> int:
        return sum(1 for e in self.entries if e.origin == ONE.node_ids[place])

    def advance(self, own: int) -> list[Entry]:
        stable = own
        for place in (1, 2):
            stable = min(stable, max(t for t, seq in self.promises[place] if self.count(place) >= seq))
        found = []
        for e in sorted(self.entries, key=lambda e: (e.timestamp, e.origin)):
            if e in self.final:
                continue
            place = ONE.node_ids.index(e.origin)
            held = min(have[place] for have in self.have)
            if e.timestamp > stable or e.seq > held:
                break
            found.append(e)
        self.final += found
        return found


@given(st.lists(STEP, max_size=60), TIMES, FORKS)
def test_incremental_finality_equals_the_rules(
    steps: list[tuple[str, int, object]], gaps: list[int], forks: list[int]
) -> None:
    """*forks*: from which seq on a member holds other entries of an origin than we do."""
    for place in range(3):
        forks[place] = forks[4 * place] = NO_FORK  # nobody has two logs of its own
    view_log, naive = ViewLog(ONE, 0, 0), Naive(forks)
    logs = [log_of(place, gaps) for place in range(3)]
    chains = [chains_of(log) for log in logs]
    others = [chains_of(log_of(place, gaps, extra=1)) for place in range(3)]
    for what, place, value in steps:
        match what, value:
            case "entry", _:
                log = view_log.logs[place]
                e = logs[place][log.appended]
                assert log.fit(e) is Fit.NEXT
                view_log.append(place, e)
                naive.entries.append(e)
                if place:
                    naive.claims[place][place].append(e.seq)
                    naive.promises[place].append((e.timestamp, e.seq))
            case "durable", _:
                view_log.durable([log.appended for log in view_log.logs], [0] * 3)
                for k in range(3):
                    naive.claims[0][k].append(naive.count(k))
            case "have", list(more):
                claims = naive.claims[place]
                have = [min(row[-1] + n, LENGTH) for row, n in zip(claims, more, strict=True)]
                for k in range(3):
                    claims[k].append(have[k])
                said = [
                    (chains if seq < forks[3 * place + k] else others)[k][seq] for k, seq in enumerate(have)
                ]
                view_log.have(place, have, b"".join(said))
            case "promise", (int(timestamp), int(seq)):
                # Only what an honest member says: never less than before, nor beyond what it has issued.
                seq = naive.count(place)
                timestamp = naive.promises[place][-1][0] + timestamp % 3
                timestamp = max(min(timestamp, logs[place][seq].timestamp - 1), naive.promises[place][-1][0])
                view_log.promise(place, timestamp, seq)
                naive.promises[place].append((timestamp, seq))
            case "advance", int(own):
                assert view_log.advance(partial(int, own)) == naive.advance(own)
    for origin in range(3):
        have = sorted(have[origin] for have in naive.have)
        assert view_log.held(origin) == have[1]
        assert view_log.is_held(origin, have[0])
        assert not view_log.is_held(origin, have[0] + 1)


def test_a_promise_counts_only_once_its_entries_are_here() -> None:
    view_log = ViewLog(ONE, 0, 0)
    view_log.promise(1, 100, 2)
    assert view_log.reports[1].promised == ONE.floor
    view_log.append(1, entry(1, 10, 1, PLACES[1]))
    assert view_log.reports[1].promised == 10
    view_log.append(1, entry(2, 20, 2, PLACES[1]))
    assert view_log.reports[1].promised == 100


def test_what_a_member_serves_does_not_count_as_held_by_it() -> None:
    """It may pass on both halves of a proof, and hold the other one; and it serves what is not durable yet."""
    view_log = ViewLog(ONE, 0, 0)
    ours = entry(1, 10, 1, PLACES[1])
    view_log.append(1, ours)
    view_log.durable([0, 1, 0], [0, 0, 0])
    vouched = NO_CHAIN + next_chain(NO_CHAIN, ours) + NO_CHAIN
    another = NO_CHAIN + next_chain(NO_CHAIN, entry(1, 11, 1, PLACES[1])) + NO_CHAIN
    view_log.have(2, (0, 1, 0), another)
    assert view_log.disputes == {(2, 1): 1}
    assert not view_log.served(2, 1, ours)
    assert not view_log.is_held(1, 1)
    assert view_log.common(2, 1) == 1
    view_log.have(2, (0, 1, 0), another)
    assert not view_log.disputes  # there is nothing left to ask it for
    view_log.have(2, (0, 1, 0), vouched)
    assert view_log.is_held(1, 1)


@given(st.permutations(range(1, 9)), st.integers(1, 8))
def test_a_log_takes_entries_in_any_order(order: list[int], keep: int) -> None:
    log = OriginLog(0, 0)
    for seq in order:
        e = entry(seq, 10 * seq, seq)
        match log.fit(e):
            case Fit.NEXT:
                log.append(e)
                while (following := log.ahead.pop(log.appended + 1, None)) is not None:
                    log.append(following)
            case Fit.AHEAD:
                log.keep_ahead(e, keep)
            case fit:
                raise AssertionError(fit)
        gap = log.first_gap()
        assert gap is None or (gap[0] == log.appended + 1 and gap[0] <= gap[1] <= log.wanted)
        assert len(log.ahead) <= keep
    assert log.wanted == 8


def test_equal_seq_with_other_content_is_a_conflict() -> None:
    log = OriginLog(0, 0)
    log.append(entry(1, 10, 1))
    assert log.fit(entry(1, 10, 1)) is Fit.KNOWN
    assert log.fit(entry(1, 11, 1)) is Fit.CONFLICT
    log.keep_ahead(entry(3, 30, 3), 8)
    assert log.fit(entry(3, 31, 3)) is Fit.CONFLICT


def test_trim_forgets_only_what_is_final() -> None:
    log = OriginLog(0, 0)
    for seq in range(1, 6):
        log.append(entry(seq, 10 * seq, seq))
    log.finalize_next()
    log.finalize_next()
    log.trim(4)
    assert (log.base, log.retained_bytes) == (2, 0)
    assert [e.seq for e in log.entries] == [3, 4, 5]
    assert log.at(2) is None
    assert [e.seq for e in log.truncate(3)] == [4, 5]
    assert log.appended == 3
