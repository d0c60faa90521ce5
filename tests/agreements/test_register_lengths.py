"""Names that come into the register have room in its indexes; longer ones are refused where they stand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gateway.agreements import (
    check_cpa,
    check_party_id_lengths,
    check_rule_lengths,
    convert_cpa,
    find_endpoint_fault,
    pmode_from_json,
    pmode_to_json,
    read_cpa,
    read_peer_pmode,
    read_pmodes,
)
from gateway.errors import GatewayError
from gateway.message_model import PartyId
from tests.agreements.cpa import written_cpa
from tests.agreements.test_forwarding_rules import make_rule
from tests.agreements.test_peer_pmodes import AT, HOLODECK
from tests.agreements.test_pmodes import EXAMPLE
from tests.kit.house import AS4


def read_refusal(text: bytes) -> tuple[str, str]:
    """Return sentence and place of the refusal of an agreement file."""
    with pytest.raises(GatewayError) as caught:
        read_pmodes(text, "x.yaml")
    assert caught.value.problem.id == "GW808"
    return caught.value.detail, caught.value.location


@pytest.mark.parametrize(
    ("old", "new", "longest", "place"),
    [
        ("agreement: urn:example:agreement:broker1-hub:2026", "agreement: {}", 600, "agreement"),
        ("id: broker1-submit", "id: {}", 1024, "id"),
        ("value: broker1", "value: {}", 1024, "from"),
        ("service: urn:single-window:services:declaration", "service: urn:xx:{}", 1017, "service"),
        ("action: Submit,", "action: {},", 1024, "action"),
    ],
)
def test_a_longer_name_in_an_agreement_is_refused_with_its_line(
    old: str, new: str, longest: int, place: str
) -> None:
    text = EXAMPLE.decode()
    assert old in text
    fitting = "가" * (longest // 3) + "a" * (longest % 3)
    read_pmodes(text.replace(old, new.format(fitting), 1).encode(), "x.yaml")
    detail, location = read_refusal(text.replace(old, new.format(f"{fitting}a"), 1).encode())
    assert detail.endswith(f"has more than {600 if longest == 600 else 1024:,} octets")
    assert location.startswith("x.yaml:")
    assert location.endswith(f"({place})")


def test_a_longer_channel_is_refused() -> None:
    channel = b"urn:example:channel:store"
    read_pmodes(AS4.replace(channel, b"urn:" + b"x" * 508), "x.yaml")
    detail, location = read_refusal(AS4.replace(channel, b"urn:" + b"x" * 509))
    assert detail.endswith("has more than 512 octets")
    assert location.endswith("(mpc)")


def test_a_longer_name_in_a_cpa_is_found_at_its_action() -> None:
    # The CPAId goes on behind this.
    cpa_id, longest = 'tp:cpaid="urn:example:cpa:1', f'tp:cpaid="{"가" * 200}'
    assert not check_cpa(written_cpa.write_cpa((cpa_id, longest)), "a.xml", written_cpa.NOW).findings
    longer = written_cpa.write_cpa((cpa_id, f"{longest}가"))
    findings = check_cpa(longer, "a.xml", written_cpa.NOW).findings
    texts = {(each.rule, each.severity, each.text) for each in findings}
    assert texts == {("terms-wrong", "error", "agreement has more than 600 octets")}
    assert all(each.location.startswith("a.xml:") for each in findings)
    # One that was loaded before can still be read and written.
    assert convert_cpa(read_cpa(longer, "a.xml"))


def test_a_stored_agreement_with_a_longer_name_stays_readable() -> None:
    stored = replace(read_pmodes(EXAMPLE, "x.yaml")[0], id="x" * 1000)
    assert pmode_from_json(pmode_to_json(stored)) == stored


def test_a_longer_address_is_refused() -> None:
    assert find_endpoint_fault("https://a.example/".ljust(1000, "x")) is None
    assert find_endpoint_fault("https://a.example/".ljust(1001, "x")) == "has more than 1,000 octets"


@pytest.mark.parametrize(
    ("party_id", "sentence"),
    [
        (PartyId("가" * 342), "a party id has more than 1,024 octets"),
        (PartyId("a", "가" * 342), "the type of a party id has more than 1,024 octets"),
    ],
)
def test_a_longer_id_of_a_party_is_refused(party_id: PartyId, sentence: str) -> None:
    check_party_id_lengths([PartyId("가" * 341, "가" * 341)])
    with pytest.raises(GatewayError) as caught:
        check_party_id_lengths([party_id])
    assert (caught.value.problem.id, caught.value.detail) == ("GW808", sentence)


def test_the_values_of_a_forwarding_rule_have_room_together() -> None:
    terms: dict[str, Any] = {"to": PartyId("x" * 640, "x" * 640), "service": "y" * 640, "action": "z" * 640}
    check_rule_lengths(make_rule(**terms))
    for change in (
        {"to": PartyId("x" * 641)},
        {"to": PartyId("x", "가" * 214)},
        {"service": "y" * 641},
        {"action": "z" * 641},
    ):
        with pytest.raises(GatewayError, match=r"GW808 .* has more than [\d,]+ octets"):
            check_rule_lengths(make_rule(**terms | change))


def test_a_longer_name_in_a_file_of_another_program_is_refused() -> None:
    text = HOLODECK.replace("<name>urn:example:orders</name>", f"<name>urn:{'가' * 200}</name>")
    assert text != HOLODECK
    with pytest.raises(GatewayError, match="GW808 agreement has more than 600 octets"):
        read_peer_pmode(text.encode(), "p.xml", AT)
