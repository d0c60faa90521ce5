"""The real declarations asked for their needs: an answer for each, never an exception."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from gateway.cases import unwrap_request
from gateway.errors import GatewayError
from gateway.needs import evaluate_needs, read_declared_goods
from gateway.wire import WCO_DEC, parse_xml
from tests.kit.house import needs


@pytest.mark.vectors
def test_every_real_declaration_is_told_what_its_goods_need(vectors: Path) -> None:
    """They are declarations of another country: six digits count, so that no need is certain."""
    index = needs().get_index()
    told: dict[str, int] = {"asked": 0, "items": 0, "possible": 0, "without code": 0, "no direction": 0}
    for path in sorted((vectors / "data/hmrc-cds/samples").rglob("*.[xX][mM][lL]")):
        try:
            root = parse_xml(path.read_bytes())
        except GatewayError:
            continue
        declaration = next(unwrap_request(root).iter(f"{{{WCO_DEC}}}Declaration"), None)
        if declaration is None:
            continue
        goods = read_declared_goods(declaration)
        found = evaluate_needs(goods, (), (), index, date(2026, 11, 22))
        told["asked"] += 1
        told["items"] += len(found.items)
        told["possible"] += sum(not need.is_certain for one in found.items for need, _ in one.needs)
        told["without code"] += sum(not one.item.hs for one in found.items)
        told["no direction"] += found.direction is None
        assert all(one.pointer for one in found.findings), path
        if goods.country == "GB":
            assert not any(need.is_certain for one in found.items for need, _ in one.needs), path
    print(told)
    assert told["asked"] >= 190
    assert told["possible"] > 100


def test_every_shipped_law_is_named_in_english_and_in_korean() -> None:
    """The texts are English: a Korean name in them would be read by nobody who needs it."""
    book = needs().get_index().book
    assert [code for code, law in book.laws.items() if not law.en.isascii() or not (law.en and law.ko)] == []
    assert book.get_names("02") == {"ko": "마약법", "en": "Narcotics Act"}
    assert book.get_names("no law") == {}
