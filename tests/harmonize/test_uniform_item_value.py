# ruff: noqa: E501 (lines of mappings)
"""What all goods items have alike is put once; items that differ are refused at the one that differs."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.errors import MAPPING_WRONG, GatewayError
from gateway.harmonize import MappingBundle, SplitResult
from gateway.harmonize.readback import compare_request, read_request
from tests.harmonize import small_bundle

NEEDED = (
    "mandatory: [issued_at, importer.name, item.number, item.hs]\n  optional: [amount, bills, container.id, seal.id, previous, item.maker]",
    "mandatory: [issued_at, importer.name, item.number, item.hs, item.maker]\n  optional: [amount, bills, container.id, seal.id, previous]",
)
LINE = ("  - Items: {count: items}", "  - Maker: {alike: item.maker, over: items}\n  - Items: {count: items}")
SECOND = '<t:Item sequence="2"><t:Risky>0</t:Risky><t:Weight unitCode="EA">1</t:Weight><t:Price currencyID="EUR">1</t:Price></t:Item>'


def changed(folder: Path, line: tuple[str, str] = LINE) -> MappingBundle:
    path = small_bundle.write(folder) / "agencies/ORG/TINY.yaml"
    text = path.read_text("utf-8")
    for old, new in (NEEDED, line):
        assert text.count(old) == 1
        text = text.replace(old, new)
    path.write_text(text, "utf-8")
    return small_bundle.load_bundle(folder)


def both(bundle: MappingBundle, second: str) -> SplitResult:
    supplement = small_bundle.SUPPLEMENT.replace("Maker Two", second)
    return small_bundle.apply(
        bundle, small_bundle.submission(small_bundle.FIELDS + SECOND, "1 2", supplement=supplement)
    )


def test_what_is_alike_is_put_once_and_comes_from_every_item(tmp_path: Path) -> None:
    bundle = changed(tmp_path)
    result = both(bundle, "Maker One")
    assert result.problems == ()
    assert small_bundle.text(result, "Maker") == ["Maker One"]
    (request,) = result.requests
    (origin,) = (one for one in request.origins if one.target == "Request/Maker")
    assert [result.submission_index.leaves[leaf].item for leaf in origin.leaves] == ["1", "2"]
    assert origin.transforms == ("alike in 2 items",)
    reading = read_request(bundle.documents["TINY"], request.xml)
    assert [value.text for value in reading.values if value.source == "common:item.maker"].count(
        "Maker One"
    ) == 3
    assert compare_request(request, reading, result.submission_index, bundle) == []


def test_items_that_differ_are_refused_at_the_one_that_does(tmp_path: Path) -> None:
    (problem,) = both(changed(tmp_path), "Maker Two").problems
    assert problem.problem.id == "GW505"
    assert problem.pointer == f"SUP/{small_bundle.ITEM}/Manufacturer/Name[2][1]"
    assert "'Maker One' and 'Maker Two'" in problem.detail


def test_an_item_outside_the_application_may_differ(tmp_path: Path) -> None:
    result = small_bundle.apply(changed(tmp_path), small_bundle.submission())
    assert small_bundle.text(result, "Maker") == ["Maker One"]


WRONG = [
    ("a field that an item may lack", "  - Maker: {alike: reason, over: items}\n"),
    ("a field of the application", "  - Maker: {alike: colour, over: items}\n"),
    ("a number with a unit", "  - Maker: {alike: weight, over: items}\n"),
    ("a name that nothing has", "  - Maker: {alike: item.nothing, over: items}\n"),
    ("what is not gone over", "  - Maker: {alike: item.maker, over: containers}\n"),
    ("nothing that is gone over", "  - Maker: {alike: item.maker}\n"),
]


@pytest.mark.parametrize("line", [line for _, line in WRONG], ids=[name for name, _ in WRONG])
def test_a_wrong_line_is_refused(tmp_path: Path, line: str) -> None:
    with pytest.raises(GatewayError) as caught:
        changed(tmp_path, (LINE[0], line + LINE[0]))
    assert caught.value.problem is MAPPING_WRONG
    assert "agencies/ORG/TINY.yaml" in str(caught.value)


def test_a_line_inside_the_items_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GatewayError, match="a line inside an item"):
        changed(
            tmp_path,
            ("        - Maker: {common: item.maker}", "        - Maker: {alike: item.maker, over: items}"),
        )
