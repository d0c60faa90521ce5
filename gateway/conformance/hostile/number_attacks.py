"""Numbers and dates that cost more to convert than to write, and values without end for patterns to try.

The sender signs them himself: nothing but the value is wrong.
"""

from __future__ import annotations

import re
from typing import Final

from gateway.conformance.hostile.attack_case import AttackCase
from gateway.conformance.hostile.attacker_kit import AttackerKit
from gateway.conformance.hostile.exchange import LAWFUL, Expectation, HttpRequest
from gateway.conformance.hostile.message_attacks import make_attack_case
from gateway.conformance.hostile.scenarios import RequestMaker
from gateway.conformance.hostile.xml_bombs import expect_early_refusal
from gateway.message_model import Payload
from gateway.share import get_data_folder
from gateway.wire.xml import parse_xml, serialize_element
from gateway.xmlsec.xades import sign_document

__all__ = ["CASES"]

_DIGITS: Final = "CVE-2020-10735: digits are converted in quadratic time"
_DATES: Final = "dates beyond the calendar of the language"
_PATTERNS: Final = "CWE-1333: patterns that try every way"
_SCHEMAS: Final = "schema validation that tries every way; xmlschema #160"
_SAMPLE: Final = ("samples", "import-three-items.xml")
_NINES: Final = "9" * 4301

_MOMENTS: Final[dict[str, str]] = {
    "fraction-5000": f"2026-11-20T09:00:00.{'1' * 5000}Z",
    "fraction-50000": f"2026-11-20T09:00:00.{'1' * 50_000}Z",
    "year-999999999": "999999999-01-01T00:00:00Z",
    "year-4301": f"{_NINES}-01-01T00:00:00Z",
    "year-negative": "-2026-11-20T09:00:00Z",
    "year-0": "0000-01-01T00:00:00Z",
    "year-1": "0001-01-01T00:00:00+14:00",
    "year-9999": "9999-12-31T23:59:59-14:00",
    "midnight-9999": "9999-12-31T24:00:00Z",
    "offset-15": "2026-11-20T09:00:00+14:01",
    "month-13": "2026-13-01T00:00:00Z",
    "day-30": "2026-02-30T00:00:00Z",
    "hour-25": "2026-11-20T25:00:00Z",
    "offset-99": "2026-11-20T09:00:00+99:99",
    "exponent": "1e1000000",
    "digits": _NINES,
    "other-digits": "２０２６-11-20T09:00:00Z",
    "week": "2026-W47-5",
    "spaces": " " * 100_000 + "2026-11-20T09:00:00Z",
    "colons": ":" * 100_000,
}

_VALUES: Final[dict[str, tuple[str, str, str]]] = {
    # name: the element, its new value, what is tried
    "message-id": ("MessageId", "a" * 100_000, "a message id of a hundred thousand characters"),
    "message-id-dots": ("MessageId", "a." * 600 + "!", "a message id of six hundred words"),
    "conversation": ("ConversationId", "a" * 1025, "a conversation id of 1,025 characters"),
    "party": ("PartyId", "urn:" + "a:" * 400, "a party id of four hundred colons"),
    "service": ("Service", "a" * 1000 + ":", "a service that is nearly a URI"),
    "agreement": ("CPAId", "a" * 1000, "an agreement of a thousand characters"),
}

_ATTRIBUTES: Final[dict[str, tuple[str, str, str]]] = {
    "version": ('eb:version="2.0"', 'eb:version="2.%s"' % ("0" * 5000), "a version of five thousand digits"),
    "version-exponent": ('eb:version="2.0"', 'eb:version="2e0"', "a version with an exponent"),
    "must-understand": (
        'soap:mustUnderstand="1"',
        'soap:mustUnderstand="%s1"' % ("0" * 5000),
        "a mustUnderstand of five thousand digits",
    ),
    "signed": ('eb:signed="true"', 'eb:signed="%s"' % ("1" * 5000), "a flag of five thousand digits"),
}

