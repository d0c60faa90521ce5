"""What an officer sees of an application: the form of the call that the agency was sent."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import Connection, Engine

from gateway.cases import DeclaredQuantity
from gateway.errors import NO_ROOM, GatewayError
from gateway.harmonize import DocumentMapping, draw_request
from gateway.harmonize.forms.request_form import RequestField, RequestForm, RequestSection, RequestValue
from gateway.hub import ApplicationForm, load_application_form, refresh_summaries
from gateway.hub.submissions import application_forms
from gateway.store import payloads, read_transaction, work_lists, write_transaction
from tests.flows.craft import all_of, supplement, text
from tests.kit import tables
from tests.kit.databases import BOTH_AT_LANDING
from tests.kit.officers import ConsoleStory
from tests.kit.story import LABEL, Story, asked


@pytest.fixture
def story(engine: Engine) -> Story:
    story = Story(engine)
    story.submit()
    story.tick()
    return story


def load(story: Story, agency: str, **more):
    with read_transaction(story.house.engine) as conn:
        return load_application_form(story.hub, conn, agency, story.request(agency).number, **more)


def find(form, name):
    return [field for field in form.list_fields() if field.name == name]


@BOTH_AT_LANDING
def test_a_form_has_the_values_of_the_call_with_labels_and_words_for_codes(story):
    found = load(story, "KFDA")
    (importer,) = find(found.request_form, "common:importer.name")
    assert (importer.label["ko"], importer.values[0].text, importer.is_unique) == (
        "수입자 상호",
        "주식회사 한빛무역",
        False,
    )
    (food,) = find(found.request_form, "ask:food_class")
    assert (food.values[0].text, food.values[0].code_label["ko"], food.is_unique) == ("4", "가공식품", True)
    (mass,) = find(found.request_form, "common:item.net_mass")
    assert (mass.values[0].text, mass.values[0].unit) == ("600", "KGM")
    assert [section.item for section in found.request_form.sections] == [None, "2"]
    assert found.current


def test_the_goods_of_each_item_are_those_of_the_call(story):
    goods = load(story, "KFDA").request_form.list_goods()
    assert list(goods) == [2]
    assert (goods[2].hs, goods[2].description) == ("1905320000", "Caramel wafers 320 g")
    assert ("600", "KGM") in [(one.text, one.unit) for one in goods[2].measures]


def test_the_declared_quantities_of_every_item_are_listed():
    def item(number: str | None, *measures: tuple[str, str]) -> RequestSection:
        values = tuple(RequestValue(amount, unit) for amount, unit in measures)
        field = RequestField("common:item.net_mass", {}, False, "", values=values)
        return RequestSection(number, (field,), (), ())

    sections = (
        item(None, ("1", "KGM")),
        item("3", ("600", "KGM"), ("0.6", "TNE")),
        item("2", ("many", "NMB"), ("NaN", "NMB"), ("7", "NMB")),
        item("1"),
    )
    form = RequestForm("KFDA-FOOD-IMP", {}, sections, (), {})
    unused: Any = None
    assert ApplicationForm(unused, form, (), False, True, unused).list_declared_quantities() == {
        3: (DeclaredQuantity(Decimal(600), "KGM"), DeclaredQuantity(Decimal("0.6"), "TNE")),
        2: (DeclaredQuantity(Decimal(7), "NMB"),),
        1: (),
    }


def test_a_field_points_at_its_place_in_the_submission(story):
    form = load(story, "KFDA").request_form
    assert find(form, "common:item.hs")[0].pointer == "42A/67A[1]/68A[2]/23A[1]/21A[1]/145"
    assert find(form, "ask:food_class")[0].pointer == "APP[2]/KFDA-FOOD-IMP/ITEM[2]/FoodClass[1]"
    assert [one.pointer.partition("ITEM[2]/")[2] for one in find(form, "ask:ingredient.name")] == [
        "Ingredient[1]/Name",
        "Ingredient[2]/Name",
        "Ingredient[3]/Name",
    ]


def test_only_what_the_mapping_gives_this_agency_is_asked_for_at_all(story):
    names = {field.name for field in load(story, "KPTA").request_form.list_fields()}
    assert "common:importer.name" in names
    assert "common:declarant.name" not in names, "this document does not forward it"


def test_files_are_those_of_the_call(story):
    (label,) = load(story, "KFDA").attachments
    assert (label.content, label.media_type) == (LABEL, "application/pdf")
    assert load(story, "NPQS").attachments == ()


def test_an_application_of_another_agency_is_not_there(story):
    number = story.request("KFDA").number
    with read_transaction(story.house.engine) as conn:
        assert load_application_form(story.hub, conn, "KPTA", number) is None
        assert load_application_form(story.hub, conn, "KFDA", "A99") is None


def test_a_summary_is_read_once_for_each_call(story):
    request = story.request("NPQS")
    with read_transaction(story.house.engine) as conn:
        assert refresh_summaries(story.hub, conn, [request.id]) == 1
    with read_transaction(story.house.engine) as conn:
        assert refresh_summaries(story.hub, conn, [request.id]) == 0
        summary = work_lists.find_summary(conn, request.id)
    assert (summary.applicant, summary.applicant_id) == ("주식회사 한빛무역", "1248612345")
    assert (summary.hs, summary.heading, summary.laws, summary.item_count) == ("0601101000", "0601", "12", 1)
    assert summary.goods.startswith("Tulip bulbs")


def test_a_request_of_mappings_that_are_gone_is_drawn_by_those_in_force(story):
    request = story.request("KFDA")
    with write_transaction(story.house.engine) as conn:
        envelope = payloads.get_payload_octets(conn, request.document_sha256)
        other = re.sub(rb"FoodClass>4<(/\w*:?)FoodClass>", rb"OldField>kept<\1OldField>", envelope)
        assert other != envelope
        values = {"document_sha256": payloads.store_payload(conn, other, story.clock())}
        changed = tables.agency_requests.update().where(tables.agency_requests.c.id == request.id)
        conn.execute(changed.values(mapping_sha256="0" * 64, **values))
    found = load(story, "KFDA")
    assert not found.current
    assert ("OldField", "kept") in found.request_form.others, "nothing that was sent is hidden"
    assert find(found.request_form, "common:importer.name")[0].values[0].text == "주식회사 한빛무역"


def test_a_call_without_its_document_is_a_problem_and_its_row_a_short_one(story):
    request = story.request("KFDA")
    with write_transaction(story.house.engine) as conn:
        empty = payloads.store_payload(conn, b"<a/>", story.clock())
        changed = tables.agency_requests.update().where(tables.agency_requests.c.id == request.id)
        conn.execute(changed.values(document_sha256=empty))
    with pytest.raises(GatewayError, match="GW402"):
        load(story, "KFDA")
    with read_transaction(story.house.engine) as conn:
        assert refresh_summaries(story.hub, conn, [request.id]) == 1
    with read_transaction(story.house.engine) as conn:
        assert work_lists.find_summary(conn, request.id).laws == "05"


def test_a_call_that_is_not_reached_now_has_its_summary_later(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An empty summary would be stored for good."""
    forget_summaries(story)
    first, second = story.request("KFDA"), story.request("NPQS")
    get_payload_octets = payloads.get_payload_octets

    def get_or_be_away(conn: Connection, digest: str) -> bytes:
        if digest == second.document_sha256:
            raise GatewayError(NO_ROOM, "the store of large payloads is not reached")
        return get_payload_octets(conn, digest)

    with monkeypatch.context() as patch:
        patch.setattr(payloads, "get_payload_octets", get_or_be_away)
        with pytest.raises(GatewayError, match="GW806"):
            refresh(story, first.id, second.id)
    assert find_goods(story, first.id).startswith("Caramel"), "what was read before is stored"
    assert find_goods(story, second.id) == ""
    assert refresh(story, first.id, second.id) == 1
    assert find_goods(story, second.id).startswith("Tulip bulbs")


