# ruff: noqa: E501 (changes of mappings are long lines)
"""The shipped mappings pass the five proofs; what is checked and counted."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.errors import GatewayError
from gateway.harmonize import MappingBundle, load_bundle
from gateway.harmonize.proofs import PROOFS, check_bundle
from gateway.operations import check_mapping_folder
from tests.harmonize.proofs.small_mapping import DOCUMENT, line_of, plant, prove, write


@pytest.mark.night
def test_the_shipped_mappings_pass_every_proof(bundle: MappingBundle) -> None:
    report = check_bundle(bundle, sample_count=3)
    assert [str(finding) for finding in report.findings] == []
    assert all(verdict.ok and verdict.checked > 100 for verdict in report.verdicts.values())
    assert report.documents == tuple(bundle.documents)
    assert report.submissions > 100 * len(bundle.documents)
    # Fewer things are said than there are boxes on the forms: that is what the gateway is for.
    assert report.boxes.box_count > report.boxes.field_count
    assert report.boxes.common_meanings < report.boxes.common_boxes


@pytest.mark.night
def test_a_shipped_document_passes_every_proof_beside_all_others(bundle: MappingBundle) -> None:
    report = check_bundle(bundle, sample_count=1, only=["NVRQS-TRANS"])
    assert [str(finding) for finding in report.findings] == []
    assert set(report.verdicts) == set(PROOFS)
    assert report.documents == ("NVRQS-TRANS",)


def test_the_small_mapping_passes_every_proof(tmp_path: Path) -> None:
    report = prove(plant(tmp_path), 6)
    assert [str(finding) for finding in report.findings] == []
    assert (report.boxes.common_boxes, report.boxes.common_meanings) == (8, 6)
    assert (report.boxes.own_boxes, report.boxes.own_meanings) == (8, 8)


def test_one_document_is_checked_alone_and_compared_with_all(tmp_path: Path) -> None:
    bundle = load_bundle(plant(tmp_path, ("means: plant.remark", "means: seed.variety")))
    report = check_bundle(bundle, sample_count=2, only=["SEED"])
    assert report.documents == ("SEED",)
    assert [finding.proof for finding in report.findings] == ["never_asked_twice"]


@pytest.mark.night
def test_the_same_seed_tries_the_same_submissions(tmp_path: Path) -> None:
    bundle = load_bundle(plant(tmp_path))
    assert check_bundle(bundle, sample_count=3, seed="a") == check_bundle(bundle, sample_count=3, seed="a")
    assert (
        check_bundle(bundle, sample_count=3, seed="a").submissions
        != check_bundle(bundle, sample_count=4, seed="a").submissions
    )


def test_forms_of_different_precision_are_noted(tmp_path: Path) -> None:
    more = (("agencies/ORG/SEED.yaml", "puts:\n", "puts:\n  - Issued: {common: issued_at, form: iso}\n"),)
    more += (("agencies/ORG/SEED.yaml", "[item.number]", "[item.number, issued_at]"),)
    (note,) = prove(plant(tmp_path, more=more)).notes
    assert note.startswith("issued_at: CCYYMMDD in agencies/ORG/PLANT.yaml:")


@pytest.mark.night
@pytest.mark.parametrize(
    ("file", "old", "new", "place"),
    [
        ("codelists/colour.csv", "G,green", "G ,green", "codelists/colour.csv:3 colour"),
        ("codelists/colour.csv", "R,red", '"\u00a0R",red', "codelists/colour.csv:2 colour"),
        (DOCUMENT, "weight: {type: quantity", 'mark: {type: code, codes: {"A ": one, B: two}, req: O, per: item, means: plant.mark, ko: 표, en: Mark}\n  weight: {type: quantity', f"{DOCUMENT}:{{}} mark"),
    ],
)  # fmt: skip
def test_a_code_with_a_space_at_an_end_is_a_fault_with_its_place(
    tmp_path: Path, file: str, old: str, new: str, place: str
) -> None:
    sent = [(DOCUMENT, "- Weight:", "- Mark: {ask: mark}\n        - Weight:")] if file == DOCUMENT else []
    folder = write(tmp_path, (file, old, new), *sent)
    found = [one for one in prove(folder).findings if "begins or ends with a space" in one.message]
    line = line_of(tmp_path, "  mark: {type") if "{}" in place else 0
    assert [f"{one.mark} {one.field}" for one in found] == [place.format(line)]
    assert all(one.proof == "load" for one in found)
    with pytest.raises(GatewayError) as refused:
        check_mapping_folder(folder)
    assert (refused.value.problem.id, refused.value.location) == ("GW502", place.format(line).split()[0])


def test_a_document_in_a_file_of_another_name_is_noted(tmp_path: Path) -> None:
    folder = plant(tmp_path)
    assert not [note for note in prove(folder).notes if "its file is" in note]
    (folder / DOCUMENT).rename(folder / "agencies" / "ORG" / "OTHER.yaml")
    notes = [note for note in prove(folder).notes if "its file is" in note]
    assert notes == [f"agencies/ORG/OTHER.yaml:1 contains PLANT of ORG; its file is {DOCUMENT}"]
