"""P-Mode files of Holodeck B2B and phase4: what they say becomes ours, all else is told with its place."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.agreements import is_peer_pmode, read_peer_pmode
from gateway.agreements.pmode_values import PullTerms
from gateway.cli import main
from gateway.errors import GatewayError
from gateway.message_model import PartyId

AT = datetime(2026, 6, 1, tzinfo=UTC)
EB3 = "http://docs.oasis-open.org/ebxml-msg/ebms/v3.0/ns/core/200704/"
MORE = "http://www.w3.org/2001/04/xmldsig-more#"
HOLODECK = f"""\
<?xml version="1.0" encoding="UTF-8"?>
<PMode xmlns="http://holodeck-b2b.org/schemas/2014/10/pmode">
  <id>orders</id>
  <mep>{EB3}oneWay</mep>
  <mepBinding>{EB3}push</mepBinding>
  <Initiator>
    <PartyId type="urn:example:party-type">broker1</PartyId>
    <Role>Applicant</Role>
    <SecurityConfiguration>
      <Signing>
        <KeystoreAlias password="secret of the key">broker</KeystoreAlias>
        <KeyReferenceMethod>BSTReference</KeyReferenceMethod>
        <Algorithm>{MORE}rsa-sha256</Algorithm>
      </Signing>
    </SecurityConfiguration>
  </Initiator>
  <Responder>
    <PartyId type="urn:example:party-type">hub</PartyId>
    <Role>Hub</Role>
    <SecurityConfiguration>
      <Encryption>
        <KeystoreAlias>hub</KeystoreAlias>
        <Algorithm>http://www.w3.org/2009/xmlenc11#aes128-gcm</Algorithm>
      </Encryption>
    </SecurityConfiguration>
  </Responder>
  <Agreement><name>urn:example:orders</name></Agreement>
  <Leg>
    <Protocol><Address>https://hub.example/msh/as4</Address><UseHTTPCompression>true</UseHTTPCompression></Protocol>
    <Receipt><ReplyPattern>RESPONSE</ReplyPattern></Receipt>
    <ReceptionAwareness><MaxRetries>4</MaxRetries><RetryInterval>30</RetryInterval></ReceptionAwareness>
    <DefaultDelivery><DeliveryMethod>files</DeliveryMethod></DefaultDelivery>
    <UserMessageFlow>
      <BusinessInfo>
        <Action>Order</Action>
        <Service><name>orders</name><type>urn:example:services</type></Service>
      </BusinessInfo>
      <PayloadProfile><UseAS4Compression>true</UseAS4Compression></PayloadProfile>
    </UserMessageFlow>
  </Leg>
