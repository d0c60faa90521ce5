"""Numbers and dates that are expensive to convert, and long values that are expensive for patterns.

The sender signs them, so only the value is wrong.
"""

from __future__ import annotations

import re
from typing import Final

from gateway.message_model import Payload
from gateway.wire import parse_xml, serialize_element
from gateway.xmlsec import sign_document
from gateway_conformance import DATA_FOLDER
from gateway_conformance.hostile.attack_cases import (
    AttackCase,
    AttackTable,
    RequestFactory,
    RequestMaker,
    ValueTable,
    change_envelope,
    expect_early_refusal,
    make_table_cases,
    make_value_cases,
    use_request_maker,
)
from gateway_conformance.hostile.attacker_kit import AttackerKit
from gateway_conformance.hostile.content_mutations import OctetMutation, replace_text_of, swap_octets
from gateway_conformance.hostile.exchange import LAWFUL, HttpRequest

_DIGITS: Final = "CVE-2020-10735: digits are converted in quadratic time"
_DATES: Final = "dates beyond the calendar of the language"
_PATTERNS: Final = "CWE-1333: patterns that try every way"
_SCHEMAS: Final = "schema validation that tries every way; xmlschema #160"
_SAMPLE: Final = ("samples", "import-three-items.xml")
_AMOUNT: Final = r"(<(?:\w+:)?\w*(?:Amount|Quantity|Measure)\b[^>]*>)[0-9.]+"
_NINES: Final = "9" * 4301
_HEADER: Final = expect_early_refusal("GW107", "GW110", "GW301", "GW302", "GW303", "GW304", "GW310")
_CREATED: Final = expect_early_refusal("GW202", "GW206")
_SCHEMA: Final = expect_early_refusal("GW402", "GW102")

#: Characters of four octets, which no index of a database compresses.
_WIDE_CHARACTERS: Final = "".join(chr(0x20000 + number * number * 7919 % 0xA6DE) for number in range(1024))

# fmt: off
_MOMENTS: Final[tuple[tuple[str, str], ...]] = (
    ("fraction-5000", f"2026-11-20T09:00:00.{'1' * 5000}Z"),
    ("fraction-50000", f"2026-11-20T09:00:00.{'1' * 50_000}Z"),
    ("year-999999999", "999999999-01-01T00:00:00Z"),
    ("year-4301", f"{_NINES}-01-01T00:00:00Z"),
    ("year-negative", "-2026-11-20T09:00:00Z"),
    ("year-0", "0000-01-01T00:00:00Z"),
    ("year-1", "0001-01-01T00:00:00+14:00"),
    ("year-9999", "9999-12-31T23:59:59-14:00"),
    ("midnight-9999", "9999-12-31T24:00:00Z"),
    ("offset-15", "2026-11-20T09:00:00+14:01"),
    ("month-13", "2026-13-01T00:00:00Z"),
    ("day-30", "2026-02-30T00:00:00Z"),
    ("hour-25", "2026-11-20T25:00:00Z"),
    ("offset-99", "2026-11-20T09:00:00+99:99"),
    ("exponent", "1e1000000"),
    ("digits", _NINES),
    ("other-digits", "２０２６-11-20T09:00:00Z"),
    ("week", "2026-W47-5"),
    ("spaces", " " * 100_000 + "2026-11-20T09:00:00Z"),
    ("colons", ":" * 100_000),
)

_HEADER_VALUES: Final[AttackTable[OctetMutation]] = (
    ("message-id", "a message id of a hundred thousand characters",
     replace_text_of("eb:MessageId", "a" * 100_000)),
    ("message-id-dots", "a message id of six hundred words",
     replace_text_of("eb:MessageId", "a." * 600 + "!")),
    ("conversation", "a conversation id of 1,025 characters",
     replace_text_of("eb:ConversationId", "a" * 1025)),
    ("message-id-octets", "a message id of 680 characters that have four octets each",
     replace_text_of("eb:MessageId", _WIDE_CHARACTERS[:680])),
    ("conversation-octets", "a conversation id of 1,024 characters that have four octets each",
     replace_text_of("eb:ConversationId", _WIDE_CHARACTERS)),
    ("party", "a party id of four hundred colons", replace_text_of("eb:PartyId", "urn:" + "a:" * 400)),
    ("service", "a service that is nearly a URI", replace_text_of("eb:Service", "a" * 1000 + ":")),
    ("agreement", "an agreement of a thousand characters", replace_text_of("eb:CPAId", "a" * 1000)),
)

