"""Places of a worker: none is lost and none counted twice, whatever becomes of a claim."""

from __future__ import annotations

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
