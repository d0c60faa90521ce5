"""A unit that an agency could not know is not forwarded; a withdrawn one that is still written is."""

from __future__ import annotations

import pytest

from gateway.harmonize import make_placeholder_numbers, split_submission
from gateway.wire import parse_xml
from tests.kit.house import bundle
from tests.kit.paths import ROOT

SAMPLE = (ROOT / "conformance/samples/import-three-items.xml").read_text("utf-8")
PLACE = "42A/67A[1]/68A[3]/23A[1]/65A[1]/130/@unitCode"
THIRD = 'TariffQuantity unitCode="NMB">12000'


@pytest.mark.parametrize(
    ("unit", "found"),
    [("QQQ", [("GW403", PLACE)]), ("kgm", [("GW403", PLACE)]), ("KGM", []), ("NMB", []), ("MR", [])],
)
def test_only_a_known_unit_goes_to_an_agency(unit: str, found: list[tuple[str, str]]) -> None:
    assert THIRD in SAMPLE
    root = parse_xml(SAMPLE.replace(THIRD, f'TariffQuantity unitCode="{unit}">12000').encode())
    done = split_submission(root, bundle(), make_placeholder_numbers(root))
    assert [(one.problem.id, one.pointer) for one in done.problems] == found
    if found:
        assert f"'{unit}' is not a unit of UNECE Recommendation 20" in done.problems[0].sentence
