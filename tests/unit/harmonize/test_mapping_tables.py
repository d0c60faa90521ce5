"""Tables in CSV beside mappings: a wrong row is refused with its line."""

from __future__ import annotations

import re
from importlib.resources.abc import Traversable

import pytest

from gateway.errors import GatewayError
from gateway.harmonize import load
from gateway.harmonize.terms.codelists import read_rows
from gateway.share import Held, folder
from gateway.wire.pointers import tags
from tests.unit.harmonize import tiny

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
        read_rows(content, "t.csv", ("a",))
    assert (refused.value.problem.id, refused.value.location) == ("GW502", f"t.csv:{line}")
    assert words in refused.value.detail


def test_empty_lines_are_no_rows() -> None:
    assert read_rows(b"a,b\n\n1,2\n\n", "t.csv", ("b", "a")) == [("2", "1")]


def reconciled(text: str) -> Traversable:
    files = {name: content.encode() for name, content in tiny.FILES.items()}
    return Held({**files, "reconciled.csv": (HEAD + text).encode()})


@pytest.mark.parametrize("row", ["NONE,a,common b,c", "TINY,a,common b"])
def test_a_decision_names_a_document_in_a_whole_row(row: str) -> None:
    assert load(reconciled("TINY,x,common b,c\n")).decisions
    with pytest.raises(GatewayError) as refused:
        load(reconciled(f"TINY,x,common b,c\n{row}\n"))
    assert (refused.value.problem.id, refused.value.location) == ("GW502", "reconciled.csv:3")


def test_a_document_left_out_for_its_faults_keeps_its_decisions() -> None:
    files = {name: content.encode() for name, content in tiny.FILES.items()}
    files["agencies/ORG/TINY.yaml"] = files["agencies/ORG/TINY.yaml"].replace(
        b"direction: import", b"direction: up"
    )
    files["reconciled.csv"] = (HEAD + "TINY,x,common b,c\n").encode()
    faults: list[GatewayError] = []
    assert load(Held(files), faults).decisions
    assert len(faults) == 1


def test_the_supplement_holds_what_its_schema_lists() -> None:
    text = folder("xsd").joinpath("hub", "submission.xsd").read_text(encoding="utf-8")
    listed = set(re.findall(r'<xs:enumeration value="(Declaration/[^"]+)"/>', text))
    assert listed == {tag.path for tag in tags().values() if tag.kind == "supplement"}
