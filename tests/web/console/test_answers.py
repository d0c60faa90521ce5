"""A trader answers an agency by form: the supplement is signed outside, taken back, and passed on."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from lxml import etree
from sqlalchemy import Engine, insert, select

from gateway.errors import DOCUMENT_INVALID, GatewayError
from gateway.pki import KeySigner
from gateway.store import write_transaction
from gateway.store.case_answers import case_answers
from gateway.web.console.following.answer_service import AnswerBase, read_answer_base
from gateway.xmlsec import sign_document
from tests.flows.craft import all_of, supplement, text
from tests.kit.console import Browser, Console
from tests.kit.databases import BOTH
from tests.kit.house import signer_named
from tests.kit.story import Story, asked
from tests.web.console.test_following import submit_for_trader

EXPIRY = "APP[2]/KFDA-FOOD-IMP/ITEM[2]/ExpiryDate"
KEY = "a#1/i#2/expiry_date"
PDF = b"%PDF-1.4 certificate"


@pytest.fixture
def story(engine: Engine) -> Story:
    story = Story(engine)
    story.submit()
    story.tick()
    question = asked(
        story, "KFDA", "Q1", pointers=(EXPIRY, "42A/99Z"), deadline=story.clock() + timedelta(days=3)
    )
    story.hear("KFDA", question)
    return story


@pytest.fixture
def broker(console: Console) -> Browser:
    console.add_account("han", ("party", "broker1"), "filer")
    return console.sign_in("han")


def find_form(story: Story) -> str:
    return f"/console/cases/{story.case().number}/answers/{story.number_of('KFDA')}"


def post(browser: Browser, path: str, **fields: object) -> object:
    headers = {"Sec-Fetch-Site": "same-origin"}
    data = {"form_token": browser.token} | fields
    return browser.client.post(path, data=data, headers=headers, content_type="multipart/form-data")


def sign(content: bytes, story: Story, signer: KeySigner | None = None) -> bytes:
    root = sign_document(etree.fromstring(content), signer or signer_named("broker1"), now=story.clock())
    return etree.tostring(root)


def prepare(story: Story, broker: Browser, **fields: object) -> str:
    form = find_form(story)
    broker.get(form)
    made = post(broker, form, **(fields or {KEY: "2028-01-31", "files": (io.BytesIO(PDF), "원산지.pdf")}))
    assert made.status_code == 303, made.text
    return str(made.location)


@BOTH
def test_the_form_has_what_the_agency_points_at(story: Story, broker: Browser) -> None:
    page = broker.get(f"/console/cases/{story.case().number}").text
    assert f'href="{find_form(story)}"' in page
    page = broker.get(find_form(story)).text
    assert re.search(rf'<input type="date" [^>]*name="{re.escape(KEY)}"[^>]* value="2027-10-01">', page)
    assert "42A/99Z" in page
    assert "food_class" not in page
    assert "food_class" in broker.get(find_form(story) + "?all=1").text


@pytest.mark.parametrize(
    ("food_class", "shown_day"), [("4", "2028-02-01"), ("no class", "2027-10-01")], ids=["taken", "refused"]
)
def test_the_form_begins_with_the_values_of_the_last_supplement_that_was_taken(
    story: Story, broker: Browser, food_class: str, shown_day: str
) -> None:
    form, fields = find_form(story), "Application[@id='A2']/Fields/Item"
    changes = (text(f"{fields}/ExpiryDate", "2028-02-01"), text(f"{fields}/FoodClass", food_class))
    story.submit(story.submission(all_of(supplement, *changes)), action="Supplement")
    story.tick()
    story.hear("KFDA", asked(story, "KFDA", "Q2", pointers=(EXPIRY,)))
    page = broker.get(form).text
    assert re.findall(rf'name="{re.escape(KEY)}"[^>]* value="([^"]*)"', page) == [shown_day]


@pytest.mark.story("a trader answers an agency's question")
def test_an_answer_is_signed_outside_and_reaches_the_agency(story: Story, broker: Browser) -> None:
    place = prepare(story, broker)
    page = broker.get(place).text
    unsigned = broker.get(f"{place}/document")
    assert unsigned.headers["Content-Disposition"].startswith("attachment")
    root = etree.fromstring(unsigned.data)
    assert root.findtext("{*}Function") == "35"
    assert "gateway sign" in page
    assert broker.get(f"{place}/receipt").status_code == 404
    signed = sign(unsigned.data, story)
    done = post(broker, place, signed=(io.BytesIO(signed), "signed.xml"))
    assert done.status_code == 303
    assert "is being read" in broker.get(place).text
    assert b"Receipt" in broker.get(f"{place}/receipt").data
    calls = len(story.soap.calls)
    story.tick()
    assert "was accepted" in broker.get(place).text
    told = [call for call in story.soap.calls[calls:] if call.destination == "KFDA"]
    assert told
    assert "2028-01-31" in etree.tostring(told[0].body, encoding="unicode")
    assert story.request("KFDA").state in {"SENT", "ACKNOWLEDGED"}
    again = post(broker, place, signed=(io.BytesIO(signed), "signed.xml"))
    assert again.status_code == 303
    page = broker.get(f"/console/cases/{story.case().number}").text
    assert "Answer to a question" in page
    story.decide_all()
    story.tick()
    assert broker.get(find_form(story)).status_code == 409


def test_an_answer_that_was_handed_in_too_late_is_followed(
    story: Story, console: Console, broker: Browser
) -> None:
    """The agencies decide before it is read: it becomes a case of its own, which is refused."""
    place = prepare(story, broker)
    broker.get(place)
    signed = sign(broker.get(f"{place}/document").data, story)
    assert post(broker, place, signed=(io.BytesIO(signed), "signed.xml")).status_code == 303
    answered = story.case().number
    story.clock.forward(days=4)
    broker = console.enter("han")
    form = broker.get(find_form(story)).text
    assert form.count("The deadline has passed") == 1
    assert "handed in <time" in form
    story.decide_all()
    story.tick()
    refused = story.case().number
    assert refused != answered
    page = broker.get(place).text
    assert f'What was found: <a href="/console/cases/{refused}">Case {refused}</a>' in page


def test_what_no_form_can_hold_is_said(
    story: Story, broker: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    form, broken = find_form(story), GatewayError(DOCUMENT_INVALID, "no <root> element", "document")
    base = "gateway.web.console.following.answer_pages.read_answer_base"

    def lose(*arguments: Any, **more: Any) -> AnswerBase:
        read = read_answer_base(*arguments, **more)
        assert read is not None
        return replace(read, answer_form=replace(read.answer_form, lost=("42A/67A[9]",)))

    monkeypatch.setattr(base, lose)
    page = broker.get(form).text
    assert "An answer by form would leave them out:" in page
    assert "<li><code>42A/67A[9]</code></li>" in page
    monkeypatch.setattr(base, Mock(side_effect=broken))
    for language, title in (("en", ""), ("ko", "문서")):
        broker.post("/console/language", language=language)
        page = broker.get(form)
        assert page.status_code == 409
        assert f'<span class="number">{DOCUMENT_INVALID.id}</span> {title}' in page.text
        assert '<span lang="en">no &lt;root&gt; element</span>' in page.text


@pytest.mark.refusal("a trader returns another answer than was prepared")
def test_only_the_same_document_well_signed_is_taken_back(story: Story, broker: Browser) -> None:
    place = prepare(story, broker)
    broker.get(place)
    unsigned = broker.get(f"{place}/document").data
    changed = unsigned.replace(b"2028-01-31", b"2029-01-31")
    tampered = sign(unsigned, story).replace(b"2028-01-31", b"2029-01-31")
    for content, words in (
        (b"", "Choose the signed file."),
        (b"<broken", "GW"),
        (unsigned, "The file has no signature."),
        (sign(changed, story), "This is not the document that was prepared here."),
        (tampered, "This is not the document that was prepared here."),
        (sign(unsigned, story, signer_named("stranger")), "GW"),
    ):
        refused = post(broker, place, signed=(io.BytesIO(content), "signed.xml"))
        assert refused.status_code == 422, words
        assert words in refused.text
    assert "Handed in" not in broker.get(place).text


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({KEY: "2027-10-01"}, "Nothing was changed"),
        ({KEY: "31.1.2028"}, 'aria-invalid="true"'),
        ({KEY: ""}, 'aria-invalid="true"'),
        ({KEY: "2028-01-31", "empty": "empty.pdf"}, "A file is empty."),
    ],
)
def test_an_error_is_told_at_the_field(
    story: Story, broker: Browser, fields: dict[str, object], words: str
) -> None:
    form = find_form(story)
    broker.get(form)
    given = {name: value for name, value in fields.items() if name != "empty"}
    files = {"files": (io.BytesIO(b""), fields["empty"])} if "empty" in fields else {}
    answer = post(broker, form, **given, **files)
    assert answer.status_code == 422
    assert words in answer.text
    assert 'role="alert"' in answer.text


def test_an_answer_is_of_who_may_file_and_of_nobody_else(
    story: Story, console: Console, broker: Browser
) -> None:
    place = prepare(story, broker)
    story.register("other", "9X999")
    console.add_account("lee", ("party", "other"), "manager")
    console.add_account("viv", ("party", "broker1"), "viewer")
    stranger, viewer = console.sign_in("lee"), console.sign_in("viv")
    for path in (find_form(story), place, f"{place}/document", f"{place}/receipt"):
        assert stranger.get(path).status_code == 404
        assert viewer.get(path).status_code == 403
    assert broker.get(f"/console/cases/{story.case().number}/answers/AP26X/1").status_code == 404
    assert broker.get(f"{find_form(story)}/999").status_code == 404
    assert "Answer</a>" not in viewer.get(f"/console/cases/{story.case().number}").text


def test_a_question_is_answered_in_the_case_of_its_application_alone(
    story: Story, console: Console, broker: Browser
) -> None:
    answerable = find_form(story)
    assert broker.get(answerable).status_code == 200
    case = submit_for_trader(story)
    console.add_account("kwon", ("party", "trader"), "filer")
    trader = console.enter("kwon")
    form = f"/console/cases/{case.number}/answers/{Path(answerable).name}"
    assert trader.get(f"/console/cases/{case.number}").status_code == 200
    assert trader.get(form).status_code == 404
    assert post(trader, form, **{KEY: "2028-01-31"}).status_code == 404


def test_few_answers_about_an_application_are_prepared_in_a_day(
    story: Story, console: Console, broker: Browser
) -> None:
    place = prepare(story, broker)
    with write_transaction(story.house.engine) as conn:
        row = conn.execute(select(case_answers)).one()._asdict()
        for _ in range(19):
            conn.execute(insert(case_answers).values({name: row[name] for name in row if name != "id"}))
    form = find_form(story)
    refused = post(broker, form, **{KEY: "2028-01-31"})
    assert (refused.status_code, "20 answers" in refused.text) == (422, True), refused.text
    assert broker.get(place).status_code == 200
    story.clock.forward(days=1, minutes=1)
    prepare(story, console.enter("han"), **{KEY: "2028-01-31"})
