"""Cases through the API: filed, followed to the result, and seen by their parties alone."""

from __future__ import annotations

import base64
import io
import json
import os
import unicodedata
import zipfile
from dataclasses import replace
from decimal import Decimal
from hashlib import sha256
from typing import Any

import pytest
from lxml import etree
from werkzeug.datastructures import FileStorage
from werkzeug.test import encode_multipart

from gateway.cases import DecisionCode, Money, NamedFee, Notice, ProviderEvent
from gateway.evidence import TimeStampAuthorities, tree_heads, verify_proof
from gateway.hub import apply_provider_event
from gateway.hub.fees.payment_policy import PaymentPolicy
from gateway.message_model import Payload, read_octets
from gateway.store import (
    StateEvent,
    fee_searches,
    fees,
    messages,
    parties,
    read_transaction,
    write_transaction,
)
from gateway.wire import serialize_element
from gateway.xmlsec import verify_document
from tests.flows.craft import all_of, reference, text, without_applications
from tests.kit.api import BOTH, Api, Client
from tests.kit.house import signer_named
from tests.kit.releases import cancel_above, release
from tests.kit.story import LABEL, Story, asked

#: Told apart in test_events.py.
HOOKS = {"webhooks/{webhook}", "webhooks/{webhook}/replay"}
OTHER = b'--x\r\nContent-Disposition: form-data; name="other"; filename="a"\r\n\r\n.\r\n--x--\r\n'


def form(story: Story, change: Any = None, *, label: bool = True, content: bytes = b"") -> dict[str, Any]:
    content = content or serialize_element(story.submission(change))
    found: dict[str, Any] = {"submission": (io.BytesIO(content), "submission.xml", "application/xml")}
    if label:
        found["attachments"] = [(io.BytesIO(LABEL), "korean-label@sample", "application/pdf")]
    return found


def file(broker: Client, story: Story, key: str = "order-1", change: Any = None, **more: Any) -> Any:
    headers = {"Idempotency-Key": key} if key else {}
    return broker.post("submissions", data=form(story, change, **more), headers=headers)


@BOTH
def test_a_case_is_filed_and_followed_to_its_result(story: Story, broker: Client) -> None:
    answer = file(broker, story)
    assert answer.status_code == 201
    told = answer.json
    assert (told["message_id"], told["new"]) == ("order-1", True)
    receipt = broker.get(told["receipt_url"])
    assert receipt.data == base64.b64decode(told["receipt"])
    verify_document(etree.fromstring(receipt.data))
    assert "case" not in broker.get(told["message_url"]).json
    story.tick()
    number = broker.get(told["message_url"]).json["case"]
    case = broker.get(f"cases/{number}").json
    assert (case["state"], case["applicant"], case["message_id"]) == ("IN_PROGRESS", "broker1", "order-1")
    assert [one["agency"] for one in broker.get(f"cases/{number}/applications").json["applications"]] == [
        *("KPTA", "KFDA", "NPQS")
    ]
    assert broker.refusal(f"results/{number}") == (404, "GW112")
    held = case["custody"][0]
    assert (held["holder"], held["task"], held["agency"]) == ("agency", "decide", "KPTA")
    assert (held["since"] <= held["due_at"], held["working_seconds"]["applicant"]) == (True, 0)
    story.hear("KPTA", asked(story, "KPTA", "Q1"))
    assert broker.get(f"cases/{number}").json["custody"][0]["holder"] == "applicant"
    (notice,) = broker.get(f"cases/{number}/notices").json["notices"]
    assert (notice["number"], notice["text"]) == ("KPTA-Q1", "the certificate of origin")
    story.decide_all()
    story.tick()
    result = broker.get(f"results/{number}")
    document = etree.fromstring(result.data)
    assert verify_document(document).certificate.sha256 == signer_named("hub").certificate.sha256
    assert document.findtext("{*}Outcome") == "APPROVED"
    case = broker.get(f"cases/{number}").json
    assert (case["state"], case["outcome"]) == ("CLOSED", "APPROVED")
    (made,) = case["results"]
    assert made["message_id"] == result.headers["Gateway-Message-Id"]
    assert broker.get(f"messages/{made['message_id']}/document").data == result.data
    applications = broker.get(f"cases/{number}/applications").json["applications"]
    assert {one["decisions"][0]["decision"] for one in applications} == {"APPROVED"}
    assert {one["decisions"][0]["counts"] for one in applications} == {True}
    story.hear("KFDA", Notice("KFDA-G01", story.clock(), "G01", ()))
    applications = broker.get(f"cases/{number}/applications").json["applications"]
    counts = {one["agency"]: one["decisions"][0]["counts"] for one in applications}
    assert counts == {"KPTA": True, "KFDA": False, "NPQS": True}
    kinds = [one["kind"] for one in broker.get(f"cases/{number}/evidence").json["records"]]
    assert {"filed", "admitted", "notice", "decided", "NRS", "closed"} <= set(kinds)


