"""``gateway map split`` judges a submission as the hub does, and says where each thing is wrong."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from gateway.cli import main
from gateway_conformance import DATA_FOLDER

SAMPLE = Path(str(DATA_FOLDER)) / "samples" / "import-three-items.xml"

Split = Callable[..., dict[str, Any]]


@pytest.fixture
def split(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Split:
    """Return what the verb says of the sample with some texts replaced; each must be there."""

    def run(*changes: tuple[str, str], status: int = 1) -> dict[str, Any]:
        text = SAMPLE.read_text("utf-8")
        for old, new in changes:
            assert old in text
            text = text.replace(old, new, 1)
        file = tmp_path / "a.xml"
        file.write_text(text, encoding="utf-8")
        assert main(["map", "split", str(file), "--json"]) == status
        shown: dict[str, Any] = json.loads(capsys.readouterr().out)
        return shown

    return run


def places(shown: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return id, pointer and XPath of every problem."""
    return [(one["id"], one["pointer"], one["xpath"]) for one in shown["problems"]]


def test_what_the_schema_refuses_has_pointer_xpath_and_line(split: Split) -> None:
    shown = split(("<Application ", "<Application colour='red' "))
    (problem,) = shown["problems"]
    assert (problem["id"], problem["pointer"]) == ("GW402", "APP[1]")
    assert problem["xpath"].endswith(":Submission/sub:Application[1]")
    text = SAMPLE.read_text("utf-8")
    assert problem["line"] == text[: text.index("<Application ")].count("\n") + 1


def test_what_stands_in_the_declaration_is_named_by_wco_ids(split: Split) -> None:
    shown = split(("<GoodsItemQuantity>", "<GoodsItemQuantity>x"))
    assert [one[:2] for one in places(shown)] == [("GW402", "42A/228")]


def test_every_problem_has_an_xpath_even_where_nothing_stands(split: Split) -> None:
    shown = split(("<Name>한빛관세법인</Name>", ""))
    assert {one[:2] for one in places(shown)} == {("GW503", "42A/57B[1]/R124")}
    assert all(xpath.endswith("/wco:Declarant") for _, _, xpath in places(shown))
    assert all(one["line"] > 0 for one in shown["problems"])


def test_a_reference_of_its_own_is_refused_as_by_the_hub(split: Split) -> None:
    shown = split(("<Reference>", "<Reference>X"))
    assert [one[:2] for one in places(shown)] == [("GW505", "42A/D026")]
    assert shown["problems"][0]["xpath"].endswith("/wco:FunctionalReferenceID")
    assert shown["requests"] == []
    assert shown["ledger"]
    assert shown["unaccounted"] == []


def test_an_item_named_twice_is_refused_as_by_the_hub(split: Split) -> None:
    text = SAMPLE.read_text("utf-8")
    items = text[text.index("<Items>") : text.index("</Items>")]
    shown = split((items, items + " " + items.removeprefix("<Items>").split()[0]))
    assert [one[:2] for one in places(shown)] == [("GW505", "APP[1]/Items")]
    assert shown["requests"] == []


def test_an_item_that_is_not_declared_is_told_once(split: Split) -> None:
    shown = split(("<Items>", "<Items>77 "))
    assert [one[:2] for one in places(shown)] == [("GW505", "APP[1]/Items")]


@pytest.mark.night
@pytest.mark.parametrize("written", ["1.0", "+1", "01", "1<!-- one -->"])
def test_the_number_of_an_item_is_one_however_it_is_written(split: Split, written: str) -> None:
    old = "<SequenceNumeric>1</SequenceNumeric>"
    shown = split((old, old.replace("1", written)), status=0)
    assert len(shown["requests"]) == 3


def test_every_leaf_has_a_fate_for_a_document_without_a_mapping(split: Split) -> None:
    shown = split(('document="NPQS-PLA-IMP"', 'document="NPQS-MOON-IMP"'))
    (problem,) = shown["problems"]
    assert (problem["id"], problem["pointer"], problem["document"]) == ("GW501", "APP[3]", "NPQS-MOON-IMP")
    assert shown["unaccounted"] == []
    for line in shown["ledger"]:
        assert len(line["fates"]) == 3
        fate = next(one for one in line["fates"] if one["document"] == "NPQS-MOON-IMP")
        assert (fate["fate"], fate["rule"]) == ("withheld", "no mapping for NPQS-MOON-IMP")
    assert len(shown["requests"]) == 2


