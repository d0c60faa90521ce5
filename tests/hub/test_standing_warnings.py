"""Which warnings about documents stand when some items are decided."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from gateway.cases import CaseOutcome
from gateway.errors import DOCUMENT_PERHAPS_NEEDED
from gateway.hub.completion import conclude

NEEDS = [
    {"item": item, "law": law, "text": f"item {item} law {law}"} for item in (1, 2) for law in ("05", "12")
]
WARNINGS = [{"id": DOCUMENT_PERHAPS_NEEDED.id, "text": need["text"], "pointer": ""} for need in NEEDS]
OTHER_WARNING = {"id": "GW421", "text": "of another kind", "pointer": ""}


def list_warnings(
    monkeypatch: pytest.MonkeyPatch,
    *,
    decided: dict[int, str],
    certified: dict[int, str],
    outcome: str = "PARTIAL",
) -> list[str]:
    """Return the texts that stand; `decided` and `certified` have the law of each item."""
    monkeypatch.setattr(conclude, "list_answered_laws", lambda *_: set(certified.items()))
    case: Any = SimpleNamespace(
        id=1, outcome=outcome, detail={"warnings": [*WARNINGS, OTHER_WARNING], "needed": NEEDS}
    )
    decisions: Any = [
        SimpleNamespace(decision=SimpleNamespace(item=item, law=law)) for item, law in decided.items()
    ]
    conn: Any = None
    bundle: Any = None
    warnings = conclude.select_standing_warnings(conn, case, decisions, lambda: bundle)
    return [warning["text"] for warning in warnings]


def test_a_decision_settles_the_need_of_its_item_under_its_law_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    standing = list_warnings(monkeypatch, decided={1: "05"}, certified={})
    assert standing == ["item 1 law 12", "item 2 law 05", "item 2 law 12", "of another kind"]


def test_a_certificate_settles_the_need_of_its_item_under_its_law_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    standing = list_warnings(monkeypatch, decided={1: "05"}, certified={2: "12"})
    assert standing == ["item 1 law 12", "item 2 law 05", "of another kind"]


def test_a_withdrawn_declaration_needs_no_document(monkeypatch: pytest.MonkeyPatch) -> None:
    standing = list_warnings(monkeypatch, decided={}, certified={}, outcome=CaseOutcome.WITHDRAWN)
    assert standing == ["of another kind"]