def test_a_mistake_about_one_application_takes_no_other_from_the_lists(
    story: Story, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    forget_summaries(story)
    odd, other = story.request("KFDA"), story.request("NPQS")

    def break_one(mapping: DocumentMapping, *arguments: Any, **more: Any) -> RequestForm:
        if mapping.id == odd.document:
            raise KeyError("of another version")
        return draw_request(mapping, *arguments, **more)

    monkeypatch.setattr(application_forms, "draw_request", break_one)
    assert refresh(story, odd.id, other.id) == 1
    assert find_goods(story, other.id).startswith("Tulip bulbs")
    (logged,) = [record for record in caplog.records if "no summary" in record.message]
    assert (logged.partner, logged.case_id) == ("KFDA", story.case().id)


def test_a_file_that_is_no_base64_is_a_problem_of_its_call(story: Story) -> None:
    request = story.request("KFDA")
    with write_transaction(story.house.engine) as conn:
        envelope = payloads.get_payload_octets(conn, request.document_sha256)
        odd = re.sub(rb'(mediaType="application/pdf"[^>]*>)[^<]{8}', "\\g<1>파일".encode(), envelope)
        assert odd != envelope
        values = {"document_sha256": payloads.store_payload(conn, odd, story.clock())}
        changed = tables.agency_requests.update().where(tables.agency_requests.c.id == request.id)
        conn.execute(changed.values(**values))
    with pytest.raises(GatewayError, match="GW402 a file is not base64"):
        load(story, "KFDA")


def forget_summaries(story: Story) -> None:
    with write_transaction(story.house.engine) as conn:
        conn.exec_driver_sql("DELETE FROM application_summaries")


def refresh(story: Story, *requests: int) -> int:
    with read_transaction(story.house.engine) as conn:
        return refresh_summaries(story.hub, conn, requests)


def find_goods(story: Story, request: int) -> str:
    """Return the goods in the summary of a request; empty where it has none."""
    with read_transaction(story.house.engine) as conn:
        summary = work_lists.find_summary(conn, request)
    return "" if summary is None else summary.goods


def test_what_the_last_supplement_has_changed_is_marked_and_nothing_earlier(story: Story) -> None:
    name = text("Application[@id='A2']/Fields/Item/ProductNameKo", "카라멜 와플 320 g")
    food_class = text("Application[@id='A2']/Fields/Item/FoodClass", "1")
    marked = []
    for number, changes in enumerate(((name,), (name, food_class), (name, food_class))):
        story.hear("KFDA", asked(story, "KFDA", f"Q{number}"))
        story.tick()
        story.submit(story.submission(all_of(supplement, *changes)), action="Supplement")
        story.tick()
        fields = load(story, "KFDA").request_form.list_fields()
        marked.append([field.name for field in fields if field.changed])
    assert marked == [["ask:product_name_ko"], ["ask:food_class"], []]


def test_a_summary_that_cannot_be_stored_now_ends_no_delivery(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise GatewayError(NO_ROOM, "the bucket is away")

    monkeypatch.setattr("gateway.delivery.agents.partner_agent.refresh_summaries", refuse)
    story = ConsoleStory(engine)
    story.arrive()
    assert story.delivery(destination="KPTA").state == "DELIVERED"
    assert "no summary is stored yet: GW806 the bucket is away" in caplog.text
    assert "taken over" not in caplog.text
