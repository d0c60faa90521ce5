# ruff: noqa: E501 (mappings with long lines)
"""Never asked twice: a question whose answer is known, or asked elsewhere, is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.harmonize.proofs.small_mapping import DOCUMENT, SECOND, breaches, line_of, plant, prove

REMARK = "remark: {type: text, max: 30, req: O, per: application, means: plant.remark, ko: 비고, en: Remark}"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("means: plant.remark", "means: importer.name"),
        ("means: plant.remark", "means: plant.colour"),
        ("ko: 비고, en: Remark", "ko: 수입자, en: Importer"),
        ("ko: 비고, en: Remark", "ko: 다른, en: importer"),
    ],
)
def test_a_field_with_the_meaning_of_another(tmp_path: Path, old: str, new: str) -> None:
    (finding,) = breaches(plant(tmp_path, (REMARK, REMARK.replace(old, new))), "never_asked_twice")
    assert (finding.mark.file, finding.mark.line) == (DOCUMENT, line_of(tmp_path, "  remark: {"))
    assert finding.field == "remark"


def test_a_field_with_the_name_of_a_common_meaning(tmp_path: Path) -> None:
    folder = plant(
        tmp_path, (REMARK, REMARK.replace("remark:", "payer_name:")), ("{ask: remark}", "{ask: payer_name}")
    )
    (finding,) = breaches(folder, "never_asked_twice")
    assert finding.counter_example == "Declaration/GoodsShipment/Payer/Name = A and payer_name = B"


def test_a_label_of_another_type_is_no_common_meaning(tmp_path: Path) -> None:
    folder = plant(tmp_path, ("ko: 색, en: Colour", "ko: 수입자, en: Colour"))
    assert breaches(folder, "never_asked_twice") == []


def test_a_decision_that_the_field_is_asked(tmp_path: Path) -> None:
    folder = plant(tmp_path, (REMARK, REMARK.replace("ko: 비고", "ko: 수입자")))
    assert len(breaches(folder, "never_asked_twice")) == 1
    rows = "field,document,decision,reason\nremark,PLANT,asked,another importer\n"
    (folder / "reconciled.csv").write_text(rows, encoding="utf-8")
    assert breaches(folder, "never_asked_twice") == []


def test_a_field_that_was_decided_to_be_common(tmp_path: Path) -> None:
    folder = plant(tmp_path)
    rows = "field,document,decision,reason\nremark,PLANT,common hue,it is the nature\n"
    (folder / "reconciled.csv").write_text(rows, encoding="utf-8")
    (finding,) = breaches(folder, "never_asked_twice")
    assert "it is the nature" in finding.message


def test_one_meaning_asked_by_two_documents(tmp_path: Path) -> None:
    folder = plant(tmp_path, more=((SECOND, "means: seed.variety", "means: plant.remark"),))
    (finding,) = breaches(folder, "never_asked_twice")
    assert (finding.mark.file, finding.mark.line) == (SECOND, line_of(tmp_path, "variety:", SECOND))
    assert finding.counter_example == "one submission with PLANT and SEED: plant.remark = A and = B"
    rows = "field,document,decision,reason\nvariety,SEED,shared with PLANT,no goods are in both\n"
    (folder / "reconciled.csv").write_text(rows, encoding="utf-8")
    assert len(breaches(folder, "never_asked_twice")) == 1


ITEM_REMARK = REMARK.replace("per: application", "per: item")
IN_ITEM = (
    "        - Number: {common: item.number}",
    "        - Number: {common: item.number}\n        - Remark: {ask: remark}",
)


@pytest.mark.parametrize(
    ("first", "second", "found"),
    [("shared: yes", "shared: yes", 0), ("shared: yes", "shared: no", 1), ("shared: no", "shared: yes", 1)],
)
def test_one_answer_that_both_documents_share(tmp_path: Path, first: str, second: str, found: int) -> None:
    more = ((SECOND, "means: seed.variety", f"means: plant.remark, {second}"),)
    lines = ("  - Remark: {ask: remark}\n", "")
    own = (REMARK, ITEM_REMARK.replace("plant.remark", f"plant.remark, {first}"))
    folder = plant(tmp_path, own, lines, IN_ITEM, more=more)
    assert len(breaches(folder, "never_asked_twice")) == found


def test_a_member_of_a_shared_group(tmp_path: Path) -> None:
    group = "variety: {type: group, shared: yes, req: O, per: item, means: plant.lot, ko: 로트, en: Lot, fields: {tag: {type: id, max: 8, req: M, means: plant.lot.tag, ko: 번호, en: Tag}}}"
    old = "variety: {type: text, max: 20, req: M, per: item, means: seed.variety, ko: 품종, en: Variety}"
    more = ((SECOND, old, group), (SECOND, "{ask: variety}", "{ask: variety.tag}"))
    assert len(breaches(plant(tmp_path, more=more), "never_asked_twice")) == 1
    shared = ("means: plant.lot, ko", "means: plant.lot, shared: yes, ko")
    assert breaches(plant(tmp_path, shared, more=more), "never_asked_twice") == []


def test_documents_of_different_directions_never_meet(tmp_path: Path) -> None:
    more = ((SECOND, "means: seed.variety", "means: plant.remark"),)
    folder = plant(tmp_path, more=(*more,))
    seed = folder / SECOND
    seed.write_text(
        seed.read_text(encoding="utf-8").replace("direction: import", "direction: export"), encoding="utf-8"
    )
    assert prove(folder).findings == ()
