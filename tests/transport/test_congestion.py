"""Additive increase, multiplicative decrease, and what counts as lost."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from dhtex.transport.codec import Ack
from dhtex.transport.congestion import TAIL_DELAY_MAX, Flight, RoundTrip, Window

SIZE = 1000


def all_of(*numbers: int) -> Ack:
    highest = max(numbers)
    return Ack(highest, sum(1 << highest - number for number in numbers))


def test_the_window_doubles_until_a_loss_then_grows_by_one_datagram_a_round() -> None:
    window = Window(SIZE, 1_000_000)
    start = window.size
    window.acked(start)
    assert window.size == 2 * start
    window.lost(sent_at=1.0, now=1.1)
    assert window.size == start
    for _ in range(start // SIZE):
        window.acked(SIZE)
    assert SIZE * 0.9 <= window.size - start <= SIZE


def test_what_was_lost_together_halves_the_window_once() -> None:
    window = Window(SIZE, 1_000_000)
    start = window.size
    window.lost(sent_at=1.0, now=1.1)
    window.lost(sent_at=1.05, now=1.2)
    assert window.size == start // 2
    window.lost(sent_at=1.15, now=1.3)
    assert window.size == start // 4


def test_the_window_keeps_between_floor_and_ceiling() -> None:
    window = Window(SIZE, 40 * SIZE)
    for _ in range(10):
        window.acked(40 * SIZE)
    assert window.size == 40 * SIZE
    for moment in range(20):
        window.lost(sent_at=moment, now=moment + 0.5)
    assert window.size == 4 * SIZE


def test_the_round_trip_is_smoothed_as_in_rfc_6298() -> None:
    trip = RoundTrip()
    assert trip.patience == 0.1
    trip.sample(0.2)
    assert (trip.smoothed, trip.deviation) == (0.2, 0.1)
    trip.sample(0.4)
    assert trip.smoothed == pytest.approx(0.225)
    assert trip.deviation == pytest.approx(0.125)


def flight_of(count: int, at: float = 0.0) -> Flight[int]:
    flight: Flight[int] = Flight(SIZE, 1_000_000)
    for number in range(count):
        flight.sent(number, SIZE, at, number)
    return flight


def test_acknowledged_bytes_make_room_and_repeated_reports_change_nothing() -> None:
    flight = flight_of(32)
    assert not flight.has_room
    flight.acked(all_of(0, 1, 5), 0.05)
    assert flight.octets == 29 * SIZE
    size = flight.window.size
    flight.acked(all_of(0, 1, 5), 0.06)
    assert (flight.octets, flight.window.size) == (29 * SIZE, size)


def test_an_unused_window_does_not_grow() -> None:
    flight = flight_of(3)
    size = flight.window.size
    flight.acked(all_of(0, 1, 2), 0.05)
    assert flight.window.size == size


def test_overtaken_datagrams_are_lost_once_overdue_and_hand_back_their_cargo() -> None:
    flight = flight_of(5)
    flight.acked(all_of(1, 3), 0.1)
    patience = flight.round_trip.patience
    assert flight.deadline == patience
    assert flight.take_lost(patience - 0.001) == []
    assert flight.take_lost(patience) == [0, 2]
    assert len(flight) == 1
    assert flight.window.size < 32 * SIZE


def test_reordering_within_the_usual_is_no_loss() -> None:
    flight = flight_of(5)
    flight.acked(all_of(4), 0.1)
    flight.acked(all_of(0, 1, 2, 3, 4), 0.12)
    assert flight.take_lost(10.0) == []


def test_the_tail_waits_longer_each_time_nothing_comes_back() -> None:
    flight: Flight[int] = Flight(SIZE, 1_000_000)
    waits = []
    now = 0.0
    for number in range(8):
        flight.sent(number, SIZE, now, number)
        deadline = flight.deadline
        assert deadline is not None
        waits.append(deadline - now)
        now = deadline
        assert flight.take_lost(now) == [number]
    assert waits == sorted(waits)
    assert waits[-1] == pytest.approx(TAIL_DELAY_MAX)
    assert flight.octets == 0


class NeverWalked(dict[int, Any]):
    def __iter__(self) -> Iterator[int]:
        raise AssertionError("a report costs as much as there is under way")


def test_a_report_costs_no_more_however_much_is_under_way() -> None:
    flight: Flight[int] = Flight(1200, 1 << 22)
    for number in range(1000, 5000):
        flight.sent(number, 100, 0.0, number)
    flight._sent = NeverWalked(flight._sent)
    assert [flight.acked(Ack(4999, 0b1001), 0.1) for _ in range(3)] == [4999, None, None]
    assert flight.octets == (4000 - 2) * 100
    assert flight.acked(Ack(1050, (1 << 128) - 1), 0.1) == 1050
    assert flight.octets == (4000 - 2 - 51) * 100
    assert flight.acked(Ack(5, 1), 0.1) is None


def test_a_report_on_numbers_never_sent_changes_nothing() -> None:
    flight = flight_of(3)
    flight.acked(Ack(1 << 62, (1 << 128) - 1), 0.1)
    assert len(flight) == 3
