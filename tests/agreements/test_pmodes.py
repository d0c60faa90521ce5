"""P-Modes: their limits, the book's look-up, the strict file reader."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.agreements import (
    Encryption,
    MessageRoute,
    PMode,
    PModeIndex,
    Reliability,
    Security,
    pmode_from_json,
    pmode_to_json,
    read_pmodes,
)
from gateway.errors import GatewayError
from gateway.message_model import Party, PartyId
from gateway_conformance import DATA_FOLDER

T = "urn:example:party-type"
NOW = datetime(2026, 6, 1, tzinfo=UTC)
BROKER = PartyId("broker1", T)
HUB = PartyId("hub", T)
OTHER = PartyId("broker2", T)


def pmode(name: str = "submit", **changes: object) -> PMode:
    values: dict[str, object] = {
        "id": name,
        "agreement": "a1",
        "from_party": (BROKER,),
        "to_party": (HUB,),
        "service": "urn:s",
        "action": "Submit",
        "valid_from": datetime(2026, 1, 1, tzinfo=UTC),
        "valid_until": datetime(2027, 1, 1, tzinfo=UTC),
        "from_role": "Applicant",
        "to_role": "Hub",
    }
    return PMode(**{**values, **changes})  # type: ignore[arg-type]


RESULT = pmode(
    "result", from_party=(HUB,), to_party=(BROKER,), from_role="Hub", to_role="Applicant", action="Result"
)
SECOND = pmode("second", agreement="a2", from_party=(OTHER,))
BOOK = PModeIndex((pmode(), RESULT, SECOND), epoch=7)


def route(**changes: object) -> MessageRoute:
    good = MessageRoute(Party((BROKER,), "Applicant"), Party((HUB,), "Hub"), "a1", "urn:s", "Submit")
    return replace(good, **changes)  # type: ignore[arg-type]


def test_find_gives_the_pmode_of_the_direction_and_action() -> None:
    assert BOOK.epoch == 7
    assert BOOK.match_pmode(route(), NOW).id == "submit"
    back = MessageRoute(Party((HUB,), "Hub"), Party((BROKER,), "Applicant"), "a1", "urn:s", "Result")
    assert BOOK.match_pmode(back, NOW).id == "result"
    assert BOOK.find_by_id("a2", "second") is SECOND
    assert BOOK.find_by_id("a1", "none") is None
    assert BOOK.find_by_id("a1", "second") is None
    assert BOOK.get_reply_pmode(pmode(), "Result") is RESULT


@pytest.mark.parametrize(
    ("changes", "at", "problem", "location"),
    [
        ({"agreement": "none"}, NOW, "GW301", "CPAId"),
        ({}, datetime(2025, 12, 31, 23, 59, 59, tzinfo=UTC), "GW301", "CPAId"),
        ({}, datetime(2027, 1, 1, tzinfo=UTC), "GW301", "CPAId"),
        ({"sender": Party((PartyId("x", T),), "Applicant")}, NOW, "GW302", "From/PartyId"),
        ({"sender": Party((PartyId("broker1"),), "Applicant")}, NOW, "GW302", "From/PartyId"),
        ({"receiver": Party((PartyId("x", T),), "Hub")}, NOW, "GW302", "To/PartyId"),
        ({"sender": Party((OTHER,), "Applicant")}, NOW, "GW304", "From/PartyId"),
        ({"sender": Party((BROKER, HUB), "Applicant")}, NOW, "GW304", "From/PartyId"),
        ({"service": "urn:t"}, NOW, "GW303", "Service"),
        ({"service_type": "x"}, NOW, "GW303", "Service"),
        ({"action": "Other"}, NOW, "GW303", "Action"),
        ({"action": "submit"}, NOW, "GW303", "Action"),
        ({"action": "Result"}, NOW, "GW304", "From/PartyId"),
        ({"sender": Party((BROKER,), "Hub")}, NOW, "GW304", "From/Role"),
        ({"sender": Party((BROKER,), None)}, NOW, "GW304", "From/Role"),
        ({"receiver": Party((HUB,), "Applicant")}, NOW, "GW304", "To/Role"),
    ],
)
def test_find_refuses_and_says_where(
    changes: dict[str, object], at: datetime, problem: str, location: str
) -> None:
    with pytest.raises(GatewayError) as caught:
        BOOK.match_pmode(route(**changes), at)
    assert caught.value.problem.id == problem
    steps = "/".join(f"eb:{step}" for step in location.split("/"))
    assert caught.value.location == f"/soap:Envelope/soap:Header/eb:MessageHeader/{steps}"


def test_signals_fall_under_the_message_they_answer() -> None:
    ack = route(sender=Party((HUB,)), receiver=Party((BROKER,)), service="urn:x", action="Acknowledgment")
    assert BOOK.match_signal_pmode(ack, NOW, is_answer=True).id == "submit"
    assert BOOK.match_signal_pmode(ack, NOW, is_answer=False).id == "result"
    one_way = PModeIndex((pmode(),))
    assert one_way.match_signal_pmode(ack, NOW, is_answer=False).id == "submit"
    stranger = replace(ack, receiver=Party((HUB,)))
    with pytest.raises(GatewayError) as caught:
        one_way.match_signal_pmode(stranger, NOW, is_answer=True)
    assert caught.value.problem.id == "GW304"


def test_reply_needs_an_agreed_action() -> None:
    with pytest.raises(GatewayError) as caught:
        BOOK.get_reply_pmode(pmode(), "Notice")
    assert caught.value.problem.id == "GW303"


def test_the_book_refuses_ambiguous_pmodes() -> None:
    for twin in (pmode(), pmode("other")):
        with pytest.raises(GatewayError) as caught:
            PModeIndex((pmode(), twin))
        assert caught.value.problem.id == "GW808"


@pytest.mark.night
def test_look_up_does_not_walk_the_book() -> None:
    touched = 0

    class Counting(str):
        __slots__ = ()

        def __eq__(self, other: object) -> bool:
            nonlocal touched
            touched += 1
            return str.__eq__(self, other)

        __hash__ = str.__hash__

    many = [pmode(f"p{n}", agreement=f"a{n}", from_party=(PartyId(f"b{n}", T),)) for n in range(2000)]
    book = PModeIndex(many)
    wanted = route(agreement=Counting("a1500"), sender=Party((PartyId("b1500", T),), "Applicant"))
    assert book.match_pmode(wanted, NOW).id == "p1500"
    assert touched < 30


@pytest.mark.parametrize(
    "changes",
    [
        {"service": "no uri"},
        {"service": ""},
        {"action": " Submit"},
        {"action": "x" * 2000},
        {"from_party": ()},
        {"from_party": (PartyId("not a uri"),)},
        {"from_party": (PartyId("a", T), PartyId("b", T))},
        {"from_party": (PartyId("", T),)},
        {"to_party": (BROKER,)},
        {"valid_until": datetime(2026, 1, 1, tzinfo=UTC)},
        {"protocol": "smtp"},
        {"sync_reply_mode": "sometimes"},
        {"deliver_to": "elsewhere"},
        {"endpoint": "file:///etc/passwd"},
        {"reply_endpoint": "http:///x"},
    ],
)
def test_a_pmode_is_valid_once_constructed(changes: dict[str, object]) -> None:
    with pytest.raises(GatewayError) as caught:
        pmode(**changes)
    assert caught.value.problem.id == "GW808"


@pytest.mark.parametrize(
    "make",
    [
        lambda: Security(policy="lax"),
        lambda: Security(certificates=("AB",)),
        lambda: Security(reply_certificates=("0" * 63,)),
        lambda: Reliability(ack_requested="perhaps"),
        lambda: Reliability(ack_signed=""),
        lambda: Reliability(duplicate_elimination="yes"),
        lambda: Reliability(retries=-1),
        lambda: Reliability(retries=10_001),
        lambda: Reliability(retry_interval=0),
        lambda: Reliability(ack_actor="everybody"),
    ],
)
def test_security_and_reliability_have_limits(make: object) -> None:
    with pytest.raises(GatewayError) as caught:
        make()  # type: ignore[operator]
    assert caught.value.problem.id == "GW808"


EXAMPLE = DATA_FOLDER.joinpath("agreements", "example.yaml").read_bytes()


def test_the_example_reads() -> None:
    pmodes = read_pmodes(EXAMPLE, "example.yaml")
    actions = ["Submit", "Supplement", "Result", "Notice", "Store", "Withdraw", "Amend"]
    assert [one.action for one in pmodes] == actions
    first, result = pmodes[0], pmodes[2]
    assert first.sender == Party((PartyId("broker1", T),), "Applicant")
    assert first.endpoint == "http://127.0.0.1:8900/msh/ebms2"
    assert first.reply_endpoint == "http://127.0.0.1:8901/msh/ebms2"
    assert first.deliver_to == "case"
    assert first.sync_reply_mode == "mshSignalsOnly"
    assert (result.endpoint, result.deliver_to) == (first.reply_endpoint, "mailbox")
    assert (pmodes[4].service_type, pmodes[4].service) == ("example", "store")
    assert PModeIndex(pmodes).get_reply_pmode(first, "Result") is result


def test_a_pmode_may_differ_from_the_defaults() -> None:
    text = EXAMPLE.replace(
        b"action: Notice}",
        b"action: Notice, reliability: {retries: 0, ack_requested: never}, "
        b"security: {sign: false}, sync_reply_mode: none}",
    )
    notice = read_pmodes(text, "x.yaml")[3]
    assert notice.reliability == Reliability("never", "always", "always", 0, 300, 432_000)
    assert (notice.security.sign, notice.security.policy, notice.sync_reply_mode) == (False, "strict", "none")


def test_encryption_and_compression_are_agreed_in_yaml() -> None:
    pin = b"ab" * 32
    text = EXAMPLE.replace(b"action: Notice}", b"action: Notice, encryption: {certificate: " + pin + b"}}")
    text = text.replace(
        b"action: Result}",
        b"action: Result, compression: gzip, "
        b"encryption: {protocol: S/MIME, algorithms: [aes128-gcm, rsa-oaep], policy: legacy-cbc}}",
    )
    pmodes = read_pmodes(text, "x.yaml")
    assert pmodes[3].encryption == Encryption(
        "XMLENC", ("http://www.w3.org/2009/xmlenc11#aes256-gcm",), pin.decode()
    )
    assert pmodes[2].encryption == Encryption("S/MIME", ("aes128-gcm", "rsa-oaep"), policy="legacy-cbc")
    assert [one.compresses_payloads for one in pmodes[:4]] == [False, False, True, False]
    assert pmodes[0].encryption is None
    for one in pmodes:
        assert pmode_from_json(pmode_to_json(one)) == one
    for wrong in (b"{policy: loose}", b"{certificate: x}", b"{cipher: x}", b"{algorithms: []}"):
        with pytest.raises(GatewayError) as caught:
            read_pmodes(text.replace(b"{certificate: " + pin + b"}", wrong), "x.yaml")
        assert "x.yaml:" in caught.value.location
    with pytest.raises(GatewayError):
        read_pmodes(text.replace(b"gzip", b"zip"), "x.yaml")


def test_a_receiver_that_forgets_before_the_last_repeat_is_not_agreed_in_yaml() -> None:
    text = EXAMPLE.replace(b"action: Notice}", b"action: Notice, reliability: {persist_duration: 60}}")
    with pytest.raises(GatewayError) as caught:
        read_pmodes(text, "x.yaml")
    assert "persist_duration must last for all repeats" in str(caught.value)
    assert "x.yaml:" in caught.value.location
    assert not Reliability(retries=3, retry_interval=100, persist_duration=399).persists_long_enough


def line(text: bytes, part: bytes) -> int:
    return text[: text.index(part)].count(b"\n") + 1


@pytest.mark.night
@pytest.mark.parametrize(
    ("old", "new", "needle"),
    [
        (b"protocol: ebms2", b"protocol: ebms2\nprotocol: ebms2", b"protocol: ebms2\nprotocol"),
        (b"protocol: ebms2", b"protokoll: ebms2", b"protokoll"),
        (b"protocol: ebms2", b"protocol: !!python/object:os.system ebms2", b"!!python"),
        (b"protocol: ebms2", b"protocol: &a ebms2", b"&a"),
        (b"retries: 3 ", b"retries: three ", b"retries: three"),
        (b"retries: 3 ", b"retries: 3.0 ", b"retries: 3.0"),
        (b"retries: 3 ", b"retries: -3 ", b"retries: -3"),
        (b"retries: 3 ", "retries: ٣ ".encode(), "retries: ٣".encode()),
        (b"sign: true ", b"sign: yes ", b"sign: yes"),
        (b"policy: strict ", b"policy: lax ", None),
        (b"role: Hub", b"role: ''", b"role: ''"),
        (b"role: Hub", b"role: [Hub]", b"role: [Hub]"),
        (b"2026-01-01T00:00:00Z", b"2026-01-01T00:00:00", b"2026-01-01"),
        (b"2026-01-01T00:00:00Z", b"yesterday", b"yesterday"),
        (b"from: applicant, to: hub", b"from: applicant, to: nobody", b"nobody"),
        (b"id: broker1-supplement", b"id: broker1-submit", None),
        (b"action: Supplement", b"action: Submit", None),
        (b"  hub:\n", b"  third:\n    ids: [{value: 'urn:x'}]\n  hub:\n", None),
        (b"valid_from: ", b"? [a]\n: b\nvalid_from: ", b"? [a]"),
    ],
)
def test_the_reader_refuses_with_file_and_line(old: bytes, new: bytes, needle: bytes | None) -> None:
    text = EXAMPLE.replace(old, new, 1)
    with pytest.raises(GatewayError) as caught:
        read_pmodes(text, "x.yaml")
    assert caught.value.problem.id == "GW808"
    assert caught.value.location.startswith("x.yaml:")
    if needle is not None:
        found = int(caught.value.location.split(":")[1].split(" ")[0])
        assert found - line(text, needle) in (0, 1)


@pytest.mark.night
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"a",
        b"a: b: c",
        b"\xff\xfe",
        b"- " * 500,
        b"[" * 5000,
        b"a: *b",
        b"a: 1\n---\na: 2",
        b"x" * (1 << 21),
    ],
)
def test_what_is_no_agreement_is_refused(data: bytes) -> None:
    with pytest.raises(GatewayError) as caught:
        read_pmodes(data, "x.yaml")
    assert caught.value.problem.id == "GW808"
    assert caught.value.location.startswith("x.yaml")


@pytest.mark.night
@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=40), st.integers(0, len(EXAMPLE)), st.integers(0, 60))
def test_no_file_gives_another_exception(garbage: bytes, at: int, cut: int) -> None:
    with contextlib.suppress(GatewayError):
        read_pmodes(EXAMPLE[:at] + garbage + EXAMPLE[at + cut :], "x.yaml")


names = st.text("abcXYZ가", min_size=1, max_size=8)


@pytest.mark.night
@given(
    st.builds(
        pmode,
        names,
        agreement=names,
        service_type=st.none() | names,
        service=names.map("urn:".__add__),
        action=names,
        sync_reply_mode=st.sampled_from(("none", "mshSignalsOnly")),
        security=st.builds(Security, st.booleans(), certificates=st.just(("0" * 64,))),
        reliability=st.builds(Reliability, retries=st.integers(0, 5)),
        endpoint=st.none() | st.just("https://hub.example/msh"),
        deliver_to=st.sampled_from(("case", "mailbox")),
    )
)
def test_json_gives_the_same_pmode_back(one: PMode) -> None:
    assert pmode_from_json(json.loads(json.dumps(pmode_to_json(one)))) == one


@pytest.mark.parametrize(
    "change",
    [
        {"from_party": 3},
        {"from_party": [["hub"]]},
        {"from_party": [["hub", 7]]},
        {"from_party": [["\ud800", "urn:example:type"]]},
        {"security": {"seal": True}},
        {"security": None},
        {"security": []},
        {"security": {"sign": 1}},
        {"security": {"certificates": "ab"}},
        {"reliability": {"retries": 1.5}},
        {"reliability": {"retries": True}},
        {"extra": 1},
        {"valid_from": None},
        {"valid_from": 7},
        {"from_role": 7},
        {"service": "\ud800"},
    ],
)
def test_json_of_another_form_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(GatewayError) as caught:
        pmode_from_json({**pmode_to_json(pmode()), **change})
    assert caught.value.problem.id == "GW808"
