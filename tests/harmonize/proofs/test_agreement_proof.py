"""Agreement: two values for one meaning are refused, with the values that differ."""

from __future__ import annotations

from pathlib import Path

from tests.harmonize.proofs.small_mapping import DOCUMENT, SECOND, breaches, line_of, plant, prove

IMPORTER = "  - ImporterName: {common: importer.name, limit: {octets: 140, charset: euc-kr}}\n"


def test_a_constant_in_place_of_a_common_meaning(tmp_path: Path) -> None:
    folder = plant(tmp_path, ("- Kind: {const: P1}", "- PayerName: {const: ACME}"))
    (finding,) = breaches(folder, "agreement")
    assert (finding.mark.file, finding.mark.line) == (DOCUMENT, line_of(tmp_path, "- PayerName:"))
    assert (finding.field, finding.counter_example) == (
        "Request/PayerName",
        "Declaration/GoodsShipment/Payer/Name = another value than ACME",
    )


def test_a_constant_in_an_item(tmp_path: Path) -> None:
    folder = plant(tmp_path, ("- Description: {common: item.description}", "- Description: {const: goods}"))
    (finding,) = breaches(folder, "agreement")
    assert finding.field == "Request/Item/Description"


def test_two_meanings_crossed(tmp_path: Path) -> None:
    folder = plant(
        tmp_path,
        (IMPORTER, "  - ImporterName: {common: payer.name}\n  - PayerName: {common: importer.name}\n"),
        ("[hue, container.id]", "[hue, container.id, payer.name]"),
    )
    (finding,) = breaches(folder, "agreement")
    assert finding.mark.line == line_of(tmp_path, "- PayerName:")
    assert finding.counter_example == "importer.name = A, payer.name = B"


def test_two_answers_crossed(tmp_path: Path) -> None:
    folder = plant(
        tmp_path,
        ("- Colour: {ask: colour}", "- Colour: {ask: remark}"),
        ("- Remark: {ask: remark}", "- Remark: {ask: colour}"),
    )
    (finding,) = breaches(folder, "agreement")
    assert (finding.field, finding.mark.line) == ("Request/Remark", line_of(tmp_path, "- Remark:"))


def test_one_size_in_two_character_sets(tmp_path: Path) -> None:
    again = IMPORTER.replace("ImporterName", "Again").replace("euc-kr", "utf-8")
    (finding,) = breaches(plant(tmp_path, (IMPORTER, IMPORTER + again)), "agreement")
    assert (finding.field, finding.mark.line) == ("Request/Again", line_of(tmp_path, "- Again:"))
    assert finding.counter_example.startswith("importer.name = 가")


def test_another_value_in_place_of_a_common_one(tmp_path: Path) -> None:
    folder = plant(tmp_path, ("means: plant.remark", "means: importer.name.korean"))
    (finding,) = breaches(folder, "agreement")
    assert (finding.field, finding.mark.line) == ("remark", line_of(tmp_path, "  remark: {"))
    assert "no override" in finding.message


def test_two_lists_that_say_different_things_with_the_same_words(tmp_path: Path) -> None:
    folder = plant(tmp_path, ("- Hue: {common: hue}", "- HueWord: {common: hue, via: colourWord}"))
    (finding,) = breaches(folder, "agreement")
    assert finding.mark.file == SECOND
    assert finding.counter_example in {
        "R is 'red' here and 'green' there",
        "G is 'green' here and 'red' there",
    }


def test_a_declared_exception_is_no_breach_and_is_seen(tmp_path: Path) -> None:
    exception = "remark: {instead_of: importer.name, reason: Korean is law, ko: 한글, en: Korean}"
    override = f"overrides:\n  {exception}\nputs:\n"
    folder = plant(tmp_path, ("means: plant.remark", "means: importer.name.korean"), ("puts:\n", override))
    report = prove(folder)
    assert report.findings == ()
    assert "PLANT asks remark in place of importer.name: Korean is law" in report.notes


def test_one_line_in_another_character_set_than_all_others(tmp_path: Path) -> None:
    many = "".join(
        f"  - R{n}: {{ask: remark, limit: {{octets: {60 + n}, charset: euc-kr}}}}\n" for n in range(9)
    )
    odd = "  - Odd: {ask: remark, limit: {octets: 90, charset: utf-8}}\n"
    folder = plant(tmp_path, (IMPORTER, IMPORTER + many + odd))
    (finding,) = breaches(folder, "agreement")
    assert (finding.field, finding.mark.line) == ("Request/Odd", line_of(tmp_path, "- Odd:"))
    few = plant(tmp_path / "few", (IMPORTER, IMPORTER + many + odd + odd.replace("Odd", "Even")))
    assert breaches(few, "agreement") == []


def test_one_size_in_octets_and_in_characters(tmp_path: Path) -> None:
    again = "  - Again: {common: importer.name, limit: {chars: 140}}\n"
    (finding,) = breaches(plant(tmp_path, (IMPORTER, IMPORTER + again)), "agreement")
    assert (finding.field, finding.mark.line) == ("Request/Again", line_of(tmp_path, "- Again:"))
    assert finding.message.startswith("140 characters here and octets of euc-kr in Request/ImporterName")


def test_a_code_beside_the_name_of_another_code(tmp_path: Path) -> None:
    pair = "  - ShadeCode: {ask: colour}\n  - ShadeName: {common: hue, via: colourName}\n"
    (finding,) = breaches(plant(tmp_path, (IMPORTER, IMPORTER + pair)), "agreement")
    assert (finding.field, finding.mark.line) == ("Request/ShadeName", line_of(tmp_path, "- ShadeName:"))
    assert finding.counter_example == "hue = A, colour = B"
    same = pair.replace("ask: colour", "common: hue")
    assert breaches(plant(tmp_path / "same", (IMPORTER, IMPORTER + same)), "agreement") == []


def test_an_element_named_after_another_value_of_the_hub(tmp_path: Path) -> None:
    folder = plant(tmp_path, ("- Kind: {const: P1}", "- CaseNumber: {hub: application_number}"))
    (finding,) = breaches(folder, "agreement")
    assert (finding.field, finding.mark.line) == ("Request/CaseNumber", line_of(tmp_path, "- CaseNumber:"))
    assert finding.counter_example == "case_number = A, application_number = B"