def test_the_document_of_a_message_is_what_was_sent(story: Story, broker: Client) -> None:
    content = serialize_element(story.submission(without_applications))
    answer = broker.post("submissions", data=content, content_type="application/xml")
    assert answer.status_code == 201
    place = answer.headers["Location"]
    assert place.startswith("/api/v1/messages/")
    assert broker.get(f"{place}/document").data == content


@BOTH
def test_large_attachments_are_stored_as_they_came(story: Story, broker: Client) -> None:
    # What is held, what werkzeug writes to disk and we hold, and what stays there.
    wanted = {f"{size}@sample": os.urandom(size) for size in (0, 9, 700_000, 1024**2, 1024**2 + 1, 3_000_000)}
    given = {
        "submission": FileStorage(io.BytesIO(serialize_element(story.submission())), "submission.xml"),
        "attachments": [
            FileStorage(io.BytesIO(octets), name, content_type="application/pdf")
            for name, octets in wanted.items()
        ],
    }
    boundary, body = encode_multipart(given)
    answer = broker.post("submissions", data=body, content_type=f"multipart/form-data; boundary={boundary}")
    assert answer.status_code == 201
    receipt = etree.fromstring(base64.b64decode(answer.json["receipt"]))
    told = {one.get("cid"): (one.get("sha256"), one.get("size")) for one in receipt.iter("{*}Attachment")}
    assert told == {name: (sha256(octets).hexdigest(), str(len(octets))) for name, octets in wanted.items()}
    with read_transaction(story.house.engine) as conn:
        (row,) = messages.list_messages(conn, direction="in")
        parts = messages.load_payloads(conn, row.id)[1:]
    assert {one.content_id: read_octets(one.octets) for one in parts} == wanted


@BOTH
def test_the_same_submission_gets_the_same_answer(story: Story, broker: Client) -> None:
    content = serialize_element(story.submission())
    first, again = (file(broker, story, content=content) for _ in range(2))
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json["receipt"] == first.json["receipt"]
    assert again.json["new"] is False
    other = file(broker, story, change=text("{*}Reference", "OTHER-1"))
    assert broker.problem(other) == (409, "GW312")


LETTER = Payload("letter@sample", "text/plain", b"letter")
PHOTO = Payload("photo@sample", "text/plain", b"photo")
PLAN = Payload("plan@sample", "text/plain", b"plan")
SAME_FILES = {"in their order": [LETTER, PHOTO], "in another order": [PHOTO, LETTER]}
OTHER_FILES = {
    "another first one": [replace(LETTER, octets=b"lettes"), PHOTO],
    "another second one": [LETTER, replace(PHOTO, octets=b"photp")],
    "the octets exchanged": [replace(LETTER, octets=b"photo"), replace(PHOTO, octets=b"letter")],
    "one more": [LETTER, PHOTO, PLAN],
    "one more with the same octets": [LETTER, PHOTO, replace(PLAN, octets=b"photo")],
    "without the first one": [PHOTO],
    "without the second one": [LETTER],
    "none": [],
    "another Content-ID of the first one": [replace(LETTER, content_id="letter2@sample"), PHOTO],
    "another Content-ID of the second one": [LETTER, replace(PHOTO, content_id="photo2@sample")],
}


def file_with(broker: Client, content: bytes, *attachments: Payload) -> Any:
    """File a submission with attachments, always with the same Idempotency-Key."""
    body = {
        "submission": (io.BytesIO(content), "submission.xml", "application/xml"),
        "attachments": [
            (io.BytesIO(read_octets(payload.octets)), payload.content_id, payload.media_type)
            for payload in attachments
        ],
    }
    return broker.post("submissions", data=body, headers={"Idempotency-Key": "order-1"})


