"""What is missing, superfluous or disclaimed is told with its pointer; nothing certain goes unsaid."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.needs import (
    DeclaredGoods,
    FiledDocument,
    GoodsItem,
    GoodsQuery,
    NeedIndex,
    NeedJudgement,
    StatedDisclaimer,
    compare_needs,
    compare_tables,
    evaluate_needs,
)
from tests.needs.need_kit import DAY, book, table

ROWS = (
    "0301110000,import,01,yes,",
    "0301110000,import,02,yes,",
    "0301110000,import,04,yes,",
    "0401110000,import,03,no,",
    "0501110000,import,03,yes,B",
)
COLUMNS = "hs,direction,law,mandatory,exemptions"
TABLE = table(*ROWS, columns=COLUMNS)


def judge(*items: tuple[int, str], filed: Any = (), disclaimers: Any = (), **more: Any) -> NeedJudgement:
    """Return the judgement of import goods; filed are (document, laws, items)."""
    goods = DeclaredGoods(
        more.get("direction", "import"),
        more.get("country"),
        tuple(GoodsItem(number, hs, None) for number, hs in items),
    )
    documents = [
        FiledDocument(position, name, laws, "import", numbers)
        for position, (name, laws, numbers) in enumerate(filed, 1)
    ]
    stated = [StatedDisclaimer(*one) for one in disclaimers]
    return evaluate_needs(goods, documents, stated, NeedIndex([TABLE], book()), DAY)


def told(judgement: NeedJudgement) -> list[tuple[str, str, bool]]:
    """Return id, pointer, and whether it may refuse, of each finding."""
    return [(one.problem.id, one.pointer, one.kind != "warning") for one in judgement.findings]


def test_a_certain_need_without_application_is_grave_and_names_the_documents() -> None:
    found = judge((7, "0301110000"))
    assert told(found) == [
        ("GW508", "42A/67A[1]/68A[7]", True),
        ("GW508", "42A/67A[1]/68A[7]", True),
        ("GW510", "42A/67A[1]/68A[7]", False),
    ]
    words = "item 7 (0301110000) needs ONE-IMP or TWO-IMP under law 01 (First Act; table border@1)"
    assert found.findings[0].text == words
    assert "law 04 (Fourth Act) may ask for a document for item 7" in found.findings[2].text


def test_one_application_answers_every_law_of_its_document_and_any_document_will_do() -> None:
    assert told(judge((1, "0301110000"), filed=[("TWO-IMP", ("01", "02"), (1,))]))[0][0] == "GW510"
    only_first = judge((1, "0301110000"), filed=[("ONE-IMP", ("01",), (1,))])
    assert [one for one in told(only_first) if one[2]] == [("GW508", "42A/67A[1]/68A[1]", True)]


def test_an_application_for_another_item_answers_nothing() -> None:
    found = judge((1, "0301110000"), (2, "9999990000"), filed=[("TWO-IMP", ("01", "02"), (2,))])
    assert [one[0] for one in told(found)] == ["GW508", "GW508", "GW511", "GW510"]
    assert found.findings[2].pointer == "APP[1]"


def test_of_an_item_without_a_code_no_application_is_superfluous() -> None:
    """What it needs is not known, so neither is that it needs nothing."""
    found = judge((1, ""), filed=[("ONE-IMP", ("01",), (1,))])
    assert [one[0] for one in told(found)] == ["GW510"]
    both = judge((1, ""), (2, "9999990000"), filed=[("ONE-IMP", ("01",), (1, 2))])
    assert [one[0] for one in told(both)] == ["GW510", "GW511"]
    assert "for item 2;" in both.findings[1].text


@pytest.mark.parametrize(
    ("document", "laws", "disclaimed", "warned"),
    [
        ("ONE-IMP", ("01",), ["01"], ["GW508", "GW516"]),
        ("TWO-IMP", ("01", "02"), ["01", "02"], ["GW509", "GW516", "GW516"]),
        # It is filed for the other law.
        ("TWO-IMP", ("01", "02"), ["01"], []),
        ("TWO-IMP", ("01", "02"), [], []),
    ],
)
def test_what_is_both_disclaimed_and_applied_for_is_told(
    document: str, laws: tuple[str, ...], disclaimed: list[str], warned: list[str]
) -> None:
    found = judge(
        (1, "0301110000"), (2, "9999990000"),
        filed=[(document, laws, (1,))], disclaimers=[(1, law, "B") for law in disclaimed],
    )  # fmt: skip
    assert sorted(one[0] for one in told(found) if one[0] != "GW510") == warned
    words = [one.text for one in found.findings if one.problem.id == "GW516"]
    assert (
        words[:1] == [f"item 1 has a disclaimer of law 01 (First Act), and {document} for it"][: len(words)]
    )
    assert {one.pointer for one in found.findings if one.problem.id == "GW516"} <= {"42A/67A[1]/68A[1]"}


def test_each_application_for_a_disclaimed_law_is_weighed() -> None:
    """One that another law asks for is no contradiction, the others are, whichever comes first."""
    filed = [("ONE-IMP", ("01",), (1,)), ("TWO-IMP", ("01", "02"), (1,))]
    words = "item 1 has a disclaimer of law 01 (First Act), and {} for it"
    for law, order, expected in (
        ("01", filed, [words.format("ONE-IMP")]),
        ("01", filed[::-1], [words.format("ONE-IMP")]),
        ("02", filed, []),
        ("02", filed[::-1], []),
    ):
        found = judge((1, "0301110000"), filed=order, disclaimers=[(1, law, "B")])
        assert [one.text for one in found.findings if one.problem.id == "GW516"] == expected
    both = judge((1, "0301110000"), filed=filed, disclaimers=[(1, "01", "B"), (1, "02", "B")])
    assert words.format("ONE-IMP and TWO-IMP") in [one.text for one in both.findings]


def test_what_may_be_missing_and_what_is_not_mandatory_only_warns() -> None:
    assert told(judge((1, "030111"))) == [("GW510", "42A/67A[1]/68A[1]", False)] * 3
    assert told(judge((1, "0401110000"))) == [("GW510", "42A/67A[1]/68A[1]", False)]
    assert told(judge((1, "0301110000"), country="GB")) == [("GW510", "42A/67A[1]/68A[1]", False)] * 3


def test_an_application_under_laws_that_no_table_has_is_not_superfluous() -> None:
    assert told(judge((1, "9999990000"), filed=[("X-IMP", ("88",), (1,))])) == []
    assert told(judge((1, "9999990000"), filed=[("X-IMP", ("88", "01"), (1,))]))[0][0] == "GW511"


@pytest.mark.parametrize(
    ("hs", "law", "reason", "verdict"),
    [
        ("0301110000", "01", "A", "accepted"),
        ("0301110000", "02", "A", "not accepted"),
        ("0401110000", "03", "C", "accepted"),
        ("0401110000", "03", "A", "not accepted"),
        ("0501110000", "03", "B", "accepted"),
        ("0501110000", "03", "C", "not accepted"),
        ("0501110000", "01", "A", "not needed"),
    ],
)
def test_a_disclaimer_is_weighed_by_law_and_row(hs: str, law: str, reason: str, verdict: str) -> None:
    found = judge((1, hs), disclaimers=[(1, law, reason, "words")])
    assert [one.verdict for one in found.disclaimers] == [verdict]
    refused = [one for one in found.findings if one.problem.id == "GW509"]
    assert bool(refused) == (verdict == "not accepted")
    assert not any(f"law {law} " in one.text for one in found.findings if one.problem.id == "GW508")


def test_a_declaration_of_no_known_direction_says_so() -> None:
    assert told(judge((1, "0301110000"), direction=None)) == [("GW510", "42A/D013", False)]
    # The applications tell it, where they agree.
    found = judge((1, "0301110000"), direction=None, filed=[("TWO-IMP", ("01", "02"), (1,))])
    assert found.direction == "import"


def test_an_item_without_code_is_told() -> None:
    assert told(judge((3, ""))) == [("GW510", "42A/67A[1]/68A[3]", False)]


def test_of_999_items_a_hundred_findings_are_told_the_grave_ones_first() -> None:
    found = judge(*((number, "0301110000") for number in range(1, 1000)))
    assert len(found.findings) == 100
    assert all(one.kind != "warning" for one in found.findings)
    assert found.findings[-1].text == "and 1900 more findings of the rules of need"


def test_two_tables_are_compared_row_by_row() -> None:
    after = table(*ROWS[1:], "0301110000,import,03,no,", edition="2", columns=COLUMNS)
    changed = table(ROWS[0].replace("yes", "no"), *ROWS[1:], columns=COLUMNS)
    difference = compare_tables(TABLE, after)
    assert [row.law for row in difference.added] == ["03"]
    assert [row.law for row in difference.removed] == ["01"]
    assert [(was.mandatory, now.mandatory) for was, now in compare_tables(TABLE, changed).changed] == [
        (True, False)
    ]
    same = compare_tables(TABLE, TABLE)
    assert (same.added, same.removed, same.changed) == ((), (), ())


def test_needs_before_and_after_are_compared_by_law() -> None:
    query = GoodsQuery("0301110000", "import", DAY)
    before = NeedIndex([TABLE], book()).find_needs(query)
    later = table("0301110000,import,01,no,", edition="2", columns=COLUMNS)
    after = NeedIndex([later], book()).find_needs(query)
    difference = compare_needs(before, after)
    assert [one.law for one in difference.removed] == ["02", "04"]
    assert [(was.mandatory, now.mandatory) for was, now in difference.changed] == [(True, False)]
    assert not compare_needs(before, before)
