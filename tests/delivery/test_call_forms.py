"""Envelopes of calls by their forms: the octets that zeep writes, and its refusals."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from gateway.delivery import call_forms
from gateway.delivery.call_forms import CallForms, make_form, read_plain_values
from gateway.delivery.service_contracts import CallAttachment, ServiceCall, ServiceContract, load_contract
from gateway.errors import GatewayError
from tests.kit.soap import DOCUMENT, ENDPOINT

AGENCY = load_contract("agency-template.wsdl")
CUSTOMS = load_contract("customs.wsdl")
TREE = etree.fromstring(f'<D xmlns="{DOCUMENT}">a &lt; b<!--document--></D>')
SUBMIT = ServiceCall(
    "SubmitApplication",
    "urn:uuid:1",
    ENDPOINT,
    {"ApplicationNumber": "A-1", "CaseNumber": "C-1"},
    TREE,
    scope={"items": ("1", "2"), "laws": ("01", "01"), "unknown": ("x",)},
)
REQUIREMENT = {
    "item": 1,
    "law": "01",
    "number": "P 1",
    "date": date(2026, 11, 20),
    "quantity": Decimal("10.500"),
    "unit": "KGM",
}
REPORT = ServiceCall(
    "ReportRequirements",
    "urn:uuid:2",
    None,
    {
        "CaseNumber": "SW-2026-0000-0001",
        "PendingCode": "19",
        "Requirement": [REQUIREMENT, {"item": 2, "law": "70"}],
    },
)
CALLS = [(AGENCY, SUBMIT), (CUSTOMS, REPORT)]


def without_forms(contract: ServiceContract, call: ServiceCall) -> object:
    """Return the envelope that zeep composes, or its refusal."""
    operation = contract.description.operations[call.operation]
    try:
        octets = contract._write_by_zeep(call, operation)
    except GatewayError as refused:
        return refused.problem.id, refused.detail, refused.location
    return octets if call.document is None else octets.replace(b"<!--document-->", etree.tostring(TREE), 1)


def composed(contract: ServiceContract, call: ServiceCall) -> object:
    try:
        return contract.compose_envelope(call)
    except GatewayError as refused:
        return refused.problem.id, refused.detail, refused.location


@pytest.mark.parametrize(("contract", "call"), CALLS, ids=["agency", "customs"])
def test_the_second_call_of_a_shape_is_not_composed_by_zeep(
    contract: ServiceContract, call: ServiceCall, monkeypatch: pytest.MonkeyPatch
) -> None:
    composed(contract, call)
    other = replace(call, message_id="urn:uuid:other", arguments={**call.arguments, "CaseNumber": "C-9"})
    expected = without_forms(contract, other)
    monkeypatch.setattr(contract, "_binding", None)
    assert composed(contract, other) == expected
    assert isinstance(expected, bytes)


ODD = st.text(max_size=20) | st.sampled_from(
    [
        "18",
        "19",
        "",
        " ",
        " a ",
        "a  b",
        "<a>",
        "a>b",
        "a&b",
        '"',
        "'",
        "]]>",
        "<!--document-->",
        "value-1-of-call",
        "x" * 600,
    ]
)
LEAF = (
    ODD | st.integers() | st.dates() | st.decimals() | st.none() | st.booleans() | st.just(datetime.now(UTC))
)
NAMES = st.sampled_from(["item", "law", "number", "date", "quantity", "unit", "other"])


@settings(max_examples=150, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize(("contract", "call"), CALLS, ids=["agency", "customs"])
def test_whatever_is_composed_is_what_zeep_writes(
    contract: ServiceContract, call: ServiceCall, data: st.DataObject
) -> None:
    composed(contract, call)
    arguments: dict[str, Any] = {
        name: data.draw(st.just(one) | LEAF) if isinstance(one, str) else one
        for name, one in call.arguments.items()
    }
    if "Requirement" in arguments:
        told = data.draw(st.just(REQUIREMENT) | st.dictionaries(NAMES, LEAF, max_size=6))
        arguments["Requirement"] = [told] * data.draw(st.integers(0, 3))
    other = replace(
        call,
        message_id=data.draw(st.just("urn:uuid:3") | st.text("ab<&\"'é ", min_size=1)),
        to=data.draw(st.sampled_from([None, ENDPOINT, "http://a.example/?b&c"])),
        arguments=arguments,
        scope={"items": tuple(data.draw(st.lists(st.sampled_from(["1", "2", "a", '"', ""]), max_size=3)))},
    )
    try:
        expected = without_forms(contract, other)
    except ValueError:  # no XML can have it
        return
    assert composed(contract, other) == expected


FILE = CallAttachment("a@x", "text/plain", b"a")
FILES = st.lists(
    st.builds(
        CallAttachment,
        st.sampled_from(["a@x", "b&c@x", "", " ", "x" * 600]),
        st.sampled_from(["text/plain", "application/pdf", "text/<b>"]),
        st.binary(max_size=100) | st.sampled_from([b"value-1-of-call", b"x" * 70_000]),
    ),
    max_size=3,
)


def test_a_call_with_an_attachment_is_composed_by_its_form(monkeypatch: pytest.MonkeyPatch) -> None:
    call = replace(SUBMIT, attachments=(FILE,))
    assert composed(AGENCY, call) == without_forms(AGENCY, call)
    others = [
        replace(call, message_id=f"urn:uuid:{number}", attachments=(replace(FILE, content=content),))
        for number, content in enumerate((b"\x00\xff<&", b"another", b"x" * 3000))
    ]
    expected = [without_forms(AGENCY, other) for other in others]
    monkeypatch.setattr(AGENCY, "_binding", None)
    assert [composed(AGENCY, other) for other in others] == expected
    assert b">AP88Jg==<" in AGENCY.compose_envelope(others[0])


@settings(max_examples=100, deadline=None)
@given(files=FILES)
def test_attachments_are_written_as_zeep_writes_them(files: list[CallAttachment]) -> None:
    call = replace(SUBMIT, attachments=tuple(files))
    assert composed(AGENCY, call) == without_forms(AGENCY, call)


def test_an_argument_of_the_name_of_attachments_gives_way_to_them() -> None:
    call = replace(SUBMIT, arguments={**SUBMIT.arguments, "Attachment": "x"}, attachments=(FILE,))
    for _ in range(2):
        assert composed(AGENCY, call) == without_forms(AGENCY, call)
    assert b"a@x" in AGENCY.compose_envelope(call)


def test_a_value_that_is_not_written_as_it_is_has_no_form() -> None:
    content = {"a": "1", "b": ["x", {"c": 5}]}
    values = read_plain_values(content)
    assert values is not None
    assert values.texts == [b"1", b"x", b"5"]

    def write(other: dict[str, Any]) -> bytes:
        # As zeep writes a boolean.
        return b"<a>%s</a><b>%s</b>" % (b"false" if other["a"] == "0" else b"true", str(other["b"]).encode())

    assert make_form(content, values, write(content), write) is None
    assert (
        make_form(
            content, values, b"<a>1</a>x5", lambda other: f"<a>{other['a']}</a>{other['b'][0]}".encode()
        )
        is None
    )
    for odd in ("", "a\n", "<", "é", None, True, Decimal("1E+3"), datetime.now(UTC), date(900, 1, 1), b""):
        assert read_plain_values({"a": odd}) is None
    assert read_plain_values({"a": ["x"] * 65}) is None


def test_octets_are_written_in_base64_where_they_are_not_too_many() -> None:
    most = call_forms._LONGEST_CONTENT
    values = read_plain_values({"a": b"x" * most, "b": b"\x00"})
    assert values is not None
    assert values.texts[1] == b"AA=="
    assert read_plain_values({"a": b"x" * (most + 1)}) is None
    assert call_forms.may_have_form([b"x" * (most - 1), b"x"])
    assert not call_forms.may_have_form([b"x" * most, b"x"])
    assert call_forms.may_have_form([b"x"] * 12)
    assert not call_forms.may_have_form([b"x"] * 13)


def test_what_has_no_form_is_digested_once(monkeypatch: pytest.MonkeyPatch) -> None:
    digested: list[bytes] = []
    argument = CallAttachment.to_zeep_argument

    def count(attachment: CallAttachment) -> dict[str, Any]:
        digested.append(attachment.content)
        return argument(attachment)

    monkeypatch.setattr(CallAttachment, "to_zeep_argument", count)
    content = b"x" * (call_forms._LONGEST_CONTENT + 1)
    AGENCY.compose_envelope(replace(SUBMIT, attachments=(CallAttachment("a@x", "text/plain", content),)))
    assert digested == [content]


def test_forms_are_bounded() -> None:
    forms = CallForms()
    for number in range(call_forms._MOST_FORMS * 3):
        forms.add(number, None)
        assert forms.is_known(number)
        assert len(forms._forms) <= call_forms._MOST_FORMS


def test_an_envelope_that_its_form_does_not_give_has_no_form() -> None:
    """A value that is written in another way, which no marker shows."""
    values = read_plain_values({"number": "12"})
    assert values is not None

    def write(content: Any) -> bytes:
        return b"<a>%b</a>" % str(content["number"]).replace("12", "twelve").encode()

    content = {"number": "12"}
    assert make_form(content, values, write(content), write) is None
    other = {"number": "13"}
    assert make_form(other, read_plain_values(other) or values, write(other), write) is not None


def test_an_empty_list_and_an_empty_mapping_have_forms_of_their_own() -> None:
    shapes = [read_plain_values({"Attachment": one}) for one in ([], {})]
    assert None not in shapes
    assert len({one.shape for one in shapes if one is not None}) == 2