_ITEM: Final = {
    "item": "1",
    "law": "SUITE",
    "decision": "approved",
    "number": "N-1",
    "date": "2026-11-20",
    "quantity": "1.5",
    "unit": "KGM",
    "condition": "none",
}
_DECISIONS: Final[dict[str, tuple[str, str]]] = {
    "item-4301": ("item", _NINES),
    "item-zeros": ("item", "0" * 5000 + "1"),
    "item-exponent": ("item", "1e5"),
    "item-negative": ("item", "-1"),
    "item-underscore": ("item", "1_0"),
    "item-other-digits": ("item", "１"),
    "quantity-digits": ("quantity", _NINES),
    "quantity-fraction": ("quantity", "0." + "1" * 50_000),
    "quantity-exponent": ("quantity", "1e1000000"),
    "quantity-infinity": ("quantity", "INF"),
    "quantity-nan": ("quantity", "NaN"),
    "date-year": ("date", "999999999-01-01"),
    "date-digits": ("date", f"{_NINES}-01-01"),
    "code": ("law", "A" * 100_000),
    "sentence": ("condition", "x" * 1_000_000),
    "token": ("number", "a " * 50_000),
}


def _make_header_value_request(element: str, value: str) -> RequestMaker:
    """Return what makes a message whose header has another value, signed by its sender."""
    pattern = re.compile(rf"(<eb:{element}\b[^>]*>)[^<]*".encode())

    def mutate_octets(data: bytes) -> bytes:
        changed, count = pattern.subn(lambda found: found[1] + value.encode(), data, count=1)
        if not count:
            raise LookupError(f"the message has no {element}")
        return changed

    return lambda bench: bench.build_message(envelope=mutate_octets)


def _make_attribute_request(old: str, new: str) -> RequestMaker:
    def mutate_octets(data: bytes) -> bytes:
        if old.encode() not in data:
            raise LookupError(f"the message has no {old}")
        return data.replace(old.encode(), new.encode(), 1)

    return lambda bench: bench.build_message(envelope=mutate_octets)


def _make_decision_call(name: str, value: str) -> RequestMaker:
    """Return what makes a signed decision with one value that is none."""

    def make_request(bench: AttackerKit) -> HttpRequest:
        rows = "".join(f"<{key}>{value if key == name else good}</{key}>" for key, good in _ITEM.items())
        return bench.build_call(
            "SubmitDecision",
            f"<ApplicationNumber>{bench.application}</ApplicationNumber><NoticeNumber>N</NoticeNumber>"
            f"<IssuedAt>2026-11-20T09:00:00Z</IssuedAt><StatusCode>D02</StatusCode><Decision>{rows}</Decision>",
        )

    return make_request


def _make_deadline_call(moment: str) -> RequestMaker:
    """Return what makes a signed request for information with such a deadline."""

    def make_request(bench: AttackerKit) -> HttpRequest:
        return bench.build_call(
            "RequestInformation",
            f"<ApplicationNumber>{bench.application}</ApplicationNumber><NoticeNumber>N</NoticeNumber>"
            f"<IssuedAt>2026-11-20T09:00:00Z</IssuedAt><Text>x</Text><Deadline>{moment}</Deadline>",
        )

    return make_request


def _make_timestamp_call(moment: str) -> RequestMaker:
    pattern = re.compile(rb"(<wsu:Created>)[^<]*")
    return lambda bench: bench.build_call(
        tampered=lambda data: pattern.sub(lambda found: found[1] + moment.encode(), data, count=1)
    )


def _make_submission_request(pattern: str, value: str) -> RequestMaker:
    """Return what makes a signed submission with one number that no machine should convert."""

    def make_request(bench: AttackerKit) -> HttpRequest:
        place = get_data_folder("conformance")
        for step in _SAMPLE:
            place = place / step
        text, count = re.subn(
            pattern, lambda found: found[1] + value, place.read_text(encoding="utf-8"), count=1
        )
        if not count:
            raise LookupError(f"not in the sample: {pattern}")
        root = parse_xml(text.encode())
        sign_document(root, bench.get_signer("a"), now=bench.get_current_time())
        message_id = bench.make_message_id()
        payload = Payload(f"submission.{message_id}", "application/xml", serialize_element(root))
        return bench.build_message(
            bench.make_unit(action="Submit", message_id=message_id, payloads=(payload,))
        )

    return make_request


