"""A trader files by form: drafts, the form, checks at the fields, files, tables, signing, handing in."""

from __future__ import annotations

import io
import json
import re
from html import unescape
from typing import Any

import pytest
from lxml import etree
from markupsafe import escape
from sqlalchemy import update
from werkzeug.test import TestResponse

from gateway.harmonize import parse_form_values, read_form_values
from gateway.hub import inspect_submission
from gateway.store import (
    messages,
    parties,
    read_transaction,
    register_version,
    submission_drafts,
    write_transaction,
)
from gateway.web.console.filing import draft_pages
from gateway.wire import RECEIPT, parse_xml, serialize_element
from gateway.xmlsec import sign_document, verify_document
from tests.flows.craft import reference
from tests.kit import tables
from tests.kit.console import Browser, Console
from tests.kit.databases import BOTH
from tests.kit.house import bundle, signer_named
from tests.kit.paths import ROOT
from tests.kit.story import LABEL, Story

TRADER = ("party", "broker1")
FOOD = "KFDA-FOOD-IMP"
PLANT = "NPQS-PLA-IMP"
SAMPLE = ROOT / "conformance" / "submissions" / FOOD / "valid.xml"


@pytest.fixture
def trader(console: Console) -> Browser:
    console.add_account("kim", TRADER, "filer")
    browser = console.sign_in("kim")
    browser.get("/console/submissions")
    return browser


def begin(browser: Browser, *documents: str) -> str:
    """Begin a draft; return its path."""
    browser.get("/console/submissions/new")
    answer = browser.post("/console/submissions/new", document=list(documents))
    assert answer.status_code == 302, answer.text
    return answer.location


def version_of(page: TestResponse) -> str:
    found = re.search(r'name="version" value="(\d+)"', page.text)
    assert found is not None
    return found[1]


def send(browser: Browser, path: str, page: str | None = None, **fields: Any) -> TestResponse:
    """Send the form of a page as it was drawn; keys with signs come as `fields`' own dictionary."""
    shown = browser.get(path)
    assert shown.status_code == 200, shown.text
    values = {"version": version_of(shown), "act": "save"} | fields.pop("typed", {}) | fields
    return browser.post(page or path, **values)


def values_of(console: Console, path: str) -> Any:
    with read_transaction(console.services.engine) as conn:
        row = submission_drafts.find_draft(conn, "broker1", int(path.rpartition("/")[2]))
    assert row is not None
    return parse_form_values(row.content)


def fill(console: Console, browser: Browser, path: str, reference: str = "F-1") -> None:
    """Fill a draft of the food document with the values of the sample, page by page as one types them."""
    reading = read_form_values(bundle(), etree.fromstring(SAMPLE.read_bytes()))
    given = dict(reading.values.values) | {
        "h/declaration.reference": reference,
        "h/declarant.id": "6N001",
        "h/issued_at": "2026-11-20T09:00:00Z",
    }
    given.pop("h/agent.id", None)
    items = [key for key in given if key.startswith("a#1/i#2/ingredient#")]
    send(browser, f"{path}/items", act="add", concerns=["1|1"])
    rows = {int(key.split("#")[3].partition("/")[0]) for key in items}
    for _ in range(max(rows)):
        send(browser, f"{path}/items/2", act="add|a#1/i#2|ingredient")
    for group in ("container", "container"):
        send(browser, f"{path}/declaration", act=f"add|h|{group}")
    for number in (1, 2):
        send(browser, f"{path}/declaration", act=f"add|h/container#{number}|seal")
    send(browser, f"{path}/declaration", act="add|h|transport_document")
    for item in (1, 2):
        send(browser, f"{path}/items/{item}", act=f"add|i#{item}|package")
    label = {key: (io.BytesIO(LABEL), f"{key[-5:]}.pdf") for key in given if key.endswith("korean_label")}
    process = {"a#1/i#2/manufacturing_process": (io.BytesIO(LABEL + b"%"), "process.pdf")}
    texts = {key: text for key, text in given.items() if key not in label and key not in process}
    send(browser, f"{path}/declaration", typed={k: v for k, v in texts.items() if k.startswith("h/")})
    send(browser, f"{path}/documents/1")  # asks nothing for the whole application
    for item in ("1", "2"):
        mine = {k: v for k, v in (texts | label | process).items() if f"i#{item}/" in k}
        send(browser, f"{path}/items/{item}", typed=mine)


