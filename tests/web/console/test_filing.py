"""A trader files by form: drafts, the form, checks at the fields, files, tables, signing, handing in."""

from __future__ import annotations

import io
import json
import re
from typing import Any

import pytest
from lxml import etree
from werkzeug.test import TestResponse

from gateway.harmonize.forms.form_values import parse_form_values
from gateway.harmonize.forms.submission_reader import read_form_values
from gateway.store import messages, read_transaction, submission_drafts
from gateway.wire.namespaces import RECEIPT
from gateway.wire.xml import parse_xml, serialize_element
from gateway.xmlsec.xades import sign_document, verify_document
from tests.kit.console import Browser, Console
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
    from gateway.evidence.evidence_log import list_subject_leaves

    with read_transaction(console.services.engine) as conn:
        leaves = list_subject_leaves(conn, "message", message)
    found: dict[str, Any] = json.loads(next(leaf.data for leaf in leaves if leaf.kind == "filed"))
    return found
