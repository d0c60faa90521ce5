"""Values are measured, compared and forwarded in Normalization Form C; what was signed stays as sent."""

from __future__ import annotations

import shutil
import unicodedata
from pathlib import Path

import pytest
from lxml import etree

from gateway.harmonize import MappingBundle, SplitResult, load_bundle
from gateway.harmonize.proofs import check_bundle
from gateway.harmonize.readback import compare_request, read_request
from gateway.harmonize.split import index_submission
from gateway.share import get_data_folder
from tests.harmonize import small_bundle

IMPORTER, NOTE = "한빛무역", "가나다라마"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> MappingBundle:
    return small_bundle.mapping(tmp_path_factory.mktemp("normalized"))


def decompose(text: str) -> str:
    decomposed = unicodedata.normalize("NFD", text)
    assert decomposed != text
    return decomposed


def make_decomposed() -> etree._Element:
    return small_bundle.submission(
        fields=small_bundle.FIELDS.replace(NOTE, decompose(NOTE)),
        declaration=small_bundle.DECLARATION.replace(IMPORTER, decompose(IMPORTER)),
        supplement=small_bundle.SUPPLEMENT.replace("Maker One", decompose("Café")),
    )


def split(bundle: MappingBundle, root: etree._Element) -> SplitResult:
    result = small_bundle.apply(bundle, root)
    assert not result.problems
    return result


def test_a_decomposed_value_is_forwarded_composed(small: MappingBundle) -> None:
    root = make_decomposed()
    sent = etree.tostring(root, method="c14n")
    result = split(small, root)
    assert small_bundle.text(result, "Party/ID")[0] == IMPORTER
    assert "".join(small_bundle.text(result, f"Long/{name}")[0] for name in ("One", "Two")) == NOTE
    assert "Café" in small_bundle.text(result, "Line/Maker")
    (request,) = result.requests
    reading = read_request(small.documents["TINY"], request.xml)
    assert compare_request(request, reading, index_submission(root), small) == []
    # What was signed is not touched, and the leaf of the ledger has what was sent.
    assert etree.tostring(root, method="c14n") == sent
    told = {one.leaf.normalized for one in result.ledger.entries} - {None}
    assert told == {IMPORTER, NOTE, "Café"}
    assert decompose(IMPORTER) in {one.leaf.value for one in result.ledger.entries}


def test_a_limit_counts_the_composed_value(tmp_path: Path) -> None:
    short = ("type: text, max: 70, ko: 수입자", "type: text, max: 4, ko: 수입자")
    split(small_bundle.mapping(tmp_path, common=short), make_decomposed())


def test_values_are_compared_composed(tmp_path: Path) -> None:
    compared = "compare: {left: remark, equals: importer.name}"
    check = f"  - {{id: same, per: application, {compared}, ko: 같음, en: Same}}\n"
    bundle = small_bundle.mapping(tmp_path, document=("checks:\n", f"checks:\n{check}"))
    fields = small_bundle.FIELDS.replace("<t:Item ", f"<t:Remark>{IMPORTER}</t:Remark><t:Item ", 1)
    declaration = small_bundle.DECLARATION.replace(IMPORTER, decompose(IMPORTER))
    split(bundle, small_bundle.submission(fields=fields, declaration=declaration))


@pytest.mark.parametrize(
    ("importer", "told"),
    [
        ("㈜한빛 똠", "'똠' (U+B620)"),
        ("\u20a9 1000", "'\u20a9' (U+20A9)"),
        # A letter that no syllable has stays decomposed.
        ("한\u1112\u119e", "(U+1112)"),
    ],
)
def test_an_error_names_the_character(small: MappingBundle, importer: str, told: str) -> None:
    result = small_bundle.apply(
        small, small_bundle.submission(declaration=small_bundle.DECLARATION.replace(IMPORTER, importer))
    )
    (one,) = result.problems
    assert one.problem.id == "GW506"
    assert f"has the character {told}" in one.sentence or told in one.sentence
    assert "which euc-kr does not have" in one.sentence


def test_a_text_that_is_cut_names_the_character(small: MappingBundle) -> None:
    fields = small_bundle.FIELDS.replace(NOTE, "가똠")
    (one,) = small_bundle.apply(small, small_bundle.submission(fields=fields)).problems
    assert one.problem.id == "GW506"
    assert "'똠' (U+B620), which euc-kr does not have" in one.sentence


def test_an_agency_that_reads_code_page_949_gets_every_syllable(tmp_path: Path) -> None:
    """Its owner says so in the lines of its documents; limits count two octets for each syllable."""
    folder = small_bundle.write(tmp_path)
    (document,) = folder.rglob("TINY.yaml")
    document.write_text(document.read_text("utf-8").replace("charset: euc-kr", "charset: cp949"), "utf-8")
    bundle, importer = load_bundle(folder), "㈜한빛 똠방각하"
    fields = small_bundle.FIELDS.replace(NOTE, "가똠뷁")
    declaration = small_bundle.DECLARATION.replace(IMPORTER, importer)
    result = split(bundle, small_bundle.submission(fields=fields, declaration=declaration))
    assert small_bundle.text(result, "Party/ID")[0] == importer
    longer = declaration.replace(importer, "똠" * 11)
    (one,) = small_bundle.apply(bundle, small_bundle.submission(declaration=longer)).problems
    assert "22 octets of cp949, at most 20 fit" in one.sentence


@pytest.mark.night
def test_shipped_documents_of_one_agency_may_be_in_code_page_949(tmp_path: Path) -> None:
    folder = tmp_path / "mappings"
    shutil.copytree(str(get_data_folder("mappings")), folder)
    documents = ("KPTA-PHARM-IMP", "KPTA-TISSUE-IMP")
    for name in documents:
        file = folder / "agencies" / "KPTA" / f"{name}.yaml"
        content = file.read_text("utf-8")
        assert "charset: euc-kr" in content
        file.write_text(content.replace("charset: euc-kr", "charset: cp949"), "utf-8")
    assert check_bundle(load_bundle(folder), sample_count=0, only=documents).findings == ()