def list_stored_attachments(story: Story) -> list[Payload]:
    with read_transaction(story.house.engine) as conn:
        (row,) = messages.list_messages(conn, direction="in")
        stored = messages.load_payloads(conn, row.id)[1:]
    return [replace(payload, octets=read_octets(payload.octets)) for payload in stored]


@pytest.mark.parametrize("attachments", SAME_FILES.values(), ids=list(SAME_FILES))
def test_the_same_attachments_in_any_order_were_stored_before(
    story: Story, broker: Client, attachments: list[Payload]
) -> None:
    content = serialize_element(story.submission())
    first, again = file_with(broker, content, LETTER, PHOTO), file_with(broker, content, *attachments)
    assert (first.status_code, again.status_code, again.json["new"]) == (201, 200, False)
    assert again.json["receipt"] == first.json["receipt"]
    assert list_stored_attachments(story) == [LETTER, PHOTO]


@pytest.mark.parametrize("attachments", OTHER_FILES.values(), ids=list(OTHER_FILES))
def test_other_attachments_under_a_known_key_are_refused(
    story: Story, broker: Client, attachments: list[Payload]
) -> None:
    """Nobody is told that a submission was stored before whose attachments are not there."""
    content = serialize_element(story.submission())
    assert file_with(broker, content, LETTER, PHOTO).status_code == 201
    assert broker.problem(file_with(broker, content, *attachments)) == (409, "GW312")
    assert list_stored_attachments(story) == [LETTER, PHOTO]


def test_a_refused_submission_tells_its_problems(story: Story, broker: Client) -> None:
    file(broker, story, change=text("{*}Application[1]/{*}Items", "9"))
    story.tick()
    number = broker.get("messages/order-1").json["case"]
    case = broker.get(f"cases/{number}").json
    assert (case["state"], case["outcome"]) == ("REFUSED", "REFUSED")
    assert case["problems"][0]["id"].startswith("GW")


def test_a_correction_adds_a_result(story: Story, broker: Client) -> None:
    file(broker, story)
    story.tick()
    story.decide_all()
    story.tick()
    story.decide("KPTA", DecisionCode.REJECTED, number="N2")
    story.tick()
    number = broker.get("messages/order-1").json["case"]
    assert len(broker.get(f"cases/{number}").json["results"]) == 2
    assert b"PARTIAL" in broker.get(f"results/{number}").data


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"data": b"<a", "content_type": "application/xml"}, (400, "GW104")),
        ({"data": b"<a/>", "content_type": "application/xml"}, (422, "GW402")),
        ({"data": b"<a/>", "content_type": "text/plain"}, (415, "GW101")),
        ({"data": b"<a/>"}, (415, "GW101")),
        ({"data": OTHER, "content_type": "multipart/form-data; boundary=x"}, (400, "GW103")),
        ({"data": {"submission": "text"}, "content_type": "multipart/form-data"}, (400, "GW103")),
        ({"data": b"", "content_type": "multipart/form-data; boundary=x"}, (400, "GW103")),
        ({"headers": {"Idempotency-Key": "a b"}, "data": b"<a/>"}, (400, "GW110")),
        ({"query_string": "a=b", "data": b"<a/>"}, (400, "GW110")),
    ],
)
def test_what_is_no_submission_is_refused(broker: Client, changes: dict[str, Any], problem: Any) -> None:
    assert broker.problem(broker.post("submissions", **changes)) == problem


def test_a_body_above_the_limit_is_refused(story: Story) -> None:
    api = Api(story.house.hub, limits={"body": 1000})
    assert file(api.client("broker1"), story).status_code == 413