@BOTH
def test_a_trader_begins_a_draft_with_chosen_documents(console: Console, trader: Browser) -> None:
    page = trader.get("/console/submissions/new").text
    assert all(one in page for one in bundle().documents)
    path = begin(trader, FOOD, PLANT)
    shown = trader.get(path).text
    assert shown.count("Declaration") >= 1
    values = values_of(console, path)
    assert [(one.id, one.document, one.items) for one in values.applications] == [
        ("A1", FOOD, ("1",)),
        ("A2", PLANT, ("1",)),
    ]
    assert "Importer name" in trader.get(f"{path}/declaration").text
    assert trader.get(f"{path}/items/1").text.count('name="i#1/item.hs"') == 1
    assert path in trader.get("/console/submissions").text


def sign(browser: Browser, path: str, story: Story, signer: str = "broker1") -> bytes:
    """Download the submission of a draft, and return it signed."""
    content = browser.get(f"{path}/submission.xml").data
    return serialize_element(sign_document(parse_xml(content), signer_named(signer), now=story.clock()))


def hand_in(browser: Browser, path: str, content: bytes) -> TestResponse:
    browser.get(f"{path}/sign")
    return browser.post(f"{path}/sign", signed=(io.BytesIO(content), "signed.xml"))


@pytest.mark.story("a trader files a form and has a receipt")
def test_a_form_becomes_a_case_with_a_receipt(console: Console, trader: Browser, story: Story) -> None:
    path = begin(trader, FOOD)
    fill(console, trader, path)
    overview = trader.get(f"{path}?check=1").text
    assert "not right yet" not in overview, re.findall(r"<li>.*?</li>", overview, re.DOTALL)[:20]
    page = trader.get(f"{path}/sign").text
    fingerprint = re.search(r"[0-9a-f]{64}", page)
    assert fingerprint is not None
    answer = hand_in(trader, path, sign(trader, path, story))
    assert answer.status_code == 302, answer.text
    receipt = trader.get(f"{path}/receipt.xml")
    document = parse_xml(receipt.data)
    assert verify_document(document).certificate == signer_named("hub").certificate
    assert document.findtext(f"{{{RECEIPT}}}Channel") == "console"
    assert "The case is being opened" in trader.get(path).text
    story.tick()
    case = story.case()
    assert (case.state, case.applicant, case.functional_reference) == ("IN_PROGRESS", "broker1", "F-1")
    assert f'href="/console/cases/{case.number}"' in trader.get(path).text
    with read_transaction(console.services.engine) as conn:
        row = messages.find_by_id(conn, case.message)
        sent = messages.load_payloads(conn, case.message)
    assert row is not None
    assert row.protocol == "console"
    assert [one.content for one in sent[1:]] == [LABEL, LABEL, LABEL + b"%"]
    told = evidence_of(console, case.message)
    assert (told["channel"], told["party"], told["way"]["account"]) == ("console", "broker1", "kim")
    assert trader.post(f"{path}/declaration", version="1", act="save").status_code == 409
    assert hand_in(trader, path, b"x").location == path


def evidence_of(console: Console, message: int) -> dict[str, Any]:
    from gateway.evidence import list_subject_leaves

    with read_transaction(console.services.engine) as conn:
        leaves = list_subject_leaves(conn, "message", message)
    found: dict[str, Any] = json.loads(next(leaf.data for leaf in leaves if leaf.kind == "filed"))
    return found