_ATTRIBUTES: Final[AttackTable[OctetMutation]] = (
    ("version", "a version of five thousand digits",
     swap_octets('eb:version="2.0"', f'eb:version="2.{"0" * 5000}"')),
    ("version-exponent", "a version with an exponent", swap_octets('eb:version="2.0"', 'eb:version="2e0"')),
    ("must-understand", "a mustUnderstand of five thousand digits",
     swap_octets('soap:mustUnderstand="1"', f'soap:mustUnderstand="{"0" * 5000}1"')),
    ("signed", "a flag of five thousand digits",
     swap_octets('eb:signed="true"', f'eb:signed="{"1" * 5000}"')),
)
# fmt: on

#: Fields of a decision with valid values.
_ITEM: Final = (
    ("item", "1"), ("law", "SUITE"), ("decision", "approved"), ("number", "N-1"),
    ("date", "2026-11-20"), ("quantity", "1.5"), ("unit", "KGM"), ("condition", "none"),
)  # fmt: skip
# fmt: off
_DECISIONS: Final = (
    ("item", (
        ("item-4301", _NINES),
        ("item-zeros", "0" * 5000 + "1"),
        ("item-exponent", "1e5"),
        ("item-negative", "-1"),
        ("item-underscore", "1_0"),
        ("item-other-digits", "１"),
    )),
    ("quantity", (
        ("quantity-digits", _NINES),
        ("quantity-fraction", "0." + "1" * 50_000),
        ("quantity-exponent", "1e1000000"),
        ("quantity-infinity", "INF"),
        ("quantity-nan", "NaN"),
    )),
    ("date", (("date-year", "999999999-01-01"), ("date-digits", f"{_NINES}-01-01"))),
    ("law", (("code", "A" * 100_000),)),
    ("condition", (("sentence", "x" * 1_000_000),)),
    ("number", (("token", "a " * 50_000),)),
)
# fmt: on


def _send_content(operation: str, content: str) -> RequestMaker:
    """Return the step that sends a signed call of an operation with any content."""
    return lambda kit: kit.build_call(operation, content)


#: Content on which a validator backtracks, in the Body of a call signed by its agency.
# fmt: off
_CROWDS: Final[AttackTable[RequestMaker]] = (
    ("decisions", "ten thousand decisions that hold nothing",
     _send_content("SubmitDecision", "<Decision/>" * 10_000)),
    ("repeated", "one element five thousand times",
     _send_content("Acknowledge", "<ReceiptNumber>1</ReceiptNumber>" * 5_000)),
    ("alternating", "both sides of a choice, two thousand times",
     _send_content("SubmitDecision",
      "<ApplicationNumber>1</ApplicationNumber><RequirementNumber>1</RequirementNumber>" * 2_000)),
    ("foreign", "three thousand foreign elements",
     _send_content("Acknowledge", '<x xmlns="urn:example:unknown"/>' * 3_000)),
    ("typed", "a type of the sender's choice",
     _send_content("Acknowledge",
      '<ApplicationNumber xmlns:i="http://www.w3.org/2001/XMLSchema-instance" i:type="i:other">'
      "1</ApplicationNumber><ReceiptNumber>1</ReceiptNumber>")),
)

_AMOUNTS: Final = (
    ("digits", _NINES),
    ("fraction", "1." + "1" * 50_000),
    ("exponent", "1e1000000"),
    ("million", "9" * 1_000_000),
)
# fmt: on


def _send_in_header(element: str) -> RequestFactory[str]:
    """Return the step that sends a signed message with another header value."""
    return lambda value: change_envelope(replace_text_of(f"eb:{element}", value))


