"""Planned mappings that this version of the program does not load: told, and nothing stops before then."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from gateway.errors import GatewayError
from gateway.hub import load_rules, pack_mapping_folder
from gateway.hub.register.decision_rules import unpack_mapping_archive
from gateway.operations import CheckedFolder
from gateway.share import get_data_folder
from gateway.store import write_transaction
from gateway.store.mapping_bundles import mapping_bundles
from tests.flows.test_planned_mappings import DATE, make_register, plan
from tests.kit.console import Browser
from tests.kit.story import Story

PHARM = Path("agencies") / "KPTA" / "KPTA-PHARM-IMP.yaml"


@pytest.fixture
def broken(story: Story, tmp_path: Path) -> str:
    """Plan mappings, and store for them what only another version of the program took; return the digest."""
    place = tmp_path / "mappings"
    shutil.copytree(str(get_data_folder("mappings")), place)
    (place / PHARM).write_text(
        (place / PHARM).read_text().replace("{const: GOVCBRFR2}", "{const: GOVCBRFR9}")
    )
    octets = pack_mapping_folder(place)
    files = unpack_mapping_archive(octets)
    bundle = load_rules(files).bundle
    with (place / PHARM).open("a") as document:
        document.write("\nformer: x\n")
    plan(story, CheckedFolder(bundle, files, octets))
    with write_transaction(story.house.engine) as conn:
        row = mapping_bundles.update().where(mapping_bundles.c.digest == bundle.digest)
        conn.execute(row.values(content=pack_mapping_folder(place)))
    return bundle.digest


@pytest.mark.long
def test_the_page_of_mappings_says_that_the_plan_does_not_load(
    story: Story, operator: Browser, broken: str
) -> None:
    page = operator.get("/console/operations/mappings")
    assert page.status_code == 200
    assert broken in page.text
    assert "The planned mappings do not load" in page.text
    assert "GW904 GW502" in page.text
    assert PHARM.name in page.text
    assert "Out of force then" not in page.text
    overview = operator.get("/console/operations")
    assert (overview.status_code, "do not load" in overview.text) == (200, True)


@pytest.mark.long
def test_the_hub_goes_on_until_the_date(story: Story, broken: str, caplog: pytest.LogCaptureFixture) -> None:
    """A process that starts now, too; from the date on nothing is done by other mappings."""
    caplog.clear()
    other = make_register(story)
    for _ in range(2):
        other.refresh_snapshot()
    assert caplog.text.count("the mappings of the last date do not load") == 1
    before = other.find_rules(DATE - timedelta(microseconds=1))
    assert before.version is None
    with pytest.raises(GatewayError, match="GW904"):
        other.find_rules(DATE)
    story.submit()
    story.tick()
    assert story.case().state == "IN_PROGRESS"