def test_a_draft_of_another_organisation_is_not_there(console: Console, trader: Browser) -> None:
    path = begin(trader, FOOD)
    console.add_account("lee", ("party", "other"), "filer")
    other = console.enter("lee")
    for page in ("", "/declaration", "/items", "/items/1", "/sign", "/submission.xml", "/items.csv"):
        assert other.get(path + page).status_code == 404, page
    for page in ("/declaration", "/items", "/items/import", "/sign", "/delete", "/copy"):
        assert other.post(path + page, version="1", act="save").status_code == 404, page
    assert FOOD not in other.get("/console/submissions").text
    assert values_of(console, path).documents == (FOOD,)


def test_errors_stand_at_their_fields_with_their_labels(trader: Browser) -> None:
    path = begin(trader, FOOD)
    page = trader.get(f"{path}/items/1?check=1").text
    where = page.index('name="a#1/i#1/food_class"')
    assert "This is required." in page[where - 400 : where]
    assert re.search(r'<a href="#f-[^"]+">Food class</a>: This is required\.', page)
    summary = trader.get(f"{path}?check=1").text
    assert "Goods item 1: Food class" in summary
    links = re.findall(r'<a href="(/console/submissions/\d+/[^"#]*)[^"]*">', summary)
    assert len(links) > 30
    for link in set(links):
        assert trader.get(unescape(link)).status_code == 200


def test_a_document_of_the_other_direction_is_named_by_its_title(trader: Browser) -> None:
    path = begin(trader, FOOD)
    send(trader, f"{path}/declaration", typed={"h/declaration.type": "EXA"})
    for language, title in (("en", "Import declaration for food items, etc."), ("ko", "식품등의 수입신고서")):
        trader.post("/console/language", language=language, next=path)
        summary = trader.get(f"{path}?check=1").text
        words = f"{FOOD} is for import (수입), and the declaration is for export (수출)"
        assert f'/items">{FOOD}: {title}</a>: ' in summary
        assert words in summary
    send(trader, f"{path}/declaration", typed={"h/declaration.type": "IMA"})
    assert "is for import" not in trader.get(f"{path}?check=1").text


def test_what_was_typed_is_kept_also_where_it_is_wrong(console: Console, trader: Browser) -> None:
    path = begin(trader, FOOD)
    markup = "<script>alert(1)</script>"
    wrong = {"h/importer.name": markup, "h/gross_mass": "many", "h/gross_mass@": "???"}
    assert send(trader, f"{path}/declaration", typed=wrong, act="check").status_code == 302
    page = trader.get(f"{path}/declaration?check=1").text
    assert markup not in page
    assert 'value="many"' in page
    kept = values_of(console, path).values
    assert (kept["h/importer.name"], kept["h/gross_mass@"]) == (markup, "???")
    odd = {"h/importer.name": "a\x0b\ud7ff\ufffe名\r\nb", "h/not.a.field": "1", "i#9/item.hs": "1"}
    send(trader, f"{path}/declaration", typed=odd)
    kept = values_of(console, path).values
    assert kept["h/importer.name"] == "a\ud7ff名\nb"
    assert "h/not.a.field" not in kept
    assert "i#9/item.hs" not in kept


@pytest.mark.parametrize("language", ["en", "ko"])
def test_a_value_in_the_sentence_of_an_error_is_text(trader: Browser, language: str) -> None:
    """It is neither markup nor a format: the sentence has been translated before the value is part of it."""
    path = begin(trader, FOOD)
    trader.post("/console/language", language=language, next=path)
    for typed in ("<i>many</i>", "5% of many", "%(many)s"):
        send(trader, f"{path}/declaration", typed={"h/declaration.type": typed})
        checked = trader.get(f"{path}/declaration?check=1")
        assert checked.status_code == 200, typed
        assert "<i>many" not in checked.text
        beside = checked.text[: checked.text.index('name="h/declaration.type"')].rpartition("<label")[2]
        assert language == "ko" or escape(f"'{typed}' is not allowed") in beside