def test_two_applications_of_one_unknown_document_give_one_fate(split: Split) -> None:
    shown = split(
        ('document="NPQS-PLA-IMP"', 'document="MOON"'), ('document="KFDA-FOOD-IMP"', 'document="MOON"')
    )
    assert [one["document"] for one in shown["ledger"][0]["fates"]] == ["KPTA-PHARM-IMP", "MOON"]


@pytest.mark.night
@pytest.mark.parametrize(
    "words",
    [
        ["map", "sample", "KFDA-FOOD-IMP", "--seed", "x"],
        ["map", "sample", "KFDA-FOOD-IMP", "--items", "0"],
        ["map", "sample", "NO-SUCH-DOCUMENT"],
        ["map", "split"],
        ["map", "split", "no-such-file.xml"],
        ["map", "build", "--out", f"{SAMPLE}/below"],
        ["map", "turn"],
        ["map"],
    ],
)
def test_wrong_arguments_are_misuse(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert "Traceback" not in told.err
    assert told.err


def test_every_xpath_selects_its_leaf_with_the_namespaces_that_are_printed(
    split: Split, tmp_path: Path
) -> None:
    """Two documents under one prefix, and one without: each namespace has its own prefix in the paths."""
    text = SAMPLE.read_text("utf-8")
    fields = text[text.index("<Fields xmlns:npqs") : text.rindex("</Fields>")]
    shown = split((fields, fields.replace("npqs:", "kpta:").replace("xmlns:npqs", "xmlns:kpta")), status=0)
    root = etree.parse(tmp_path / "a.xml").getroot()
    found = [root.xpath(leaf["xpath"], namespaces=shown["namespaces"]) for leaf in shown["ledger"]]
    assert {len(nodes) for nodes in found} == {1}
    values = [node if isinstance(node, str) else "".join(node.itertext()) for (node,) in found]
    assert [one.strip() for one in values] == [leaf["value"].strip() for leaf in shown["ledger"]]
    assert {"kpta-pharm-imp", "npqs-pla-imp", "sub", "wco", "dt"} <= set(shown["namespaces"])


def test_what_the_schema_refuses_has_namespaces_too(split: Split, tmp_path: Path) -> None:
    (problem,) = (shown := split(("<Application ", "<Application colour='red' ")))["problems"]
    root = etree.parse(tmp_path / "a.xml").getroot()
    assert len(root.xpath(problem["xpath"], namespaces=shown["namespaces"])) == 1


def test_a_finding_that_is_told_three_times_says_for_whom(split: Split, tmp_path: Path, capsys: Any) -> None:
    shown = split(("<Name>한빛관세법인</Name>", ""))
    concerned = [(one["application"], one["document"], one["organisation"]) for one in shown["problems"]]
    assert len(set(concerned)) == len(concerned) == 3
    assert all(all(one) for one in concerned)
    assert main(["map", "split", str(tmp_path / "a.xml")]) == 1
    told = capsys.readouterr().out
    for application, document, organisation in concerned:
        assert told.count(f"(application {application}: {document} of {organisation})") == 1
    assert main(["submission", "check", str(tmp_path / "a.xml"), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)["problems"]
    assert {(one["application"], one["document"], one["organisation"]) for one in found} >= set(concerned)


def test_a_value_that_was_composed_is_noted_beside_what_was_sent(split: Split) -> None:
    name = "한빛관세법인"
    sent = unicodedata.normalize("NFD", name)
    shown = split((f"<Name>{name}</Name>", f"<Name>{sent}</Name>"), status=0)
    told = [(one["value"], one["normalized"]) for one in shown["ledger"] if "normalized" in one]
    assert told == [(sent, name)]
    forwarded = "".join(one["xml"] for one in shown["requests"])
    assert name in forwarded
    assert sent not in forwarded
