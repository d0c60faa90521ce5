"""What the form of an agency cannot carry is a problem of the submission, at its place there."""

from __future__ import annotations

import unicodedata
from dataclasses import replace

import pytest
from lxml import etree

from gateway.harmonize import (
    CarrierFormat,
    Diagnostic,
    MappingBundle,
    index_submission,
    make_placeholder_numbers,
    split_submission,
    write_requests,
)
from gateway.harmonize.language.mapping_bundle import FieldFormat
from tests.flows.craft import text
from tests.kit import house
from tests.kit.story import unsigned

NAME = ".//ProductNameKo"
POINTER = "APP[2]/KFDA-FOOD-IMP/ITEM[2]/ProductNameKo[1]"


def speak(**forms: CarrierFormat) -> MappingBundle:
    return replace(house.bundle(), carriers=forms, compiled={})


def find_problems(root: etree._Element, bundle: MappingBundle) -> tuple[Diagnostic, ...]:
    """Return the problems of a submission, which are the same with a ledger and without."""
    numbers = make_placeholder_numbers(root)
    found = split_submission(root, bundle, numbers)
    written = write_requests(index_submission(root), bundle, numbers)
    assert written.problems == found.problems
    assert {one.application for one in written.requests}.isdisjoint(one.application for one in found.problems)
    return found.problems


@pytest.mark.night
def test_a_character_without_a_code_is_told_at_its_place_of_the_submission() -> None:
    root = unsigned()
    bundle = speak(KFDA=CarrierFormat("fixed", charset="cp949"))
    assert find_problems(root, bundle) == ()
    text(NAME, "Café 株式會社")(root)
    (one,) = find_problems(root, bundle)
    assert (one.problem.id, one.pointer) == ("GW718", POINTER)
    assert one.sentence == (
        "ProductNameKo: cp949 has no character 'é' (U+00E9) (application A2: KFDA-FOOD-IMP of KFDA)"
    )
    assert one.rule is not None
    assert "KFDA-FOOD-IMP.yaml" in str(one.rule)
    # XML and JSON carry every character.
    assert find_problems(root, speak(KFDA=CarrierFormat("json"))) == ()


@pytest.mark.night
def test_a_syllable_that_euc_kr_makes_up_of_letters_has_no_code_there() -> None:
    root = unsigned()
    text(NAME, "쌀국수 똠양꿍")(root)
    (one,) = find_problems(root, speak(KFDA=CarrierFormat("fixed", charset="euc-kr")))
    assert (one.problem.id, one.pointer) == ("GW718", POINTER)
    assert "euc-kr has no character '똠' (U+B620)" in one.sentence
    # Code page 949 has every syllable, in two octets.
    assert find_problems(root, speak(KFDA=CarrierFormat("fixed", charset="cp949"))) == ()


def test_a_decomposed_name_is_carried_composed() -> None:
    root = unsigned()
    text(NAME, unicodedata.normalize("NFD", "주식회사 한빛무역"))(root)
    assert find_problems(root, speak(KFDA=CarrierFormat("fixed", charset="euc-kr"))) == ()


def test_a_line_feed_is_told_where_a_line_is_a_record() -> None:
    root = unsigned()
    text(NAME, "첫째 줄\n둘째 줄")(root)
    (one,) = find_problems(root, speak(KFDA=CarrierFormat("fixed", charset="cp949")))
    assert (one.problem.id, one.pointer) == ("GW718", POINTER)
    assert "cannot carry a line feed" in one.detail
    assert find_problems(root, speak(KFDA=CarrierFormat("fixed", charset="cp949", record_end=b""))) == ()


def test_every_value_is_told_with_its_own_place() -> None:
    root = unsigned()
    text(NAME, "Ó")(root)
    (second,) = root.iterfind(".//{*}Value[@wcoID='D023'][@n='2']")
    second.text = "É-2"
    found = find_problems(root, speak(KFDA=CarrierFormat("fixed", charset="cp949")))
    assert [one.pointer for one in found] == [
        "SUP/Declaration/GoodsShipment/Consignment/TransportContractDocument/ID[2]",
        POINTER,
    ]


def test_a_value_is_told_beside_other_problems_of_its_application() -> None:
    """Not one a round: a field that is missing hides no value that records cannot carry."""
    root = unsigned()
    text(NAME, "Café")(root)
    (gone,) = root.iterfind("{*}Application[@id='A2']/{*}Fields/{*}Item/{*}FoodClass")
    gone.getparent().remove(gone)  # type: ignore[union-attr]
    found = find_problems(root, speak(KFDA=CarrierFormat("fixed", charset="cp949")))
    assert ("GW718", POINTER) in [(one.problem.id, one.pointer) for one in found]
    assert "GW503" in [one.problem.id for one in found]
    # Of JSON nothing is told of a request that is not whole.
    assert "GW718" not in [one.problem.id for one in find_problems(root, speak(KFDA=CarrierFormat("json")))]


def test_elements_of_one_name_are_told_apart() -> None:
    fields = {"Declaration/Agent/ID": FieldFormat(width=3, overflow="refuse")}
    found = find_problems(unsigned(), speak(KPTA=CarrierFormat("fixed", charset="cp949", fields=fields)))
    assert [one.pointer for one in found] == [
        "42A/67A[1]/74A[1]/R038",
        "APP[1]/KPTA-PHARM-IMP/ImporterPermitNo",
    ]
    assert "octets of cp949, 3 fit" in found[0].detail


def test_what_the_hub_itself_writes_points_at_the_application() -> None:
    fields = {"Application/ApplicationNumber": FieldFormat(width=5, overflow="refuse")}
    (one,) = find_problems(unsigned(), speak(KFDA=CarrierFormat("fixed", charset="cp949", fields=fields)))
    assert one.pointer == "APP[2]"


def test_only_so_many_problems_of_one_request_are_told() -> None:
    found = find_problems(unsigned(), speak(KFDA=CarrierFormat("fixed", charset="ascii")))
    assert 0 < len(found) <= 20
    assert all(one.pointer for one in found)