</PMode>
"""
PHASE4 = {
    "id": "orders",
    "Initiator": {"IDType": "urn:example:party-type", "IDValue": "broker1", "Role": "Applicant",
                  "Password": "p"},
    "Responder": {"IDType": "urn:example:party-type", "IDValue": "hub", "Role": "Hub"},
    "Agreement": "urn:example:orders",
    "MEP": "oneway",
    "MEPBinding": "push",
    "Leg1": {
        "Protocol": {"Address": "https://hub.example/msh/as4", "SoapVersion": "1.2"},
        "BusinessInfo": {"Service": "orders", "ServiceType": "urn:example:services", "Action": "Order",
                         "MPCID": f"{EB3}defaultMPC", "Properties": [{"Name": "originalSender"}]},
        "Security": {"WSSVersion": "1.1.1", "X509SignatureAlgorithm": "rsa-sha-256",
                     "X509SignatureHashFunction": "sha-256", "X509EncryptionAlgorithm": "aes-128-gcm",
                     "SendReceipt": True, "SendReceiptReplyPattern": "response"},
        "ErrorHandling": {"ReportAsResponse": False},
    },
    "PayloadServices": {"CompressionMode": "gzip"},
    "RecepetionAwareness": {"Retry": True, "MaxRetries": 2, "RetryIntervalMS": 10500,
                            "DuplicateDetection": True},
}  # fmt: skip


def tell(text: str | dict[str, object]) -> dict[str, tuple[str, str]]:
    """Return what is told, by its first word."""
    data = text if isinstance(text, str) else json.dumps(text)
    found = read_peer_pmode(data.encode(), "p", AT).findings
    return {one.text.split()[0]: (one.rule, one.location) for one in found}


@pytest.mark.parametrize("text", [HOLODECK, PHASE4], ids=["holodeck", "phase4"])
def test_what_a_file_says_becomes_ours(text: str | dict[str, object]) -> None:
    (pmode,) = read_peer_pmode((text if isinstance(text, str) else json.dumps(text)).encode(), "p", AT).pmodes
    assert (pmode.id, pmode.agreement, pmode.protocol, pmode.mep) == (
        "orders",
        "urn:example:orders",
        "as4",
        "one-way",
    )
    assert (pmode.sender.ids, pmode.sender.role) == (
        (PartyId("broker1", "urn:example:party-type"),),
        "Applicant",
    )
    assert (pmode.receiver.ids, pmode.receiver.role) == ((PartyId("hub", "urn:example:party-type"),), "Hub")
    assert (pmode.service, pmode.service_type, pmode.action) == ("orders", "urn:example:services", "Order")
    assert (pmode.endpoint, pmode.mpc, pmode.pull) == ("https://hub.example/msh/as4", None, None)
    assert pmode.security.signature_algorithms == (f"{MORE}rsa-sha256",)
    assert pmode.encryption is not None
    assert pmode.encryption.algorithms[0] == "http://www.w3.org/2009/xmlenc11#aes128-gcm"
    assert pmode.compresses_payloads
    assert pmode.is_in_force(AT)
    wanted = (4, 30, "X509v3") if isinstance(text, str) else (2, 11, None)
    rely = pmode.reliability
    assert (rely.retries, rely.retry_interval, pmode.security.token_reference) == wanted


def test_what_holodeck_says_beside_is_told_with_its_line() -> None:
    told = tell(HOLODECK)
    assert told["Leg1/Protocol/UseHTTPCompression"] == ("peer-unsaid", "p:29")
    assert told["Leg1/DefaultDelivery/DeliveryMethod"] == ("peer-unneeded", "p:32")
    assert told["Initiator/SecurityConfiguration/Signing/KeystoreAlias"] == ("peer-unneeded", "p:11")
    words = " ".join(one.text for one in read_peer_pmode(HOLODECK.encode(), "p", AT).findings)
    assert "secret of the key" not in words


def test_what_phase4_says_beside_is_told_with_its_pointer() -> None:
    told = tell(PHASE4)
    assert told["Leg1/BusinessInfo/Properties/0/Name"] == (
        "peer-unsaid",
        "p: /Leg1/BusinessInfo/Properties/0/Name",
    )
    assert told["Leg1/ErrorHandling/ReportAsResponse"][0] == "peer-unsaid"
    assert told["Initiator/Password"][0] == "peer-unsaid"
    words = [one.text for one in read_peer_pmode(json.dumps(PHASE4).encode(), "p", AT).findings]
    assert "Initiator/Password cannot be said in a P-Mode of this gateway" in words


def test_a_second_leg_goes_back() -> None:
    leg = HOLODECK[HOLODECK.index("  <Leg>") : HOLODECK.index("</PMode>")]
    back = leg.replace("Order</Action>", "Answer</Action>").replace("hub.example", "broker.example")
    two = HOLODECK.replace("oneWay", "twoWay").replace("200704/push", "200704/pushAndPush")
    first, second = read_peer_pmode(two.replace("</PMode>", back + "</PMode>").encode(), "p", AT).pmodes
    assert (first.id, second.id, second.action) == ("orders", "orders-2", "Answer")
    assert (second.sender, second.receiver) == (first.receiver, first.sender)
    assert (second.endpoint, first.reply_endpoint) == ("https://broker.example/msh/as4",) * 2
    assert first.mep == second.mep == "two-way"


def test_a_pulled_message_comes_from_the_responder() -> None:
    pull = HOLODECK.replace("200704/push", "200704/pull").replace(
        "<UserMessageFlow>",
        "<PullRequestFlow><Mpc>urn:example:mpc/one</Mpc></PullRequestFlow><UserMessageFlow>",
    )
    pull = pull.replace("<Action>Order", "<Mpc>urn:example:mpc</Mpc><Action>Order")
    (pmode,) = read_peer_pmode(pull.encode(), "p", AT).pmodes
    assert (pmode.sender.role, pmode.mpc, pmode.pull) == (
        "Hub",
        "urn:example:mpc",
        PullTerms("certificate", "one"),
    )
    # A PullRequest and the receipt of what it brings go to the sender, who alone has an address.
    assert (pmode.endpoint, pmode.reply_endpoint) == (None, "https://hub.example/msh/as4")


@pytest.mark.parametrize(
    ("binding", "ours"), [("pushAndPull", "push-and-pull"), ("pullAndPush", "pull-and-push")]
)
def test_a_two_way_exchange_with_a_pulled_leg_is_one(binding: str, ours: str) -> None:
    leg = HOLODECK[HOLODECK.index("  <Leg>") : HOLODECK.index("</PMode>")]
    back = leg.replace("Order</Action>", "Answer</Action><Mpc>urn:example:mpc</Mpc>")
    back = back.replace(
        "    <Protocol><Address>https://hub.example/msh/as4</Address><UseHTTPCompression>true"
        "</UseHTTPCompression></Protocol>\n",
        "",
    )
    two = HOLODECK.replace("oneWay", "twoWay").replace("200704/push", f"200704/{binding}")
    file = two.replace("</PMode>", back + "</PMode>").encode()
    legs = read_peer_pmode(file, "p", AT).pmodes
    assert [(one.mep, one.mep_binding, one.leg) for one in legs] == [
        ("two-way", ours, "request"), ("two-way", ours, "reply")
    ]  # fmt: skip
    (pulled,) = (one for one in legs if one.pull is not None)
    (pushed,) = (one for one in legs if one.pull is None)
    assert (pulled.from_role, pulled.endpoint, pulled.reply_endpoint) == (
        "Hub", None, "https://hub.example/msh/as4"
    )  # fmt: skip
    assert (pushed.to_role, pushed.endpoint, pushed.reply_endpoint) == (
        "Hub", "https://hub.example/msh/as4", None
    )  # fmt: skip


def test_what_is_not_said_is_filled_and_told() -> None:
    bare = HOLODECK.replace("<Role>Hub</Role>", "").replace(
        "<Agreement><name>urn:example:orders</name></Agreement>", ""
    )
    (pmode,) = read_peer_pmode(bare.encode(), "p", AT).pmodes
    assert (pmode.to_role, pmode.agreement) == (f"{EB3}defaultRole", "urn:single-window:pmode:orders")
    texts = [
        one.text for one in read_peer_pmode(bare.encode(), "p", AT).findings if one.rule == "peer-filled"
    ]
    assert [one.split(":")[0] for one in texts] == [
        "the file does not say agreement", "the file does not say responder.role", "the file says no period",
        "the file does not say deliver_to",
    ]  # fmt: skip


def test_an_agreement_that_is_filled_in_is_loaded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "orders.json"
    path.write_text(json.dumps({name: one for name, one in PHASE4.items() if name != "Agreement"}))
    assert main(["agreement", "lint", str(path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["readable"], told["agreement"]) == (True, "urn:single-window:pmode:orders")
    assert not [one for one in told["findings"] if one["severity"] == "error"]


def test_a_file_without_signature_is_told() -> None:
    changed = json.loads(json.dumps(PHASE4))
    del changed["Leg1"]["Security"]["X509SignatureAlgorithm"]
    for text, count in ((json.dumps(changed), 1), (json.dumps(PHASE4), 0), (HOLODECK, 0)):
        found = read_peer_pmode(text.encode(), "p", AT).findings
        assert [one.rule for one in found if "names no signature of leg 1" in one.text] == [
            "peer-filled"
        ] * count


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (json.dumps(PHASE4)[:-1] + ', "Agreement": "urn:other"}', "key 'Agreement' is written twice"),
        (
            json.dumps(PHASE4).replace("urn:example:orders", "urn:x\\u0001y"),
            "can carry.*Agreement",
        ),
        (
            json.dumps(PHASE4).replace("urn:example:orders", "urn:x\\ud800y"),
            "can carry.*Agreement",
        ),
    ],
)
def test_json_that_says_two_things_or_what_no_message_carries_is_refused(text: str, words: str) -> None:
    with pytest.raises(GatewayError, match=words):
        read_peer_pmode(text.encode(), "p", AT)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("200704/push", "200704/sync", "the exchange oneway by sync cannot be said .* p:5"),
        ("200704/push", "200704/pushAndPull", "the exchange oneway by pushandpull cannot be said .* p:5"),
        ("<PartyId type=\"urn:example:party-type\">hub</PartyId>", "", "does not say responder.id"),
        ("<MaxRetries>4", "<MaxRetries>four", "'four' is not a whole number .*p:31"),
        ("https://hub.example", "ftp://hub.example", "the endpoint is not an http"),
        ("<id>orders</id>", "", "does not say id"),
        ("RESPONSE", "MAYBE", "reply_pattern"),
    ],
)  # fmt: skip
def test_what_cannot_be_converted_is_refused(old: str, new: str, words: str) -> None:
    assert old in HOLODECK
    with pytest.raises(GatewayError, match=words):
        read_peer_pmode(HOLODECK.replace(old, new).encode(), "p", AT)


@pytest.mark.night
@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_garbage_is_no_pmode(data: bytes) -> None:
    assert not is_peer_pmode(data)
    assert not is_peer_pmode(b"{" * 100_000)


def test_lint_and_check_read_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "orders.xml"
    path.write_text(HOLODECK, encoding="utf-8")
    assert main(["agreement", "lint", str(path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["readable"], told["agreement"]) == (True, "urn:example:orders")
    assert {one["id"] for one in told["findings"]} >= {"peer-unsaid", "peer-filled", "peer-unneeded"}
