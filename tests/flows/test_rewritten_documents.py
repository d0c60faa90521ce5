"""A strict agency has the schema of other mappings than a case: those in force write its document again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from gateway.delivery import BoundSchemas
from gateway.errors import GatewayError
from gateway.evidence import list_subject_leaves
from gateway.harmonize import get_request_schema
from gateway.hub import CurrentMappings, load_application_form, load_rules, pack_mapping_folder
from gateway.operations import Act, change_composed_calls, compose_calls, open_change
from gateway.share import get_data_folder
from gateway.store import mapping_bundles, read_transaction, write_transaction
from tests.flows.craft import all_of, supplement
from tests.flows.craft import text as set_text
from tests.flows.test_composed_calls import name_settings, of_kpta
from tests.flows.test_pinned_mappings import PHARM, restart, versions
from tests.kit.databases import BOTH
from tests.kit.story import Story
from tests.kit.strict_agency import StrictAgency, agree, serve_strict_agency

__all__ = ["versions"]

DESCRIPTION = ".//Declaration/GoodsShipment/GovernmentAgencyGoodsItem/Commodity/Description"


@pytest.fixture
def story(engine: Engine, versions: tuple[Path, Path]) -> Story:
    """Return a story by the mappings of the version before the upgrade."""
    made = Story(engine)
    restart(made, versions[0])
    return made


@pytest.fixture
def agency(story: Story, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StrictAgency]:
    agree(story, "agency-template.wsdl")
    template = get_data_folder("wsdl").joinpath("agency-template.wsdl").read_bytes()
    with serve_strict_agency(story, tmp_path, template, monkeypatch) as served:
        yield served


def use(story: Story, shipped: Path) -> None:
    """Put mappings in force, for what is composed anew too."""
    digest = load_rules(shipped).bundle.digest
    with write_transaction(story.house.engine) as conn:
        mapping_bundles.store_bundle(conn, digest, pack_mapping_folder(shipped), story.clock())
        mapping_bundles.activate_bundle(conn, digest, story.clock(), "kim")


def expect(agency: StrictAgency, shipped: Path) -> None:
    """Let the agency validate documents by the schema that these mappings write."""
    bundle = load_rules(shipped).bundle
    document = bundle.documents["KPTA-PHARM-IMP"]
    agency.documents = BoundSchemas(None, {document.namespace: get_request_schema(bundle, document)})


def compose(story: Story, folder: Path, number: int) -> dict[int, GatewayError]:
    settings = name_settings(story, folder)
    with read_transaction(story.house.engine) as conn:
        mappings = CurrentMappings(conn, story.clock())
        composed = compose_calls(conn, settings, [number], mappings)
    if composed.calls:
        act = Act("delivery compose", "kim")
        with open_change(story.house.engine, settings, act, at=story.clock()) as change:
            change_composed_calls(change, composed.calls)
    return dict(composed.problems_by_delivery)


def type_code(agency: StrictAgency) -> str | None:
    return agency.effects[-1].content.findtext("{*}Document/{*}Declaration/{*}TypeCode")


@pytest.mark.long
@BOTH
def test_an_application_is_written_by_the_mappings_in_force(
    story: Story, agency: StrictAgency, versions: tuple[Path, Path], tmp_path: Path
) -> None:
    expect(agency, versions[1])
    story.submit()
    story.tick()
    refused = of_kpta(story)
    assert (refused.state, refused.problem, agency.effects) == ("FAILED", "GW602", [])
    assert "GOVCBRFR8" in agency.refused[0]
    use(story, versions[1])
    assert compose(story, tmp_path, refused.id) == {}
    story.tick()
    assert (of_kpta(story).state, type_code(agency)) == ("DELIVERED", "GOVCBRFR9")
    (effect,) = agency.effects
    assert (effect.message_id, dict(effect.content.find("{*}Document").attrib)) == (
        refused.wire_id,
        {"items": "1", "laws": "01 70"},
    )
    assert [one.get("cid") for one in effect.content.findall("{*}Attachment")] == []
    now = load_rules(versions[1]).bundle
    request = story.request("KPTA")
    assert (request.mapping_sha256, request.state) == (now.digest, "ACKNOWLEDGED")
    assert story.request("KFDA").mapping_sha256 == load_rules(versions[0]).bundle.digest
    with read_transaction(story.house.engine) as conn:
        leaves = list_subject_leaves(conn, "delivery", refused.id)
    (composed,) = [
        one for one in map(json.loads, (leaf.data for leaf in leaves)) if one.get("act") == "compose"
    ]
    assert composed["mappings"] == now.digest
    assert of_kpta(story).parameters["schema_sha256"] != refused.parameters["schema_sha256"]
    # It is read by the mappings that wrote it.
    with read_transaction(story.house.engine) as conn:
        form = load_application_form(story.hub, conn, "KPTA", request.number)
    assert form is not None
    assert (form.current, form.request_form.find_first_text("common:importer.name")) == (
        True,
        "주식회사 한빛무역",
    )


@pytest.mark.long
def test_a_supplement_is_written_from_its_own_submission(
    story: Story, agency: StrictAgency, versions: tuple[Path, Path], tmp_path: Path
) -> None:
    expect(agency, versions[0])
    story.submit()
    story.tick()
    number = agency.effects[0].content.findtext("{*}ApplicationNumber")
    expect(agency, versions[1])
    changed = all_of(supplement, set_text(DESCRIPTION, "Pills, new"))
    story.submit(story.submission(changed), action="Supplement")
    story.tick()
    refused = of_kpta(story)
    assert (refused.parameters["operation"], refused.state) == ("SubmitSupplement", "FAILED")
    use(story, versions[1])
    assert compose(story, tmp_path, refused.id) == {}
    story.tick()
    sent = agency.effects[-1]
    assert (sent.operation.name, type_code(agency)) == ("SubmitSupplement", "GOVCBRFR9")
    assert sent.content.findtext("{*}ApplicationNumber") == number
    written = sent.content.find("{*}Document/{*}Declaration")
    assert (written.findtext("{*}FunctionCode"), "Pills, new" in "".join(written.itertext())) == ("35", True)


def change_files(folder: Path, shipped: Path, change: Callable[[str], str]) -> Path:
    place = folder / "changed"
    shutil.copytree(shipped, place)
    (place / PHARM).write_text(change((place / PHARM).read_text("utf-8")), "utf-8")
    return place


@pytest.mark.long
def test_what_cannot_be_written_by_them_is_left(
    story: Story, agency: StrictAgency, versions: tuple[Path, Path], tmp_path: Path
) -> None:
    expect(agency, versions[1])
    story.submit()
    story.tick()
    refused = of_kpta(story)
    # The same mappings: nothing to write again.
    with write_transaction(story.house.engine) as conn:
        mapping_bundles.activate_bundle(conn, refused_mappings(story), story.clock(), "kim")
    (same,) = compose(story, tmp_path, refused.id).values()
    assert same.problem.id == "GW705"
    # A field that nobody was asked for.
    old, new = (f"{{type: date, req: {must}, means: production" for must in "OM")
    demanding = change_files(tmp_path, versions[1], lambda words: words.replace(old, new))
    use(story, demanding)
    (lacking,) = compose(story, tmp_path, refused.id).values()
    assert lacking.problem.id == "GW503"
    use(story, versions[1])
    with write_transaction(story.house.engine) as conn:
        conn.execute(text("UPDATE agency_requests SET mapping_sha256 = 'beef' WHERE agency = 'KPTA'"))
    (unknown,) = compose(story, tmp_path, refused.id).values()
    assert (unknown.problem.id, "the mappings that wrote it are not stored" in unknown.detail) == (
        "GW720",
        True,
    )
    assert of_kpta(story) == refused


@pytest.mark.long
def test_without_the_submission_it_is_left(
    story: Story, agency: StrictAgency, versions: tuple[Path, Path], tmp_path: Path
) -> None:
    expect(agency, versions[1])
    story.submit()
    story.tick()
    use(story, versions[1])
    with write_transaction(story.house.engine) as conn:
        conn.execute(
            text("UPDATE messages SET parcel = NULL, purged_at = received_at WHERE direction = 'in'")
        )
    (problem,) = compose(story, tmp_path, of_kpta(story).id).values()
    assert (problem.problem.id, "no submission of its case" in problem.detail) == ("GW720", True)


def refused_mappings(story: Story) -> Any:
    return story.request("KPTA").mapping_sha256
