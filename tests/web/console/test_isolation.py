"""What the mapping does not give an agency is not on its pages, nor in their source, to the octet.

Two submissions differ only in what other agencies ask for. Every free text there is a secret, and a long
one in the second submission. The pages of each agency are the same, octet by octet, but for the numbers
that the gateway gave.
"""

from __future__ import annotations

import re

import pytest
from lxml import etree
from sqlalchemy import Engine

from gateway.harmonize import DocumentMapping
from gateway.hub import load_application_form
from gateway.store import agency_requests, messages, payloads, read_transaction
from tests.flows.craft import reference
from tests.kit.console import Console
from tests.kit.databases import BOTH
from tests.kit.house import bundle
from tests.kit.story import AGENCIES, Story

SECRET = "ZZSECRETZZ"
#: What the gateway numbers by itself, and the references that tell the two submissions apart.
OURS = re.compile(r"\b(?:A26\w{10}|SW26\w{8}|HB-(?:ONE|TWO)|R-\w+-\d+|[0-9a-f]{64})\b")


def hide(root: etree._Element, agency: str, secret: str) -> int:
    """Put a secret into every free text that another agency asks for; return how many these are."""
    hidden = 0
    for application in root.findall("{*}Application"):
        document = bundle().documents[application.get("document", "")]
        if document.organisation == agency:
            continue
        for element in application.find("{*}Fields").iter(tag=etree.Element):
            if is_free_text(document, element, len(secret)):
                element.text = secret
                hidden += 1
    return hidden


def is_free_text(document: DocumentMapping, element: etree._Element, longest: int) -> bool:
    name = etree.QName(element).localname
    if len(element) or not (element.text or "").strip():
        return False
    shapes = [ask.shape for ask in document.ask_names.values() if ask.tag == name and ask.type == "text"]
    return bool(shapes) and all(
        not shape.pattern
        and not shape.codes
        and (shape.max_length is None or shape.max_length >= longest)
        and (shape.octets is None or shape.octets >= longest)
        for shape in shapes
    )


@BOTH
@pytest.mark.parametrize("agency", AGENCIES)
def test_pages_do_not_depend_on_what_others_ask_for(engine: Engine, agency: str) -> None:
    story = Story(engine)
    numbers, hidden = [], []
    for name, secret in (("ONE", SECRET), ("TWO", SECRET * 3)):

        def change(root: etree._Element, name: str = name, secret: str = secret) -> None:
            hidden.append(hide(root, agency, secret))
            reference(f"HB-{name}")(root)

        story.submit(story.submission(change))
        story.tick()
        numbers.append(story.request(agency).number)
    assert min(hidden) >= 3, "the test hides nothing"
    console = Console(story.house.hub)
    console.add_account("kim", ("agency", agency), "head")
    kim = console.sign_in("kim")
    pages = [kim.get(f"/console/applications/{number}") for number in numbers]
    assert [page.status_code for page in pages] == [200, 200]
    assert not [page for page in pages if SECRET in page.text]
    # The first application is told among the earlier ones of the second.
    plain = [OURS.sub("#", page.text.partition("<h2>Earlier applications")[0]) for page in pages]
    assert plain[0] == plain[1]
    assert len(plain[0].encode()) == len(plain[1].encode())
    for path in ("/console/work", "/console/work?tab=all&format=csv", f"/console/work?q={numbers[0]}"):
        assert SECRET not in kim.get(path).text


def test_the_submission_itself_is_never_read(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    story = Story(engine)
    story.submit()
    story.tick()
    read: list[str] = []
    get = payloads.get_payload_octets

    def note(conn: object, digest: str) -> bytes:
        read.append(digest)
        return get(conn, digest)  # type: ignore[arg-type]

    def forbid(*_: object) -> None:
        raise AssertionError("the message of the applicant was read")

    monkeypatch.setattr(payloads, "get_payload_octets", note)
    monkeypatch.setattr(messages, "load_payloads", forbid)
    request = story.request("KFDA")
    with read_transaction(engine) as conn:
        assert load_application_form(story.hub, conn, "KFDA", request.number) is not None
        known = {row.document_sha256 for row in agency_requests.list_by_case(conn, request.case_id)}
    assert set(read) == {request.document_sha256} < known