@BOTH
def test_cases_are_listed_by_pages_and_filters(story: Story, broker: Client) -> None:
    for number in range(5):
        file(broker, story, f"order-{number}", change=numbered(number), label=False)
        story.tick(minutes=1)
    seen, cursor = [], ""
    for _ in range(3):
        page = broker.get(f"cases?limit=2{cursor}").json
        seen += [one["reference"] for one in page["cases"]]
        cursor = f"&cursor={page['next']}" if "next" in page else ""
    assert seen == [f"REF-{number}" for number in (4, 3, 2, 1, 0)]
    assert cursor == ""
    assert len(broker.get("cases?state=CLOSED&outcome=APPROVED").json["cases"]) == 5
    assert broker.get("cases?state=REFUSED").json["cases"] == []
    assert [one["reference"] for one in broker.get("cases?reference=REF-3").json["cases"]] == ["REF-3"]
    for value in ("HB-PO-2026-311", "AKE26714KE", "26KE0926I1200010001", "NEG2611870"):
        named = broker.get(f"cases?goods_reference={value}&state=CLOSED").json["cases"]
        assert len(named) == 5, value
        assert named[0]["ucr"] == "HB-PO-2026-311"
        assert broker.get(f"cases?goods_reference={value}0").json["cases"] == []
    opened = broker.get("cases?reference=REF-3").json["cases"][0]["opened_at"]
    assert len(broker.get(f"cases?since={opened}").json["cases"]) == 2
    assert len(broker.get(f"cases?until={opened}").json["cases"]) == 4


def test_a_reference_is_found_however_its_letters_are_composed(story: Story, broker: Client) -> None:
    def name_goods(root: etree._Element) -> None:
        without_applications(root)
        reference("주문-é")(root)
        text("MetaData/Declaration/GoodsShipment/UCR/TraderAssignedReferenceID", "발주-é")(root)

    file(broker, story, "order", change=name_goods, label=False)
    story.tick()
    for query in ("reference=주문-é", "goods_reference=발주-é"):
        for form in ("NFC", "NFD"):
            answer = broker.get(f"cases?{unicodedata.normalize(form, query)}").json["cases"]
            assert [case["reference"] for case in answer] == ["주문-é"], (query, form)


def numbered(number: int) -> Any:
    def change(root: etree._Element) -> None:
        without_applications(root)
        reference(f"REF-{number}")(root)

    return change


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=x", "limit=1&limit=2", "state=NO", "cursor=!", "cursor=ZXZlbnQ6MQ", "since=1", "q=1",
     "since=2026-01-01T00:00:00", "outcome=NO"],
)  # fmt: skip
def test_a_wrong_filter_is_refused(broker: Client, query: str) -> None:
    assert broker.refusal(f"cases?{query}") == (400, "GW110")


def test_an_unchanged_answer_is_not_sent_again(story: Story, broker: Client) -> None:
    file(broker, story)
    story.tick()
    number = broker.get("messages/order-1").json["case"]
    for path in (f"cases/{number}", "cases", "messages/order-1/receipt", "documents"):
        tag = broker.get(path).headers["ETag"]
        assert broker.get(path, headers={"If-None-Match": tag}).status_code == 304
        assert broker.get(path, headers={"If-None-Match": f'"x", W/{tag}'}).status_code == 304
        assert broker.get(path, headers={"If-None-Match": '"other"'}).status_code == 200
    tag = broker.get(f"cases/{number}").headers["ETag"]
    story.decide_all()
    assert broker.get(f"cases/{number}", headers={"If-None-Match": tag}).status_code == 200


@BOTH
def test_another_party_sees_nothing(story: Story, api: Api, broker: Client) -> None:
    story.register("broker2", "6N002")
    file(broker, story)
    story.tick()
    story.decide_all()
    story.tick()
    number = broker.get("messages/order-1").json["case"]
    result = broker.get(f"results/{number}").headers["Gateway-Message-Id"]
    other = api.client("broker2")
    own = [
        *(f"cases/{number}", f"cases/{number}/applications", f"cases/{number}/notices"),
        *(f"cases/{number}/evidence", f"cases/{number}/evidence/bundle"),
        *(f"results/{number}", "messages/order-1", "messages/order-1/receipt"),
        *("messages/order-1/document", f"messages/{result}", f"messages/{result}/document"),
    ]
    for path in own:
        assert broker.get(path).status_code == 200, path
        assert other.refusal(path) == (404, "GW112"), path
        unknown = other.get(path.replace(number, "SW260000009X").replace("order-1", "x").replace(result, "x"))
        assert unknown.data == other.get(path).data, "the answer tells whether it exists"
    assert other.get("cases").json == {"cases": []}
    declared = {
        one for one in api_paths() if "{" in one and "/documents/" not in one and "/problems/" not in one
    }
    tried = {
        one.replace(number, "{number}").replace("order-1", "{id}").replace(result, "{id}") for one in own
    }
    assert {one.lstrip("/") for one in declared} <= tried | HOOKS


