"""Places of a worker: none is lost and none counted twice, whatever becomes of a claim."""

from __future__ import annotations

import threading

import pytest

from gateway.delivery.worker_places import AttemptPlace, PlaceReservation, WorkerPlaces


@pytest.fixture
def places() -> WorkerPlaces:
    return WorkerPlaces(4)


def begin_attempts(places: WorkerPlaces, *names: str) -> list[AttemptPlace]:
    """Let attempts of these lanes hold a place each."""
    claim = places.reserve_free()
    for lane in names:
        claim.fill_places(lane, 1, lambda held: held)
    claim.settle()
    return [AttemptPlace(places, lane) for lane in names]


def claim_one(claim: PlaceReservation, lane: str) -> None:
    claim.fill_lanes([lane], 1, lambda held: {lane: held[lane]})
    claim.settle()


def test_a_full_worker_passes_the_place_of_an_ending_attempt_on(places: WorkerPlaces) -> None:
    first, *_ = begin_attempts(places, "A", "B", "C", "D")
    claim = places.reserve_free(1, first)
    assert claim.room == 1
    claim_one(claim, "E")
    assert not first.end()
    assert places.count_free() == 0
    assert (places.count_slots("A"), places.count_slots("E")) == (2, 1)
    assert AttemptPlace(places, "E").end()
    assert places.count_free() == 1
    assert places.count_slots("E") == 2


def test_a_free_place_is_taken_before_the_one_of_the_attempt(places: WorkerPlaces) -> None:
    (first,) = begin_attempts(places, "A")
    claim = places.reserve_free(1, first)
    assert claim.room == 3
    claim_one(claim, "B")
    assert places.count_free() == 2
    assert first.end()
    assert places.count_free() == 3


@pytest.mark.parametrize("settled", [True, False])
def test_a_place_that_was_passed_on_in_vain_is_free_at_the_end(places: WorkerPlaces, settled: bool) -> None:
    first, *_ = begin_attempts(places, "A", "B", "C", "D")
    claim = places.reserve_free(1, first)
    claim.fill_lanes(["E"], 1, lambda held: held)
    if settled:
        claim.settle()
    claim.cancel()
    assert places.count_free() == 0
    assert places.count_slots("E") == 2
    assert first.end()
    assert places.count_free() == 1


def test_an_attempt_passes_its_place_on_once(places: WorkerPlaces) -> None:
    first, *_ = begin_attempts(places, "A", "B", "C", "D")
    claim_one(places.reserve_free(1, first), "E")
    again = places.reserve_free(1, first)
    assert again.room == 0
    again.settle()
    assert not first.end()


def test_who_waits_until_every_place_is_free_is_woken_by_the_last_one(places: WorkerPlaces) -> None:
    attempts = begin_attempts(places, "A", "B")
    free = threading.Event()

    def wait() -> None:
        places.wait_until_free()
        free.set()

    thread = threading.Thread(target=wait)
    thread.start()
    assert attempts[0].end()
    assert not free.wait(0.05)
    assert attempts[1].end()
    assert free.wait(30)
    thread.join()


def test_a_lane_without_a_place_left_holds_no_further_one(places: WorkerPlaces) -> None:
    begin_attempts(places, "A", "A")
    claim = places.reserve_free()
    asked: list[object] = []
    claim.fill_lanes(["A", "B"], 2, lambda held: asked.append(dict(held)) or {})
    claim.settle()
    assert asked == [{"B": 2}]
    assert [places.count_free(), places.count_slots("A"), places.count_slots("B")] == [2, 0, 2]


def test_a_lane_that_holds_more_than_its_half_gets_nothing(places: WorkerPlaces) -> None:
    first, _ = begin_attempts(places, "A", "A")
    assert first.pass_on()
    begin_attempts(places, "A")
    first.take_back()
    assert places.count_slots("A") == -1
    assert places.hold_lane("A", 1) == 0
    assert places.count_slots("A") == -1


def test_one_place_of_four_is_not_passed_on(places: WorkerPlaces) -> None:
    (ending, *_) = begin_attempts(places, "A", "B", "C", "D")
    freed = []
    for _ in range(8):
        claim = places.reserve_free(1, ending)
        if claim.room:
            claim_one(claim, "A")
        freed.append(ending.end())
        if freed[-1]:
            (ending,) = begin_attempts(places, "A")
        else:
            ending = AttemptPlace(places, "A")
    assert freed == [False, False, False, True] * 2


def test_what_one_of_several_lanes_was_held_in_vain_is_given_back(places: WorkerPlaces) -> None:
    claim = places.reserve_free()
    claim.fill_lanes(["A", "B"], 2, lambda held: {"A": held["A"]})
    assert (places.count_slots("A"), places.count_slots("B")) == (0, 2)
    claim.settle()
    assert places.count_free() == 2


def test_one_place_that_was_held_in_vain_is_given_back(places: WorkerPlaces) -> None:
    claim = places.reserve_free()
    assert claim.fill_places("A", 2, lambda held: held - 1) == 1
    assert places.count_slots("A") == 1
