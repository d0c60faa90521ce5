"""A list is refused by the lists that are in force at that time, and never by earlier ones."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Engine

from gateway.errors import GatewayError
from gateway.hub import ImportedList, RecognitionPolicy, import_trusted_list
from gateway.hub.trust import trusted_lists
from gateway.store import fetched_lists, read_transaction
from tests.kit.audited import list_actions
from tests.kit.databases import BOTH
from tests.recognition import sample_lists
from tests.recognition.sample_lists import GRANTED, NOW, QC, SIGNATURES, country

POLICY = RecognitionPolicy(frozenset({country("Home").operator.certificate}))
NAMED = country("Zed").authority.certificate


def ours(sequence: int = 7, territory: str = "ZZ") -> bytes:
    treaty = sample_lists.rule([f"{QC} {SIGNATURES}"], [GRANTED], "qualified")
    draft = sample_lists.TrustedListDraft("Home", "KR", sequence, NOW + 30 * sample_lists.DAY)
    return sample_lists.own_list(draft, schemes=(sample_lists.scheme(territory, "Zed", treaty),))[0]


def theirs(sequence: int = 5) -> bytes:
    return sample_lists.etsi_list("ZZ", "Zed", [sample_lists.etsi_service(NAMED)], sequence=sequence)


def take(engine: Engine, octets: bytes) -> ImportedList:
    return import_trusted_list(engine, octets, NOW, POLICY)


def import_before_comparison(
    monkeypatch: pytest.MonkeyPatch, octets: bytes, *imports: Callable[[], object]
) -> None:
    """Import others each time that `octets` are compared: after the lists in force were read for that."""
    real, waiting = trusted_lists._verify_list, list(imports)

    def verify(compared_octets: bytes, *words: Any) -> Any:
        if compared_octets == octets and waiting:
            waiting.pop(0)()
        return real(compared_octets, *words)

    monkeypatch.setattr(trusted_lists, "_verify_list", verify)


def list_outcomes(engine: Engine) -> list[str]:
    with read_transaction(engine) as conn:
        return [action.outcome[:5] for action in reversed(list_actions(conn, action="trust_list.import"))]


@BOTH
def test_a_list_whose_naming_list_is_imported_meanwhile_is_accepted(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    octets = theirs()
    import_before_comparison(monkeypatch, octets, lambda: take(engine, ours()))
    imported = take(engine, octets)
    assert (imported.was_activated, imported.named_by) == (True, "KR 7")
    assert list_outcomes(engine) == ["done", "done"], "nothing was refused"


@BOTH
def test_a_list_that_is_wrong_is_refused_once_whatever_is_imported_meanwhile(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    octets = theirs()
    import_before_comparison(monkeypatch, octets, lambda: take(engine, ours(7, "YY")))
    with pytest.raises(GatewayError, match="GW205"):
        take(engine, octets)
    assert list_outcomes(engine) == ["done", "GW205"]


def test_lists_that_change_at_each_comparison_end_the_import(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    octets, others = theirs(), [ours(sequence, "YY") for sequence in (7, 8, 9)]
    imports = [partial(take, engine, other) for other in others]
    import_before_comparison(monkeypatch, octets, *imports)
    with pytest.raises(GatewayError, match="the stored lists change too fast"):
        take(engine, octets)
    with read_transaction(engine) as conn:
        assert [row.sequence for row in fetched_lists.list_latest_trusted_lists(conn)] == [9]