def test_a_message_is_read_by_its_sender_and_its_receiver_alone(
    story: Story, api: Api, broker: Client
) -> None:
    """Two parties file under one key: it names the submission of each, and each reads its own Result."""
    story.register("broker2", "6N002")
    second = api.client("broker2")
    declared_by_second = all_of(without_applications, reference("SECOND-1"), text(".//Declarant/ID", "6N002"))
    theirs = serialize_element(story.submission(declared_by_second, signer_named("broker2")))
    file(broker, story, change=without_applications, label=False)
    file(second, story, content=theirs, label=False)
    file(broker, story, "order-2", change=all_of(without_applications, reference("OWN-2")), label=False)
    story.tick()
    numbers = [client.get("messages/order-1").json["case"] for client in (broker, second)]
    own_result, result_of_second = (
        client.get(f"results/{number}").headers["Gateway-Message-Id"]
        for client, number in zip((broker, second), numbers, strict=True)
    )
    assert len({*numbers, own_result, result_of_second}) == 4
    assert second.get("messages/order-1/document").data == theirs
    assert broker.get("messages/order-1/document").data != theirs
    for reader, stranger, result in ((broker, second, own_result), (second, broker, result_of_second)):
        for path in (f"messages/{result}", f"messages/{result}/document"):
            assert reader.get(path).status_code == 200
            assert stranger.refusal(path) == (404, "GW112")
    for path in ("messages/order-2", "messages/order-2/document", "messages/order-2/receipt"):
        assert broker.get(path).status_code == 200
        assert second.refusal(path) == (404, "GW112")


def api_paths() -> list[str]:
    from tests.kit.api import document

    return list(document()["paths"])


def test_the_evidence_of_a_case_is_a_bundle_with_proofs(story: Story, broker: Client) -> None:
    file(broker, story)
    story.tick()
    story.decide_all()
    story.tick()
    with write_transaction(story.house.engine, "test") as conn:
        head = tree_heads.make_next_head(conn, "hub", story.clock())
        assert head is not None
        tree_heads.store_head(conn, head.add_signature(story.hub.signer))
    number = broker.get("messages/order-1").json["case"]
    answer = broker.get(f"cases/{number}/evidence/bundle")
    assert answer.mimetype == "application/zip"
    assert f"{number}-evidence.zip" in answer.headers["Content-Disposition"]
    bundle = zipfile.ZipFile(io.BytesIO(answer.data))
    found = verify_proof(json.loads(bundle.read("proofs/case.json")), TimeStampAuthorities())
    assert {leaf["kind"] for leaf in found.leaves} >= {"admitted", "decided"}
    assert any(name.startswith("agencies/KPTA-") for name in bundle.namelist())
    place = f"cases/{number}/evidence/bundle"
    assert broker.get(place, headers={"If-None-Match": answer.headers["ETag"]}).status_code == 304


def test_a_party_sees_its_certificates(api: Api, broker: Client) -> None:
    (signing,) = broker.get("certificates").json["certificates"]
    assert signing["use"] == "signing"
    assert signing["sha256"] == signer_named("broker1").certificate.sha256
    assert set(signing) >= {"subject", "issuer", "serial", "not_before", "not_after"}


@BOTH
def test_the_principal_sees_what_its_agent_filed(story: Story, api: Api) -> None:
    story.register("agent1", "6N077")
    story.mandate("agent1", "broker1")
    agent, principal = api.client("agent1"), api.client("broker1")
    file(agent, story, "a-1")
    story.tick()
    number = agent.get("messages/a-1").json["case"]
    assert principal.get(f"cases/{number}").json["applicant"] == "agent1"
    assert [one["number"] for one in principal.get("cases").json["cases"]] == [number]
    assert [one["number"] for one in agent.get("cases").json["cases"]] == [number]
    # The message is the agent's own.
    assert principal.refusal("messages/a-1") == (404, "GW112")


def test_a_suspended_party_is_out_at_once(story: Story, broker: Client) -> None:
    assert broker.get("cases").status_code == 200
    with write_transaction(story.house.engine) as conn:
        parties.set_party_status(conn, "broker1", "SUSPENDED")
    assert broker.refusal("cases") == (401, "GW214")