def test_an_overlong_text_is_refused_and_not_cut(console: Console, trader: Browser) -> None:
    path = begin(trader, FOOD)
    send(trader, f"{path}/declaration", typed={"h/importer.name": "before"})
    answer = send(trader, f"{path}/declaration", typed={"h/importer.name": "x" * 20_001})
    assert answer.status_code == 422
    assert "A text is longer than 20,000 characters. Nothing was saved." in answer.text
    assert values_of(console, path).values["h/importer.name"] == "before"


def test_two_pages_do_not_overwrite_each_other(console: Console, trader: Browser) -> None:
    path = begin(trader, FOOD)
    first = version_of(trader.get(f"{path}/declaration"))
    send(trader, f"{path}/declaration", typed={"h/importer.name": "one"})
    late = {"h/importer.name": "two", "version": first, "act": "save"}
    answer = trader.post(f"{path}/declaration", **late)
    assert answer.status_code == 409
    assert 'value="two"' in answer.text
    assert values_of(console, path).values["h/importer.name"] == "one"


def test_items_are_added_concerned_and_removed(console: Console, trader: Browser) -> None:
    path = begin(trader, FOOD, PLANT)
    send(trader, f"{path}/items/1", typed={"i#1/item.hs": "111111"})
    answer = send(trader, f"{path}/items", act="add", concerns=["1|1"])
    assert answer.location == f"{path}/items/2"
    send(trader, f"{path}/items/2", typed={"i#2/item.hs": "222222", "a#1/i#2/gmo": "N"})
    send(trader, f"{path}/items", concerns=["1|1", "1|2"])
    assert [one.items for one in values_of(console, path).applications] == [("1", "2"), ()]
    assert "concerns no goods item" in trader.get(f"{path}?check=1").text
    send(trader, f"{path}/items", act="remove|1", concerns=["1|1", "1|2"])
    values = values_of(console, path)
    assert values.items == ("1",)
    assert (values.values["i#1/item.hs"], values.values["a#1/i#1/gmo"]) == ("222222", "N")


def test_a_group_is_repeated_by_buttons(console: Console, trader: Browser) -> None:
    path = begin(trader, FOOD)
    page = f"{path}/items/1"
    typed = {"a#1/i#1/gmo": "N"}
    for _ in range(3):
        send(trader, page, typed=typed, act="add|a#1/i#1|ingredient")
    names = [f"a#1/i#1/ingredient#{n}/ingredient.name" for n in (1, 2, 3)]
    assert all(f'name="{name}"' in trader.get(page).text for name in names)
    send(trader, page, typed=dict(zip(names, ("a", "b", "c"), strict=True)))
    send(trader, page, act="remove|a#1/i#1|ingredient|2")
    kept = values_of(console, path).values
    assert (kept["a#1/i#1/gmo"], kept[names[0]], kept[names[1]]) == ("N", "a", "c")
    assert names[2] not in kept
    send(trader, page, act="add|a#1/i#1|food_class")
    send(trader, page, act="remove|h|container|1")
    assert values_of(console, path).values == kept


def test_files_are_kept_with_their_digest_and_never_shown(console: Console, trader: Browser) -> None:
    path = begin(trader, FOOD)
    key = "a#1/i#1/korean_label"
    hostile = b"<html><script>alert(1)</script>"
    send(trader, f"{path}/items/1", typed={key: (io.BytesIO(hostile), '../"<b>.html')})
    page = trader.get(f"{path}/items/1").text
    assert "<b>.html" not in page
    link = re.search(rf"{path}/files/\d+", page)
    assert link is not None
    answer = trader.get(link[0])
    assert (answer.data, answer.mimetype) == (hostile, "application/octet-stream")
    assert answer.headers["Content-Disposition"].startswith("attachment")
    assert "sandbox" in answer.headers["Content-Security-Policy"]
    send(trader, f"{path}/items/1", typed={key: (io.BytesIO(LABEL), "label.pdf")})
    (one,) = values_of(console, path).attachments
    assert (one.media_type, one.size, one.kind) == ("application/pdf", len(LABEL), "KoreanLabel")
    assert one.sha256 in trader.get(f"{path}/items/1").text
    assert trader.get(link[0]).data != hostile
    send(trader, f"{path}/items/1", typed={f"remove:{key}": "1"})
    assert values_of(console, path).attachments == ()


