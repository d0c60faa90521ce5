"""P-Mode files of Holodeck B2B and phase4 have the names of their products, and no others."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime

import pytest
from lxml import etree

from gateway.agreements import AgreementDocument, PMode, find_document_findings, read_peer_pmode
from gateway.agreements.as4.peer_tables import PEER_NAMES, REPEATED_MARK, TERMS_BY_PATH
from gateway.agreements.pmode_values import PullTerms
from gateway.errors import GatewayError
from gateway.protocols.as4 import list_unsupported_terms
from tests.agreements.holodeck_pmodes import EVERY_NAME, write_leg, write_pmode
from tests.agreements.test_peer_pmodes import PHASE4

AT = datetime(2026, 6, 1, tzinfo=UTC)
XMLENC11 = "http://www.w3.org/2009/xmlenc11#"
RECEIPT = "<Receipt><ReplyPattern>{}</ReplyPattern>{}</Receipt>"
ADDRESS = "<Protocol><Address>https://hub.example/as4</Address></Protocol>"


def read(text: str) -> AgreementDocument:
    return read_peer_pmode(text.encode(), "p", AT)


def read_first(text: str) -> PMode:
    return read(text).pmodes[0]


def list_unsaid(text: str) -> list[str]:
    return [finding.text for finding in read(text).findings if finding.rule == "peer-unsaid"]


def list_names(names: dict[str, dict[str, str]], kind: str = "PMode") -> set[tuple[str, str]]:
    """Return each name with the type in which it is, from a type on."""
    types = names.get(kind, {})
    pairs = {(kind, name) for name in types}
    for inner in {type_.removesuffix(REPEATED_MARK) for type_ in types.values()} - {kind}:
        pairs |= list_names(names, inner)
    return pairs


def list_elements(element: etree._Element, kind: str = "PMode") -> set[tuple[str, str]]:
    """Return each name of a file with the type in which it is."""
    names = PEER_NAMES["holodeck"]
    pairs = {(kind, f"@{name}") for name in element.attrib if not str(name).startswith("{")}
    for child in element:
        name = etree.QName(child).localname
        pairs |= {(kind, name)} | list_elements(child, names[kind][name].removesuffix(REPEATED_MARK))
    return pairs


def test_the_reader_has_the_names_of_the_schema_and_no_others() -> None:
    other = EVERY_NAME.replace("WaitIntervals>", "UseDuplicateElimination>").replace("60,60,60", "true")
    written = set[tuple[str, str]]()
    for text in (EVERY_NAME, other):
        written |= list_elements(etree.fromstring(text.encode()))
        assert len(read(text).pmodes) == 2
    # What its program still reads of old files is in no schema.
    assert written == list_names(PEER_NAMES["holodeck"]) - {("Signing", "enableRevocationCheck")}  # type: ignore[arg-type]


@pytest.mark.parametrize("product", PEER_NAMES)
def test_each_path_that_is_a_term_exists(product: str) -> None:
    for path in TERMS_BY_PATH[product]:
        kind = "PMode"
        for step in path.split("/"):
            name = re.sub(r"\d$", "", step) if product == "holodeck" else step
            kind = PEER_NAMES[product][kind][name].removesuffix(REPEATED_MARK)
        assert kind in ("", "Identifier", "TypedText", "KeyAlias"), path


@pytest.mark.night
@pytest.mark.parametrize(
    "name",
    sorted({name for _, name in list_elements(etree.fromstring(EVERY_NAME.encode()))} - {"id", "type"}),
)
def test_a_name_that_does_not_exist_is_refused_with_its_line(name: str) -> None:
    own = name.removeprefix("@")
    pattern = rf"(?<= ){own}=" if name.startswith("@") else rf"(?<=[</]){own}(?=[ />])"
    wrong = re.sub(pattern, f"{own}X=" if name.startswith("@") else f"{own}X", EVERY_NAME)
    line = next(number for number, text in enumerate(wrong.splitlines(), 1) if f"{own}X" in text)
    with pytest.raises(GatewayError, match=rf"has no '@?{own}X': it .* at p:{line}$"):
        read(wrong)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("<SoapVersion>1.2</SoapVersion>", "<SOAPVersion>1.2</SOAPVersion>"),
        (
            "<UseAS4Compression>true</UseAS4Compression>",
            "<CompressionType>application/gzip</CompressionType>",
        ),
        ("<Agreement>", "<Agreement xmlns=''>"),
        ("<Agreement>", "<Agreement><name>second</name></Agreement><Agreement>"),
        ("<Role>Hub</Role>", "<Role><name>Hub</name></Role>"),
        ("</Leg>", "</Leg><Leg/>"),
        ('label="REPLY"', 'label="REQUEST"'),
        ('label="REPLY"', 'label="SECOND"'),
        ("schemas/2014/10/pmode", "schemas/2024/10/pmode"),
    ],
)
def test_what_the_schema_does_not_have_is_refused(old: str, new: str) -> None:
    assert old in EVERY_NAME
    with pytest.raises(GatewayError, match=r"GW808 .* at p:\d+$"):
        read(EVERY_NAME.replace(old, new))


def test_each_value_is_a_term_or_is_told_and_no_password_is() -> None:
    findings = read(EVERY_NAME).findings
    told = " ".join(finding.text for finding in findings)
    assert not re.search(r"\bp[123]\b", told)
    unsaid = {finding.text.split()[0] for finding in findings if finding.rule == "peer-unsaid"}
    assert unsaid == {
        "id/@include",
        "Initiator/SecurityConfiguration/UsernameToken2/username",
        "Initiator/SecurityConfiguration/UsernameToken2/password",
        "Initiator/SecurityConfiguration/Encryption/KeyTransport/MGFAlgorithm",
        "Responder/SecurityConfiguration/Encryption/KeyAgreement/KeyDerivationMethod/Parameter/name",
        "Responder/SecurityConfiguration/Encryption/KeyAgreement/KeyDerivationMethod/Parameter/value",
        "Responder/SecurityConfiguration/Encryption/KeyAgreement/Parameter/name",
        "Responder/SecurityConfiguration/Encryption/KeyAgreement/Parameter/value",
        *(
            f"Leg{leg}/UserMessageFlow/{name}"
            for leg in (1, 2)
            for name in (
                *(f"BusinessInfo/Property/{part}" for part in ("name", "value", "type")),
                *(f"ErrorHandling/{part}" for part in ("ReceiverErrorsTo", "AddSOAPFault")),
                *(f"ErrorHandling/ReportErrorOn{part}" for part in ("Error", "Receipt")),
            )
        ),
        *(
            f"Leg2/PullRequestFlow/{name}"
            for name in (
                "ErrorHandling/ReplyPattern", "ErrorHandling/ReceiverErrorsTo", "ErrorHandling/AddSOAPFault",
                "ErrorHandling/ReportErrorOnError", "ErrorHandling/ReportErrorOnReceipt",
                "SecurityConfiguration/UsernameToken/@target",
                "SecurityConfiguration/Signing/KeyReferenceMethod",
                "SecurityConfiguration/Signing/IncludeCertificatePath",
                "SecurityConfiguration/Signing/Algorithm",
                "SecurityConfiguration/Signing/HashFunction",
            )
        ),
    }  # fmt: skip


def test_what_the_legs_and_sides_say_becomes_ours() -> None:
    request, reply = read(EVERY_NAME).pmodes
    assert (request.compresses_payloads, reply.compresses_payloads) == (True, True)
    assert request.security.token_reference == reply.security.token_reference == "X509PKIPathv1"
    assert (request.reliability.retries, request.reliability.retry_interval) == (4, 30)
    assert (reply.reliability.retries, reply.reliability.retry_interval) == (2, 60)
    assert request.encryption is not None
    assert reply.encryption is not None
    agreeing = (f"{XMLENC11}ECDH-ES", f"{XMLENC11}ConcatKDF", "http://www.w3.org/2001/04/xmlenc#kw-aes256")
    assert request.encryption.algorithms == (f"{XMLENC11}aes128-gcm", *agreeing)
    assert reply.encryption.algorithms == (f"{XMLENC11}aes128-gcm", f"{XMLENC11}rsa-oaep")
    assert (reply.mpc, reply.pull) == ("urn:example:mpc", PullTerms("both", "broker"))


@pytest.mark.parametrize(
    ("flag", "compressed"), [("true", True), ("1", True), ("false", False), ("0", False)]
)
def test_compression_is_of_the_leg_that_says_it(flag: str, compressed: bool) -> None:
    flow = f"<PayloadProfile><UseAS4Compression> {flag} </UseAS4Compression></PayloadProfile>"
    receipt = RECEIPT.format("RESPONSE", "")
    text = write_pmode(
        "pushAndPush", write_leg(before=ADDRESS + receipt, flow=flow), write_leg("Answer", before=receipt)
    )
    request, reply = read(text).pmodes
    assert (request.compresses_payloads, reply.compresses_payloads) == (compressed, False)
    with pytest.raises(GatewayError, match="'gzip' is not true or false at p:6"):
        read(text.replace(f" {flag} ", "gzip"))


def test_soap_is_1_2() -> None:
    old = ADDRESS.replace("</Address>", "</Address><SoapVersion>1.1</SoapVersion>")
    text = write_pmode("push", write_leg(before=old + RECEIPT.format("RESPONSE", "")))
    assert list_unsaid(text) == ["Leg1/Protocol/SoapVersion is 1.1; the hub does 1.2 alone"]


def test_a_label_says_which_leg_is_the_request() -> None:
    receipt = RECEIPT.format("RESPONSE", "")
    reply = write_leg("Answer", before=receipt, label="REPLY")
    request = write_leg("Order", before=ADDRESS + receipt, label="REQUEST")
    for legs in ((reply, request), (request, reply), (reply, request.replace(' label="REQUEST"', ""))):
        assert [pmode.action for pmode in read(write_pmode("pushAndPush", *legs)).pmodes] == [
            "Order", "Answer"
        ]  # fmt: skip


@pytest.mark.parametrize("to", ["", "<To>https://hub.example/as4</To>"])
@pytest.mark.parametrize("pattern", ["CALLBACK", "RESPONSE"])
def test_the_receipt_of_a_pulled_message_may_be_a_callback(pattern: str, to: str) -> None:
    flow = "<PullRequestFlow><Mpc>urn:example:mpc</Mpc></PullRequestFlow>"
    document = read(write_pmode("pull", write_leg(before=ADDRESS + RECEIPT.format(pattern, to) + flow)))
    (pmode,) = document.pmodes
    assert (pmode.reply_pattern, pmode.reply_endpoint) == (pattern.lower(), "https://hub.example/as4")
    assert not list_unsupported_terms(pmode)
    findings = find_document_findings(document, AT, frozenset({"as4"}), list_unsupported_terms)
    assert {finding.rule for finding in findings} <= {"peer-filled"}


def test_the_receipt_of_a_posted_message_by_callback_goes_where_the_file_says() -> None:
    posted = ADDRESS + RECEIPT.format("CALLBACK", "<To>https://broker.example/as4</To>")
    pmode = read_first(write_pmode("push", write_leg(before=posted)))
    assert (pmode.reply_pattern, pmode.reply_endpoint) == ("callback", "https://broker.example/as4")
    errors = "<ErrorHandling><ReplyPattern>{}</ReplyPattern>{}</ErrorHandling>"
    to = "<ReceiverErrorsTo>https://broker.example/{}</ReceiverErrorsTo>"
    for flow, words in (
        (errors.format("CALLBACK", to.format("as4")), []),
        (
            errors.format("CALLBACK", to.format("other")),
            ["Leg1/UserMessageFlow/ErrorHandling/ReceiverErrorsTo"],
        ),
        (errors.format("RESPONSE", ""), ["Leg1/UserMessageFlow/ErrorHandling/ReplyPattern"]),
    ):
        text = write_pmode("push", write_leg(before=posted, flow=flow))
        assert [text.split()[0] for text in list_unsaid(text)] == words


TOKEN = "<UsernameToken{}><username>b</username><password>p</password></UsernameToken>"
SIGNING = "<Signing><KeystoreAlias>b</KeystoreAlias></Signing>"


@pytest.mark.parametrize(
    ("initiator", "flow", "authorization"),
    [
        ("", "", "certificate"),
        (TOKEN.format(" target='ebms'"), "", "username"),
        (TOKEN.format("") + TOKEN.format(" target='ebms'"), "", "username"),
        (TOKEN.format(""), "", "certificate"),
        ("", TOKEN.format(""), "username"),
        (SIGNING, TOKEN.format(""), "both"),
        ("", SIGNING, "certificate"),
    ],
)  # fmt: skip
def test_a_pull_request_is_authorized_as_the_file_says(initiator: str, flow: str, authorization: str) -> None:
    def wrap(text: str) -> str:
        return f"<SecurityConfiguration>{text}</SecurityConfiguration>" if text else ""

    pull = f"<PullRequestFlow><Mpc>urn:example:mpc</Mpc>{wrap(flow)}</PullRequestFlow>"
    leg = write_leg(before=ADDRESS + RECEIPT.format("CALLBACK", "") + pull)
    pmode = read_first(write_pmode("pull", leg, initiator=wrap(initiator)))
    # Who pulls need not name the channel of the messages besides.
    assert (pmode.mpc, pmode.pull) == ("urn:example:mpc", PullTerms(authorization))


def test_a_file_without_receipts_is_told() -> None:
    receipt = RECEIPT.format("RESPONSE", "")
    for before, words in (
        (ADDRESS, ["leg 1 has no Receipt: the hub gives and wants a signed one for each message"]),
        (ADDRESS + receipt, []),
        (ADDRESS + "<Receipt/>", []),
    ):
        assert list_unsaid(write_pmode("push", write_leg(before=before))) == words


def test_intervals_that_differ_are_told() -> None:
    awareness = "<ReceptionAwareness><WaitIntervals>60,120</WaitIntervals></ReceptionAwareness>"
    text = write_pmode("push", write_leg(before=ADDRESS + "<Receipt/>" + awareness))
    reliability = read_first(text).reliability
    assert (reliability.retries, reliability.retry_interval) == (1, 60)
    assert list_unsaid(text) == ["the intervals 60,120 differ: the hub repeats every 60 seconds"]
    with pytest.raises(GatewayError, match="'soon' is not a whole number at p:6"):
        read(text.replace("60,120", "60,soon"))


@pytest.mark.parametrize(
    ("place", "key"),
    [((), "ReceptionAwareness"), (("Initiator",), "PartyId"), (("Leg1", "Protocol"), "SOAPVersion"),
     (("Leg1", "BusinessInfo", "Properties", 0), "Value"), (("PayloadServices",), "UseAS4Compression")],
)  # fmt: skip
def test_a_key_that_phase4_does_not_have_is_refused(place: tuple[str | int, ...], key: str) -> None:
    table = json.loads(json.dumps(PHASE4))
    inner = table
    for step in place:
        inner = inner[step]
    inner[key] = "a"
    pointer = "/".join(map(str, (*place, key)))
    with pytest.raises(GatewayError, match=f"has no '{key}': it has .* at p: /{pointer}$"):
        read(json.dumps(table))


@pytest.mark.parametrize(("key", "value"), [("MEP", ["oneway"]), ("Leg1", []), ("custom", [[{"id": "a"}]])])
def test_a_list_where_phase4_has_none_is_refused(key: str, value: object) -> None:
    with pytest.raises(GatewayError, match="of a P-Mode of phase4 is no list"):
        read(json.dumps(PHASE4 | {key: value}))


def test_a_pulled_message_of_phase4_may_have_its_receipt_posted() -> None:
    table = json.loads(json.dumps(PHASE4)) | {"MEPBinding": "pull"}
    table["Leg1"]["BusinessInfo"]["MPCID"] = "urn:example:mpc"
    table["Leg1"]["Security"]["SendReceiptReplyPattern"] = "callback"
    pmode = read_first(json.dumps(table))
    assert (pmode.reply_pattern, pmode.reply_endpoint) == ("callback", "https://hub.example/msh/as4")
    assert not list_unsupported_terms(pmode)
