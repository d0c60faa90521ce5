"""A small run of ``python -m tests.system.attacked``: nothing acknowledged is lost; no time is judged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.system.attacked import ending
from tests.system.attacked.run import Event, main, plan
from tests.system.attacked.watch import slope


@pytest.mark.long
@pytest.mark.timeout(240)
def test_while_it_is_attacked_killed_and_full_everything_is_acknowledged_and_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = "--seconds 12 --rate 25 --attacks 10 --slow 30 --json"
    status = main([*words.split(), "--folder", str(tmp_path)])
    report = json.loads(capsys.readouterr().out)
    assert report["sent"] == 300
    assert report["acknowledged"] == report["stored_once"] == report["stored_with_their_receipt"] == 300
    assert report["repeated"] == report["repeated_same_octets"] > 0
    assert report["refused"] == []
    assert report["done_to_it"] == {
        "kill serving": 3, "kill working": 2, "disk full": 2, "room again": 2,
    }  # fmt: skip
    assert report["answers"]["503"] > 0
    assert 503 in [one["status"] for one in report["ready"]]
    assert report["attackers"]["corpus"]["exchanges"] > 0
    assert report["attackers"]["corpus"]["got_through"] == []
    assert report["attackers"]["slow"]["most_open"] > 0
    assert report["still_ready"]
    assert status == 0
    assert not list(tmp_path.iterdir())


@pytest.mark.night
@pytest.mark.timeout(240)
def test_a_hub_that_is_told_to_end_under_load_loses_nothing_and_ends_in_order(
    capsys: pytest.CaptureFixture[str],
) -> None:
    status = ending.main(["--times", "2", "--every", "1.5", "--rate", "25", "--json"])
    report = json.loads(capsys.readouterr().out)
    assert report["sent"] == report["acknowledged"] == 75
    assert report["stored_once"] == report["stored_with_their_receipt"] == 75
    assert report["repeated"] == report["repeated_same_octets"] > 0
    assert report["answers"]["no answer"] > 0
    assert (report["ends"], report["ends_not_in_order"]) == (3, [])
    assert status == 0


def test_an_end_that_is_not_in_order_or_loses_something_is_no_good_one() -> None:
    rows = [{"answer": "x", "tries": 1}]
    kept = {"stored_once": 1, "stored_with_their_receipt": 1}
    end = {"status": 0, "left": 0, "ill": ""}
    sent = {"sent": rows, "answers": {}}
    assert ending.judged(sent, [end], (1, 1), kept)["good"]
    for ill in ({"status": 1}, {"left": 1}, {"ill": "thread panicked at"}):
        assert not ending.judged(sent, [end | ill], (1, 1), kept)["good"]
    assert not ending.judged(sent, [end], (1, 0), kept)["good"]
    assert not ending.judged(sent, [end], (1, 1), kept | {"stored_once": 0})["good"]
    assert not ending.judged({**sent, "sent": [{"answer": None, "tries": 1}]}, [end], (1, 1), kept)["good"]


def test_the_plan_kills_both_kinds_and_once_on_a_full_disk() -> None:
    for seconds in (12.0, 60.0, 300.0):
        events = plan(seconds)
        assert {one.what for one in events} == {"kill serving", "kill working", "disk full", "room again"}
        full = [one.at for one in events if one.what == "disk full"]
        again = [one.at for one in events if one.what == "room again"]
        assert len(full) == len(again) == 2
        assert any(full[1] < one.at < again[1] for one in events if one == Event(one.at, "kill serving"))
        assert all(end - begin > 1.19 for begin, end in zip(full, again, strict=True))
        # Who was due meanwhile has to wait: fewer than the hundredth that a p99 looks at.
        if seconds >= 300:
            assert sum(again) - sum(full) <= seconds * 0.0081


def test_growth_is_told_once_a_process_is_no_longer_young() -> None:
    grows = [(float(at), 100_000 + at * 1024) for at in range(120)]
    assert slope(grows) == pytest.approx(60.0)
    assert slope([(at, 5000) for at, _ in grows]) == 0
    assert slope(grows[:40]) is None