def test_limits_are_told_in_words(console: Console, trader: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    service = "gateway.web.console.filing.draft_service."
    path = begin(trader, FOOD)
    monkeypatch.setattr(f"{service}LARGEST_FILE", 10)
    big = {"a#1/i#1/korean_label": (io.BytesIO(LABEL), "label.pdf")}
    answer = send(trader, f"{path}/items/1", typed=big)
    assert (answer.status_code, "The file is too large." in answer.text) == (422, True)
    monkeypatch.setattr(f"{service}_LARGEST_CONTENT", 300)
    answer = send(trader, f"{path}/declaration", typed={"h/importer.name": "x" * 70})
    assert (answer.status_code, "The draft is too large." in answer.text) == (422, True)
    monkeypatch.setattr(f"{service}_LARGEST_CONTENT", 10**6)
    monkeypatch.setattr(f"{service}MOST_DRAFTS", 1)
    answer = trader.post("/console/submissions/new", document=[FOOD])
    assert (answer.status_code, "too many drafts" in answer.text) == (422, True)
    for chosen in ([], ["NONE"], [FOOD, "KFDA-NARC-EXP"]):
        assert trader.post("/console/submissions/new", document=chosen).status_code == 422
    copied = trader.post(f"{path}/copy")
    assert (copied.status_code, "too many drafts" in copied.text) == (422, True)


def test_a_submission_that_the_form_cannot_hold_is_not_copied(
    console: Console, trader: Browser, story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was stored and refused; a draft of it could be neither opened nor deleted."""

    def change_number(root: Any) -> None:
        root.find(".//{*}GovernmentAgencyGoodsItem/{*}SequenceNumeric").text = "A1"

    story.submit(story.submission(change_number))
    story.tick()
    (message,) = re.findall(r"earlier/(\d+)", trader.get("/console/submissions/earlier").text)
    answer = trader.post(f"/console/submissions/earlier/{message}")
    assert (answer.status_code, "The form cannot hold this submission: items" in answer.text) == (422, True)
    assert "There is no draft yet." in trader.get("/console/submissions").text

    story.submit()
    story.tick()
    _, good = sorted(map(int, re.findall(r"earlier/(\d+)", trader.get("/console/submissions/earlier").text)))
    for limit in ("MOST_DRAFTS", "MOST_FILES"):
        with monkeypatch.context() as patch:
            patch.setattr(f"gateway.web.console.filing.draft_service.{limit}", 0)
            assert trader.post(f"/console/submissions/earlier/{good}").status_code == 422
    assert "There is no draft yet." in trader.get("/console/submissions").text


def test_a_draft_that_cannot_be_read_is_deleted(console: Console, trader: Browser) -> None:
    path = begin(trader, FOOD)
    with write_transaction(console.services.engine, "test") as conn:
        conn.execute(update(tables.submission_drafts).values(content='{"items": ["A1"]}'))
    assert trader.get(path).status_code == 422
    assert trader.post(f"{path}/delete").location == "/console/submissions"
    assert trader.post(f"{path}/delete").status_code == 404


def test_the_list_has_every_draft_as_csv(
    console: Console, trader: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.web.console.filing.filing_pages._ROWS", 2)
    paths = [begin(trader, FOOD) for _ in range(5)]
    rows = trader.get("/console/submissions?format=csv").text.splitlines()[1:]
    assert [int(row.partition(",")[0]) for row in rows] == [
        int(path.rpartition("/")[2]) for path in reversed(paths)
    ]


def test_a_table_adds_items_or_names_every_fault(console: Console, trader: Browser) -> None:
    path = begin(trader, FOOD)
    template = trader.get(f"{path}/items.csv")
    assert template.headers["Content-Disposition"].startswith("attachment")
    names = template.text.lstrip("\ufeff").splitlines()[0].split(",")
    assert "item.hs" in names
    good = f"item.hs,{FOOD}/gmo\n0303540000,N\n1604201000,Y\n".encode()
    answer = send(trader, f"{path}/items", f"{path}/items/import", table=(io.BytesIO(good), "items.csv"))
    assert answer.status_code == 302, answer.text
    assert values_of(console, path).items == ("1", "2", "3")
    bad = b"item.hs,item.net_mass,=cmd\n1,many,x\n"
    answer = send(trader, f"{path}/items", f"{path}/items/import", table=(io.BytesIO(bad), "items.csv"))
    assert answer.status_code == 422
    assert "Line 1" in answer.text
    assert "The form has no such column." in answer.text
    assert len(values_of(console, path).items) == 3
    page, target = f"{path}/items", f"{path}/items/import"
    for upload, words in (
        (b"item.hs,,\n1,,x\n", ("Line 2", "<code>3</code>", "does not name its column", "&#39;x&#39;")),
        (b'item.hs\n"1', ("Line 2", "This is no row of a CSV table.", "unexpected end of data")),
    ):
        answer = send(
            trader, f"{path}/items", f"{path}/items/import", table=(io.BytesIO(upload), "items.csv")
        )
        assert (answer.status_code, [one for one in words if one not in answer.text]) == (422, [])
    upload = b"item.description,item.hs\n# note,\n#8 bolts,7318150000\n"
    answer = send(trader, page, target, table=(io.BytesIO(upload), "items.csv"))
    page = trader.get(answer.location).text
    assert "Goods items added: 1." in page
    assert "comments, because they begin with #: 2." in page


TABLE_FAULTS = {
    b"item.hs\n\xff\xff\n": ("The file is not a text in UTF-8 or CP949.", "0xff"),
    b"item.hs,item.hs\n1,2\n": ("This column occurs twice.", "<code>item.hs</code>"),
    b"item.hs\n" + b"1\n" * 1000: ("There would be more than 999 goods items.", "Line 1"),
    b"documents,item.hs\nNOPE,1\n": ("The draft has no such document.", "NOPE"),
    b"item.hs,item.net_mass\n1,many\n": ("This value is not possible.", "&#39;many&#39; is not a number"),
}


def test_each_fault_of_a_table_has_its_sentence(trader: Browser) -> None:
    path = begin(trader, FOOD)
    for upload, sentences in TABLE_FAULTS.items():
        table = (io.BytesIO(upload), "items.csv")
        answer = send(trader, f"{path}/items", f"{path}/items/import", table=table)
        missing = [sentence for sentence in sentences if sentence not in answer.text]
        assert (answer.status_code, missing) == (422, []), upload[:30]


def test_a_draft_without_goods_says_so(trader: Browser) -> None:
    path = begin(trader, FOOD)
    send(trader, f"{path}/items", act="remove|1")
    assert "<p>There is no goods item.</p>" in trader.get(f"{path}/items").text
    overview = trader.get(f"{path}?check=1").text
    assert f'<a href="{path}/items">Goods items</a> <span class="state bad">✕ 0</span>' in overview
    assert "There is no goods item." in overview


def test_a_page_without_an_error_says_so_and_warns(console: Console, trader: Browser) -> None:
    path = begin(trader, FOOD)
    fill(console, trader, path)
    page = trader.get(f"{path}/items/1?check=1").text
    assert "Nothing wrong was found on this page." in page
    assert '<span class="state warn">warning</span> item 1 (0303540000) needs NFPQIS-FOOD-IMP' in page


@pytest.mark.refusal("a trader hands in another document than was judged, or another's signature")
def test_another_document_or_signer_is_not_taken(console: Console, trader: Browser, story: Story) -> None:
    path = begin(trader, FOOD)
    fill(console, trader, path)
    good = sign(trader, path, story)
    unsigned = trader.get(f"{path}/submission.xml").data
    changed = sign_document(
        parse_xml(unsigned.replace(b"F-1", b"F-2")), signer_named("broker1"), now=story.clock()
    )
    for content, words in (
        (b"no xml", "GW"),
        (unsigned, "has no signature"),
        (serialize_element(changed), "another document than the draft"),
        (good.replace(b"DigestValue>", b"DigestValue>A", 1), "GW"),
        (sign(trader, path, story, "stranger"), "GW205"),
    ):
        answer = hand_in(trader, path, content)
        assert answer.status_code == 422, content[:40]
        assert words in answer.text, answer.text[-3000:]
    with read_transaction(console.services.engine) as conn:
        assert not messages.list_messages(conn)
    send(trader, f"{path}/declaration", typed={"h/importer.name": "another one"})
    assert "another document than the draft" in hand_in(trader, path, good).text


def test_a_suspended_party_hands_nothing_in(console: Console, trader: Browser, story: Story) -> None:
    path = begin(trader, FOOD)
    fill(console, trader, path)
    content = sign(trader, path, story)
    with write_transaction(console.services.engine, "test") as conn:
        parties.set_party_status(conn, "broker1", "SUSPENDED")
    answer = hand_in(trader, path, content)
    assert answer.status_code in (422, 302)
    with read_transaction(console.services.engine) as conn:
        assert not messages.list_messages(conn)


def test_a_draft_becomes_one_message_also_where_the_answer_was_lost(
    console: Console, trader: Browser, story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = begin(trader, FOOD)
    fill(console, trader, path)
    content = sign(trader, path, story)
    place = "gateway.web.console.filing.draft_pages.submission_drafts.mark_handed_in"
    with monkeypatch.context() as patched:
        patched.setattr(place, lambda *_: 1 / 0)
        assert hand_in(trader, path, content).status_code == 503
    assert trader.get(f"{path}/sign").location == path
    assert "Handed in" in trader.get(path).text
    assert hand_in(trader, path, content).location == path
    with read_transaction(console.services.engine) as conn:
        assert len(messages.list_messages(conn, direction="in")) == 1


def test_copies_of_drafts_and_of_earlier_submissions(console: Console, trader: Browser, story: Story) -> None:
    story.submit()
    story.tick()
    path = begin(trader, FOOD)
    send(trader, f"{path}/items/1", typed={"a#1/i#1/korean_label": (io.BytesIO(LABEL), "label.pdf")})
    copied = trader.post(f"{path}/copy").location
    assert values_of(console, copied).attachments == values_of(console, path).attachments
    assert "label.pdf" in trader.get(f"{copied}/items/1").text
    page = trader.get("/console/submissions/earlier").text
    (message,) = re.findall(r"/console/submissions/earlier/(\d+)", page)
    case = story.case()
    assert case.functional_reference in page
    assert f"/console/cases/{case.number}" in page
    again = trader.post(f"/console/submissions/earlier/{message}").location
    values = values_of(console, again)
    assert len(values.applications) == 3
    assert "h/declaration.reference" not in values.values
    assert "Caramel wafers" in trader.get(f"{again}/items/2").text
    with read_transaction(console.services.engine) as conn:
        (file,) = submission_drafts.list_files(conn, int(again.rpartition("/")[2]))
    assert file.sha256 == values.attachments[0].sha256
    typed = {"h/declaration.reference": "OWN-2026-009"}
    assert send(trader, f"{again}/declaration", typed=typed).status_code == 302
    overview = trader.get(f"{again}?check=1").text
    assert "not right yet" not in overview, re.findall(r"<li>.*?</li>", overview, re.DOTALL)[:20]
    assert hand_in(trader, again, sign(trader, again, story)).location == again
    assert trader.post("/console/submissions/earlier/999").status_code == 404
    assert trader.post(f"{path}/delete").location == "/console/submissions"
    assert trader.get(path).status_code == 404


def test_the_pages_speak_korean(trader: Browser) -> None:
    path = begin(trader, FOOD)
    trader.post("/console/language", language="ko", next=path)
    page = trader.get(f"{path}/declaration?check=1").text
    assert "수입자 상호" in page
    assert "필수 입력 항목입니다." in page
    assert "This is required." not in page
    assert "식품등의 수입신고서" in trader.get("/console/submissions/new").text


def test_long_lists_go_on_and_lead_to_practice(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.web.console.filing.filing_pages._ROWS", 1)
    console = Console(story.house.hub, console={"practice_url": "https://practice.example/console/"})
    console.add_account("kim", TRADER, "filer")
    trader = console.enter("kim")
    for own_reference in ("HB-1", "HB-2"):
        story.submit(story.submission(reference(own_reference)))
        story.tick()
        begin(trader, FOOD)
    for page in ("/console/submissions", "/console/submissions/earlier"):
        first = trader.get(page).text
        next_page = re.search(r'<a href="(\?after=\d+)">Older</a>', first)
        assert next_page is not None
        assert "Older" not in trader.get(page + next_page[1]).text
    practice = '<a class="button" href="https://practice.example/console/">Practise first</a>'
    assert practice in trader.get("/console/submissions").text


def test_practice_is_marked_on_every_page(story: Story) -> None:
    console = Console(story.house.hub, console={"practice": True, "real_url": "https://hub.example/console/"})
    console.add_account("kim", TRADER, "filer")
    trader = console.enter("kim")
    path = begin(trader, FOOD)
    for page in ("/console/account", "/console/submissions", path, f"{path}/declaration", f"{path}/items"):
        shown = trader.get(page).text
        assert "agencies are simulated" in shown
        assert 'href="https://hub.example/console/"' in shown


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The submissions that were judged for pages of drafts."""
    submissions: list[bytes] = []

    def count(content: bytes, *rest: Any) -> Any:
        submissions.append(content)
        return inspect_submission(content, *rest)

    monkeypatch.setattr(draft_pages, "inspect_submission", count)
    return submissions


def test_a_judgement_is_of_the_party_whose_draft_it_is(
    console: Console, trader: Browser, judged: list[bytes]
) -> None:
    """SQLite gives the number of a deleted draft to the next one, whoever makes that."""
    console.add_account("choi", ("party", "broker2"), "filer")
    path = begin(trader, FOOD)
    trader.get(path)
    trader.post(f"{path}/delete")
    other = console.sign_in("choi")
    mine = begin(other, FOOD)
    assert console.services.engine.dialect.name != "sqlite" or mine == path
    other.get(mine)
    assert len(judged) == 2


def test_a_draft_that_has_not_changed_is_judged_once(
    console: Console, trader: Browser, story: Story, judged: list[bytes]
) -> None:
    path = begin(trader, FOOD)
    for address in (path, f"{path}?check=1", f"{path}/declaration?check=1", f"{path}/sign"):
        assert trader.get(address).status_code == 200
    trader.get(f"{path}/submission.xml")
    assert len(judged) == 1
    send(trader, f"{path}/declaration", typed={"h/importer.name": "Kim"})
    assert "Kim" in trader.get(f"{path}/declaration?check=1").text
    assert len(judged) == 2
    trader.post("/console/language", language="ko")
    trader.get(path)
    assert len(judged) == 3
    with write_transaction(console.services.engine) as conn:
        register_version.increment_register_version(conn)
    trader.get(path)
    assert len(judged) == 4
    story.clock.forward(minutes=2)
    trader.get(path)
    assert len(judged) == 5
