"""The example of the broker's page: the octets of the page are those of the files, and they verify."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from gateway.cli import main
from gateway.cli.added_verbs import list_verbs
from gateway.errors import GatewayError
from gateway.message_model import ErrorSignal, MemoryBody, Receipt, UserMessage
from gateway.pki import read_certificate
from gateway.protocols import Parcel
from gateway.wire import DS, EB, SOAP11, SUB, WCO_DEC, WCO_MD, XLINK, parse_xml, read_http_message
from gateway.xmlsec import verify_document
from tests.kit.broker_example import BLOCKS, EBMS2, FOLDER, draw_block, open_context, read_parcel, to_wire
from tests.kit.house import signer_named
from tests.kit.paths import MANUAL, ROOT
from tests.kit.tutorial import blocks

VERBS = list_verbs()

TEXT = (MANUAL / "broker.md").read_text(encoding="utf-8")
PAGE = {one.kind: one.content for one in blocks(TEXT)}
BROKER = read_certificate((FOLDER / "broker1.cert.pem").read_bytes())
#: Whose messages are opened; the key itself is not used for that.
AS_HUB = {"hub": signer_named("hub")}
HUB = read_certificate((FOLDER / "hub.cert.pem").read_bytes())


def read_request() -> Parcel:
    """Return the request as it stands in the page."""
    message = read_http_message(to_wire(PAGE["request"]))
    assert message.start_line == "POST /msh/ebms2 HTTP/1.1"
    names = {"Content-Type": "content-type", "SOAPAction": "soapaction"}
    headers = {name: message.headers[key] for name, key in names.items()}
    return Parcel(headers, MemoryBody(message.body))


@pytest.mark.parametrize("kind", BLOCKS)
def test_the_page_shows_the_files(kind: str) -> None:
    assert PAGE[kind] == draw_block(kind), "run: python -m tests.kit.broker_example"


def test_the_request_of_the_page_is_taken_by_the_hub_under_the_agreement_of_the_page() -> None:
    opened = EBMS2.open_units(read_request(), open_context(signers=AS_HUB))
    unit = opened.unit
    assert isinstance(unit, UserMessage)
    assert (unit.action, unit.agreement) == ("Submit", "urn:example:agreement:broker1-hub:2026")
    assert opened.verified_signature is not None
    assert opened.verified_signature.certificate == BROKER
    assert [one.uri for one in opened.verified_signature.references] == [
        "",
        "cid:submission@broker1.example.org",
    ]
    assert unit.payloads[0].content == (FOLDER / "submission.xml").read_bytes()
    signed = verify_document(parse_xml(unit.payloads[0].content))
    assert signed.certificate == BROKER
    assert signed.covered[0] == "/"


@pytest.mark.parametrize(
    "place", [b"EXAMPLE-0001</eb:Conv", b"<TypeCode>IMA", b"0001@broker1.example.org</eb:MessageId>"]
)
def test_a_changed_octet_of_the_request_is_noticed(place: bytes) -> None:
    parcel = read_request()
    with parcel.body.open_stream() as stream:
        octets = stream.read()
    assert place in octets
    changed = octets.replace(place, place.replace(b"1", b"2").replace(b"IMA", b"IMB"), 1)
    with pytest.raises(GatewayError, match="GW202"):
        EBMS2.open_units(Parcel(parcel.headers, MemoryBody(changed)), open_context(signers=AS_HUB))


@pytest.mark.parametrize(("name", "kind"), [("receipt.http", Receipt), ("error-list.http", ErrorSignal)])
def test_the_answers_of_the_page_are_about_its_request(name: str, kind: type) -> None:
    sent = EBMS2.read_sent_unit(read_request(), open_context().limits)
    opened = EBMS2.open_units(
        read_parcel(name), open_context(signers={"broker1": signer_named("broker1")}), sent
    )
    assert isinstance(opened.unit, kind)
    assert opened.verified_signature is not None
    assert opened.verified_signature.certificate == HUB


@pytest.mark.parametrize("name", ["notice.xml", "result.xml"])
def test_the_documents_of_the_hub_verify(name: str) -> None:
    assert verify_document(parse_xml((FOLDER / name).read_bytes())).certificate == HUB


def test_the_commands_of_the_example_find_it_good(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    example = TEXT.split("## A complete example")[1]
    lines = [line for one in blocks(example) if one.language == "sh" for line in one.content.splitlines()]
    assert len(lines) == 2
    for line in lines:
        assert main([*line.split()[1:], "--json"]) == 0, line
        told = json.loads(capsys.readouterr().out)
        assert told.get("accepted") is True or told["verdict"] == "valid"


def test_namespaces_and_texts_are_those_of_the_code() -> None:
    table = dict(re.findall(r"^\| `(\w+)` \| `([^`]+)` \|$", TEXT, re.MULTILINE))
    code = {"soap": SOAP11, "eb": EB, "xlink": XLINK, "ds": DS, "sub": SUB, "md": WCO_MD, "wco": WCO_DEC}
    assert {name: table[name] for name in code} == code
    request = PAGE["request"]
    assert f"<ds:XPath>{PAGE['xpath'].strip()}</ds:XPath>" in request.replace("&quot;", '"')
    for uri in re.findall(r"^\| [^|`]+ \| `((?:http|urn)[^`]+)` \|$", TEXT, re.MULTILINE):
        assert uri in request or "ecdsa" in uri, uri


def test_the_samples_that_the_page_names_are_there(capsys: pytest.CaptureFixture[str]) -> None:
    samples = TEXT.split("### Samples")[1]
    for name in re.findall(r"`(conformance/[^`]+)`", samples):
        assert (ROOT / name).exists(), name
    assert "map sample" in VERBS
    capsys.readouterr()


def test_the_folder_holds_no_key() -> None:
    for path in Path(FOLDER).iterdir():
        assert b"PRIVATE" not in path.read_bytes()
