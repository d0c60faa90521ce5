"""Judging an agreement asks the register about its own parties, however many others there are."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event

from gateway.agreements import PMode, read_pmodes
from gateway.cli.home_folder import read_home_settings
from gateway.message_model import PartyId
from gateway.operations import activate_pmodes, build_hub_view
from gateway.store import parties, read_transaction, write_transaction
from tests.kit.databases import BOTH
from tests.kit.house import AGREEMENT, PARTY_TYPE, register_parties

NOW = datetime(2026, 6, 1, tzinfo=UTC)
PMODES = read_pmodes(AGREEMENT, "agreement.yaml")


@pytest.fixture
def settings(tmp_path: Path) -> Any:
    (tmp_path / "gateway.toml").write_text('[hub]\nhome = "."\n')
    return read_home_settings(tmp_path)


def agree_with(engine: Engine, name: str) -> None:
    """Load the same agreement with another partner."""
    one = PartyId(name, PARTY_TYPE)

    def turned(pmode: PMode) -> PMode:
        ends = {
            side: (one,) for side in ("from_party", "to_party") if getattr(pmode, side)[0].value == "broker1"
        }
        return replace(pmode, agreement=f"with-{name}", **ends)  # type: ignore[arg-type]

    with write_transaction(engine) as conn:
        parties.register_party(conn, name, name, "applicant", NOW, [one])
        activate_pmodes(conn, [turned(pmode) for pmode in PMODES], "pmode", b"-", NOW, "test")


def count_statements(engine: Engine, settings: Any) -> tuple[int, Any]:
    seen: list[str] = []

    def note(_conn: Any, _cursor: Any, statement: str, *_: Any) -> None:
        seen.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    try:
        with read_transaction(engine) as conn:
            found = build_hub_view(conn, settings, NOW, PMODES)
    finally:
        event.remove(engine, "before_cursor_execute", note)
    return len(seen), found


@BOTH
def test_other_agreements_cost_nothing(engine: Engine, settings: Any) -> None:
    register_parties(engine, NOW, AGREEMENT)
    few, found = count_statements(engine, settings)
    assert {one.agreement for one in found.other_pmodes} == {PMODES[0].agreement}
    for number in range(12):
        agree_with(engine, f"other{number}")
    many, found = count_statements(engine, settings)
    assert many == few
    assert {one.agreement for one in found.other_pmodes} == {PMODES[0].agreement}
    assert {"broker1", "hub", "other11"} <= {one.name for one in found.parties}
    (broker,) = [one for one in found.parties if one.name == "broker1"]
    assert broker.ids
    assert broker.certificates


def test_an_agreement_by_another_identifier_of_the_same_party_is_found(engine: Engine, settings: Any) -> None:
    register_parties(engine, NOW, AGREEMENT)
    second = PartyId("urn:example:second")
    agree_with(engine, "elsewhere")
    with write_transaction(engine) as conn:
        parties.register_party(conn, "broker1", "Broker", "applicant", NOW, [second])
        turned = [
            replace(one, agreement="by-another-name", from_party=(second,))
            for one in PMODES
            if one.from_party[0].value == "broker1"
        ]
        activate_pmodes(conn, turned, "pmode", b"-", NOW, "test")
    _, found = count_statements(engine, settings)
    assert {one.agreement for one in found.other_pmodes} == {PMODES[0].agreement, "by-another-name"}
