"""The agencies' face under attack: a hub that knows its own address, and what stays undone."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from gateway.hub import CUSTOMS, build_engine, get_current_time
from gateway.store import parties, read_transaction, write_transaction
from gateway.web import build_application
from gateway_conformance.hostile import (
    AttackerKit,
    AttackRunner,
    WsgiTarget,
    read_attacker_kit,
    reference_attacks,
)
from gateway_conformance.hostile.runner import PASSED
from gateway_conformance.hostile.spoofing_attacks import CASES
from gateway_conformance.verbs.conformance_home import invite_suite, make_suite_home

HERE = "http://hub.example"


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> tuple[AttackerKit, WsgiTarget]:
    """Give a hub that has been told its public URL."""
    home: Path = tmp_path_factory.mktemp("known")
    settings = make_suite_home(home, f'[http]\npublic_url = "{HERE}"\n')
    invite_suite(settings, home / "partner")
    bench = read_attacker_kit(home / "partner")
    return bench, WsgiTarget(build_application(settings), bench.faces)


def test_a_call_for_another_address_is_refused_where_the_own_one_is_known(
    known: tuple[AttackerKit, WsgiTarget],
) -> None:
    cases = [case for case in CASES if case.feature == "public-url"]
    assert cases
    runner = AttackRunner(*known, features=frozenset({"public-url"}))
    assert {runner.run_case(case).verdict for case in cases} == {PASSED}
    honest = known[0].build_call(addressing={"to": f"{HERE}/soap/agency"})
    assert known[1].send(honest).status == 200


def test_every_part_that_must_be_signed_has_its_case() -> None:
    """The sample call has no wsa:To, so its cases add one."""
    ids = {case.id for case in reference_attacks.CASES}
    parts = ("body", "timestamp", "action", "message-id", "reply-to", "to-added")
    assert {f"SIG-13.call-{part}" for part in parts} <= ids


def test_a_call_is_taken_at_the_edges_of_its_window(known: tuple[AttackerKit, WsgiTarget]) -> None:
    """What REP-05 refuses lies just beyond them."""
    bench, target = known
    for seconds in (-295, 55):
        at = bench.get_current_time() + timedelta(seconds=seconds)
        assert target.send(bench.build_call(now=at)).status == 200


def test_the_suite_never_signs_for_the_customs_of_somebody(tmp_path: Path) -> None:
    settings = make_suite_home(tmp_path)
    engine = build_engine(settings)
    with write_transaction(engine) as conn:
        parties.register_party(conn, CUSTOMS, "Customs service", "customs", get_current_time())
    invite_suite(settings, tmp_path / "partner")
    assert "customs" not in read_attacker_kit(tmp_path / "partner").features
    with read_transaction(engine) as conn:
        assert parties.list_certificates(conn, CUSTOMS) == []
    engine.dispose()