#: What a validator tries again and again: content in the Body of a call, signed by its agency.
_CROWDS: Final[dict[str, tuple[str, str, str]]] = {
    "decisions": ("SubmitDecision", "<Decision/>" * 10_000, "ten thousand decisions that hold nothing"),
    "repeated": (
        "Acknowledge",
        "<ReceiptNumber>1</ReceiptNumber>" * 5_000,
        "one element five thousand times",
    ),
    "alternating": (
        "SubmitDecision",
        "<ApplicationNumber>1</ApplicationNumber><RequirementNumber>1</RequirementNumber>" * 2_000,
        "both sides of a choice, two thousand times",
    ),
    "foreign": ("Acknowledge", '<x xmlns="urn:example:unknown"/>' * 3_000, "three thousand foreign elements"),
    "typed": (
        "Acknowledge",
        '<ApplicationNumber xmlns:i="http://www.w3.org/2001/XMLSchema-instance" i:type="i:other">1'
        "</ApplicationNumber><ReceiptNumber>1</ReceiptNumber>",
        "a type of the sender's choice",
    ),
}


def _make_crowded_call(operation: str, content: str) -> RequestMaker:
    return lambda bench: bench.build_call(operation, content)


_AMOUNTS: Final[dict[str, str]] = {
    "digits": _NINES,
    "fraction": "1." + "1" * 50_000,
    "exponent": "1e1000000",
    "million": "9" * 1_000_000,
}


def _make_cases() -> list[AttackCase]:
    header: Expectation = expect_early_refusal("GW107", "GW110", "GW301", "GW302", "GW303", "GW304", "GW310")
    schema: Expectation = expect_early_refusal("GW402", "GW102")
    found: list[AttackCase] = []
    deadlines = {
        name: moment for name, moment in _MOMENTS.items() if name != "spaces"
    }  # which XML Schema allows
    for name, moment in _MOMENTS.items():
        shown = moment if len(moment) < 40 else f"{moment[:20]}… of {len(moment)} characters"
        found += [
            make_attack_case(
                f"DOS-12.{name}",
                f"TimeToLive is {shown}",
                _make_header_value_request("TimeToLive", moment),
                header,
                _DATES,
            ),
            make_attack_case(
                f"DOS-12.timestamp-{name}",
                f"Timestamp is {shown}",
                _make_header_value_request("Timestamp", moment),
                header,
                _DATES,
            ),
            make_attack_case(
                f"DOS-12.created-{name}",
                f"wsu:Created is {shown}",
                _make_timestamp_call(moment),
                expect_early_refusal("GW202", "GW206"),
                _DATES,
                face="soap",
            ),
        ]
    for name, moment in deadlines.items():
        title = f"a deadline is {moment[:20]}… of {len(moment)} characters"
        found.append(
            make_attack_case(
                f"DOS-12.deadline-{name}", title, _make_deadline_call(moment), schema, _DATES, face="soap"
            )
        )
    for name, (element, value, title) in _VALUES.items():
        found.append(
            make_attack_case(
                f"DOS-12.{name}", title, _make_header_value_request(element, value), header, _PATTERNS
            )
        )
    for name, (old, new, title) in _ATTRIBUTES.items():
        found.append(
            make_attack_case(f"DOS-12.{name}", title, _make_attribute_request(old, new), header, _DIGITS)
        )
    for name, (field, value) in _DECISIONS.items():
        shown = value if len(value) < 40 else f"{value[:12]}… of {len(value)} characters"
        found.append(
            make_attack_case(
                f"DOS-12.decision-{name}",
                f"{field} is {shown}",
                _make_decision_call(field, value),
                schema,
                _DIGITS,
                face="soap",
            )
        )
    for name, (operation, content, title) in _CROWDS.items():
        make = _make_crowded_call(operation, content)
        found.append(make_attack_case(f"DOS-15.{name}", title, make, schema, _SCHEMAS, face="soap"))
    for name, value in _AMOUNTS.items():
        found.append(
            make_attack_case(
                f"DOS-12.submission-{name}",
                f"a signed submission with a number of {len(value)} characters, to be judged later",
                _make_submission_request(_AMOUNT, value),
                LAWFUL,
                _DIGITS,
            )
        )
    return found


_AMOUNT: Final = r"(<(?:\w+:)?\w*(?:Amount|Quantity|Measure)\b[^>]*>)[0-9.]+"

CASES: Final[tuple[AttackCase, ...]] = tuple(_make_cases())
"""Attacks by numbers and dates, and on who validates: DOS-12 and DOS-15."""
