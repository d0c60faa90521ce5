"""Tables in CSV beside mappings: a wrong row is refused with its line."""

from __future__ import annotations

import re
from importlib.resources.abc import Traversable

import pytest

from gateway.errors import GatewayError
from gateway.harmonize import load_bundle
from gateway.harmonize.language import read_csv_rows
from gateway.share import MemoryPath, get_data_folder
from gateway.wire import load_wco_elements
from tests.harmonize import small_bundle

HEAD = "document,field,decision,reason\n"

ROWS = [
    (b"a,b\n1,2\n3\n", 3, "2 cells, found 1"),
    (b"a,b\n1,2,3\n", 2, "2 cells, found 3"),
    (b'a,b\n"1\n1",2\n3\n', 4, "2 cells, found 1"),
    (b"a,b\n1,2\n\x00,2\n", 3, "found"),
    (b"a,b\n1,2\n1,\xef\xbf\xbe\n", 3, "found \\ufffe"),
    (b'a,b\n1,2\n"1"x,2\n', 3, "a table in CSV"),
    (b"a,b\n,2\n", 2, "a code, found nothing"),
]


@pytest.mark.parametrize(("content", "line", "words"), ROWS, ids=[words for _, _, words in ROWS])
def test_a_wrong_row_is_refused_with_its_line(content: bytes, line: int, words: str) -> None:
    with pytest.raises(GatewayError) as refused:
        read_csv_rows(content, "t.csv", ("a",))
    assert (refused.value.problem.id, refused.value.location) == ("GW502", f"t.csv:{line}")
    assert words in refused.value.detail


def test_empty_lines_are_no_rows() -> None:
    assert read_csv_rows(b"a,b\n\n1,2\n\n", "t.csv", ("b", "a")) == [("2", "1")]


def reconciled(text: str) -> Traversable:
    files = {name: content.encode() for name, content in small_bundle.FILES.items()}
    return MemoryPath({**files, "reconciled.csv": (HEAD + text).encode()})


@pytest.mark.parametrize("row", ["NONE,a,common b,c", "TINY,a,common b"])
def test_a_decision_names_a_document_in_a_whole_row(row: str) -> None:
    assert load_bundle(reconciled("TINY,x,common b,c\n")).decisions
    with pytest.raises(GatewayError) as refused:
        load_bundle(reconciled(f"TINY,x,common b,c\n{row}\n"))
    assert (refused.value.problem.id, refused.value.location) == ("GW502", "reconciled.csv:3")


def test_a_document_left_out_for_its_faults_keeps_its_decisions() -> None:
    files = {name: content.encode() for name, content in small_bundle.FILES.items()}
    files["agencies/ORG/TINY.yaml"] = files["agencies/ORG/TINY.yaml"].replace(
        b"direction: import", b"direction: up"
    )
    files["reconciled.csv"] = (HEAD + "TINY,x,common b,c\n").encode()
    faults: list[GatewayError] = []
    assert load_bundle(MemoryPath(files), faults).decisions
    assert len(faults) == 1


def test_the_supplement_holds_what_its_schema_lists() -> None:
    text = get_data_folder("xsd").joinpath("hub", "submission.xsd").read_text(encoding="utf-8")
    listed = set(re.findall(r'<xs:enumeration value="(Declaration/[^"]+)"/>', text))
    assert listed == {tag.path for tag in load_wco_elements().values() if tag.kind == "supplement"}