def list_tasks(broker: Client, number: str, agency: str) -> list[tuple[str, str]]:
    """Return holder and task of everything that is due on an application; the first one is told twice."""
    (custody,) = [one for one in broker.get(f"cases/{number}").json["custody"] if one["agency"] == agency]
    found = [(one["holder"], one["task"]) for one in custody["tasks"]]
    assert (custody.get("holder"), custody.get("task")) == (found[0] if found else (None, None))
    return found


@BOTH
def test_a_case_shows_its_fees_and_where_they_are_paid(story: Story, broker: Client) -> None:
    file(broker, story)
    story.tick()
    story.hub.payments = PaymentPolicy(True, {}, b"")
    story.hear("KFDA", Notice("KFDA-Y", story.clock(), "Y05", fee=NamedFee(Money(Decimal("12.50"), "EUR"))))
    number = broker.get("messages/order-1").json["case"]
    with write_transaction(story.house.engine) as conn:
        (row,) = fee_searches.list_by_case(conn, story.case().id)
        event = StateEvent("order", story.clock(), "test")
        fees.apply_event(conn, row.id, event, address="https://pay.example/1", ordered_at=story.clock())
    (fee,) = broker.get(f"cases/{number}").json["fees"]
    assert (fee["amount"], fee["currency"], fee["state"], fee["gate"]) == (
        "12.50",
        "EUR",
        "ORDERED",
        "result",
    )
    assert (fee["address"], fee["agency"], fee["moves"]) == ("https://pay.example/1", "KFDA", [])
    story.hear("KFDA", asked(story, "KFDA", "Q1"))
    assert list_tasks(broker, number, "KFDA") == [("applicant", "pay"), ("applicant", "answer")]
    story.decide_all()
    story.tick()
    assert list_tasks(broker, number, "KFDA") == [("applicant", "pay")]
    paid = ProviderEvent("paid", row.number, "P-1", Money(Decimal("12.50"), "EUR"), story.clock())
    assert apply_provider_event(story.hub, paid) == "counted"
    assert list_tasks(broker, number, "KFDA") == []
    (fee,) = broker.get(f"cases/{number}").json["fees"]
    assert fee["state"] == "PAID"
    assert "address" not in fee
    assert [(one["kind"], one["reference"], one["state"]) for one in fee["moves"]] == [
        ("payment", "P-1", "COUNTED")
    ]


@BOTH
def test_a_case_shows_what_has_left_what_stays_and_what_was_removed(story: Story, broker: Client) -> None:
    parent, child = release(story)
    case = broker.get(f"cases/{parent}").json
    rows = [(one["item"], one["child"], one["measure"], one["quantity"]) for one in case["released"]]
    assert rows == [(1, child, "NetNetWeightMeasure", "20.5"), (1, child, "TariffQuantity", "10")]
    assert case["stays"][0] == {
        "item": 1, "measure": "NetNetWeightMeasure", "quantity": "400", "unit": "KGM",
    }  # fmt: skip
    (removed,) = case["removed"]
    assert (removed["item"], removed["refused"]) == (2, True)
    shown = broker.get(f"cases/{child}").json
    assert [(one["item"], one["parent"]) for one in shown["taken"]] == [(1, parent)] * 2
    (inherited,) = shown["inherited"]
    assert (inherited["decision"], inherited["agency"], inherited["parent"]) == ("APPROVED", "KPTA", parent)
    told = [
        (one["type"], one["case"], "state" in one) for one in broker.get("events?limit=500").json["events"]
    ]
    assert [one for one in told if one[0].startswith("case.items")] == [
        ("case.items_released", parent, False),
        ("case.items_removed", parent, False),
    ]


@BOTH
def test_a_child_shows_the_cancelled_applications_of_its_parent(story: Story, broker: Client) -> None:
    parent, child = release(story)
    assert broker.get(f"cases/{child}").json["inherited_cancellations"] == []
    number = cancel_above(story, parent, "KPTA")
    shown = broker.get(f"cases/{child}").json
    assert shown["inherited_cancellations"] == [
        {
            "application": number,
            "agency": "KPTA",
            "document": "KPTA-PHARM-IMP",
            "items": [1],
            "parent": parent,
        }
    ]
    assert (shown["outcome"], shown["inherited"]) == ("REJECTED", [])
    assert broker.get(f"cases/{parent}").json["inherited_cancellations"] == []
