"""Conditions of an inventory: each text becomes a condition of the language, or a reason why not."""

from __future__ import annotations

from typing import Any

import pytest

from gateway_workbench.importer.condition_translation import (
    ConditionSubject,
    UnclearError,
    translate_condition,
)

SUBJECTS = {
    "kind": ConditionSubject("kind", "code", ("A", "B", "1")),
    "open": ConditionSubject("open", "code"),
    "used": ConditionSubject("used", "boolean"),
    "weight": ConditionSubject("g.weight", "number"),
    "day": ConditionSubject("day", "date"),
    "paper": ConditionSubject("paper", "attachment"),
}


def find(name: str) -> ConditionSubject:
    if name not in SUBJECTS:
        raise UnclearError(f"{name} is no field of the document")
    return SUBJECTS[name]


READ: list[tuple[str, dict[str, Any]]] = [
    ("kind == 'A'", {"kind": {"is": "A"}}),
    ("kind = A", {"kind": {"is": "A"}}),
    ('kind is "A"', {"kind": {"is": "A"}}),
    ("kind in ['A','B']", {"kind": {"in": ["A", "B"]}}),
    ("kind in ('A', 1)", {"kind": {"in": ["A", "1"]}}),
    ("kind != 'A'", {"not": {"kind": {"is": "A"}}}),
    ("kind is not A", {"not": {"kind": {"is": "A"}}}),
    ("kind not in ['A']", {"not": {"kind": {"in": ["A"]}}}),
    ("used", {"used": {"is": "true"}}),
    ("not used", {"not": {"used": {"is": "true"}}}),
    ("used == false", {"used": {"is": "false"}}),
    ("used == 'Y'", {"used": {"is": "true"}}),
    ("kind", {"kind": {"present": "yes"}}),
    ("kind is present", {"kind": {"present": "yes"}}),
    ("present(paper)", {"paper": {"present": "yes"}}),
    ("day is missing", {"day": {"present": "no"}}),
    ("weight >= 5", {"g.weight": {"at_least": "5"}}),
    ("weight < -0.5", {"g.weight": {"less_than": "-0.5"}}),
    ("weight ≤ 20%", {"g.weight": {"at_most": "20"}}),
    ("weight == 5", {"all": [{"g.weight": {"at_least": "5"}}, {"g.weight": {"at_most": "5"}}]}),
    ("kind == 'A' and used", {"all": [{"kind": {"is": "A"}}, {"used": {"is": "true"}}]}),
    ("kind == 'A' && used", {"all": [{"kind": {"is": "A"}}, {"used": {"is": "true"}}]}),
    (
        "kind == 'A' or used and weight > 1",
        {
            "any": [
                {"kind": {"is": "A"}},
                {"all": [{"used": {"is": "true"}}, {"g.weight": {"more_than": "1"}}]},
            ]
        },
    ),
    (
        "(kind == 'A' or used) and weight > 1",
        {
            "all": [
                {"any": [{"kind": {"is": "A"}}, {"used": {"is": "true"}}]},
                {"g.weight": {"more_than": "1"}},
            ]
        },
    ),
    ("the holder's number when kind in ['A']", {"kind": {"in": ["A"]}}),
    ("only if used", {"used": {"is": "true"}}),
]


@pytest.mark.parametrize(("text", "expected"), READ, ids=[text for text, _ in READ])
def test_a_condition_is_read(text: str, expected: dict[str, Any]) -> None:
    assert translate_condition(text, find) == expected


UNCLEAR = [
    ("pre-arrival declaration up to 5 days before", "pre-arrival is no field"),
    ("kind == 'Q'", "Q is no code of kind"),
    ("kind in ['A', 'Q']", "Q is no code of kind"),
    ("kind >= 5", "kind is no number"),
    ("weight == heavy", "g.weight is a number, not heavy"),
    ("used == perhaps", "used is true or false"),
    ("day == '2026-01-01'", "day is a date"),
    ("paper == 'x'", "paper is a attachment"),
    ("kind ==", "it ends too early"),
    ("kind in 'A'", "it has no list"),
    ("kind == 'A' kind", "it goes on with kind"),
    ("(kind == 'A'", "nothing where )"),
    ("kind == 'A' $", "it has $"),
    ("'A' == kind", "it has A where a field should be"),
    ("(" * 40 + "used" + ")" * 40, "brackets more than 12 deep"),
    ("not " * 300 + "used", "brackets more than 12 deep"),
    ("", "it ends too early"),
    ("used or " * 400 + "used", "more than 2000 characters"),
]


@pytest.mark.parametrize(("text", "words"), UNCLEAR, ids=[text[:40] for text, _ in UNCLEAR])
def test_what_is_no_condition_says_why(text: str, words: str) -> None:
    with pytest.raises(UnclearError) as unclear:
        translate_condition(text, find)
    assert words in str(unclear.value)