def _send_as_creation_time(moment: str) -> RequestMaker:
    """Return the step that sends a call with the creation time `moment`."""
    return lambda kit: kit.build_call(tampered=replace_text_of("wsu:Created", moment))


def _build_notice(kit: AttackerKit) -> str:
    return (
        f"<ApplicationNumber>{kit.application_number}</ApplicationNumber><NoticeNumber>N</NoticeNumber>"
        f"<IssuedAt>{kit.write_issue_time()}</IssuedAt>"
    )


def _send_as_deadline(moment: str) -> RequestMaker:
    """Return the step that sends a signed request for information with this deadline."""
    return lambda kit: kit.build_call(
        "RequestInformation",
        f"{_build_notice(kit)}<Text>x</Text><Deadline>{moment}</Deadline>",
    )


def _send_in_decision(field: str) -> RequestFactory[str]:
    """Return the step that sends a signed decision with one invalid value."""

    def put_value(value: str) -> RequestMaker:
        fields = "".join(f"<{key}>{value if key == field else good}</{key}>" for key, good in _ITEM)
        decision = f"<StatusCode>D02</StatusCode><Decision>{fields}</Decision>"
        return lambda kit: kit.build_call("SubmitDecision", _build_notice(kit) + decision)

    return put_value


def _send_in_submission(value: str) -> RequestMaker:
    """Return the step that sends a signed submission with one number that must not be converted."""

    def make_request(kit: AttackerKit) -> HttpRequest:
        sample = DATA_FOLDER.joinpath(*_SAMPLE)
        text, count = re.subn(
            _AMOUNT, lambda match: match[1] + value, sample.read_text(encoding="utf-8"), count=1
        )
        if not count:
            raise LookupError(f"not in the sample: {_AMOUNT}")
        root = parse_xml(text.encode())
        sign_document(root, kit.get_signer("a"), now=kit.get_current_time())
        message_id = kit.make_message_id()
        payload = Payload(f"submission.{message_id}", "application/xml", serialize_element(root))
        return kit.build_message(kit.make_unit(action="Submit", message_id=message_id, payloads=(payload,)))

    return make_request


#: XML Schema allows white space around a date and time.
_DEADLINES: Final = tuple(row for row in _MOMENTS if row[0] != "spaces")
_AMOUNT_TITLE: Final = "a signed submission with a number of {length} characters, to be judged later"

# fmt: off
CASES: Final[tuple[AttackCase, ...]] = (
    *make_value_cases(
        ValueTable("DOS-12.", "TimeToLive is {}", _MOMENTS, _send_in_header("TimeToLive"), _HEADER, _DATES,
                   shown_length=20),
        ValueTable("DOS-12.timestamp-", "Timestamp is {}", _MOMENTS, _send_in_header("Timestamp"), _HEADER,
                   _DATES, shown_length=20),
        ValueTable("DOS-12.created-", "wsu:Created is {}", _MOMENTS, _send_as_creation_time, _CREATED, _DATES,
                   "soap", shown_length=20),
        ValueTable("DOS-12.deadline-", "a deadline is {}", _DEADLINES, _send_as_deadline, _SCHEMA, _DATES,
                   "soap", shown_length=20, min_shortened_length=0),
    ),
    *make_table_cases("DOS-12.", _HEADER_VALUES, change_envelope, _PATTERNS, _HEADER),
    *make_table_cases("DOS-12.", _ATTRIBUTES, change_envelope, _DIGITS, _HEADER),
    *make_value_cases(*(
        ValueTable("DOS-12.decision-", f"{field} is {{}}", values, _send_in_decision(field), _SCHEMA,
                   _DIGITS, "soap")
        for field, values in _DECISIONS
    )),
    *make_table_cases("DOS-15.", _CROWDS, use_request_maker, _SCHEMAS, _SCHEMA, face="soap"),
    *make_value_cases(
        ValueTable("DOS-12.submission-", _AMOUNT_TITLE, _AMOUNTS, _send_in_submission, LAWFUL, _DIGITS),
    ),
)
# fmt: on
"""Attacks by numbers and dates, and on who validates: DOS-12 and DOS-15."""
