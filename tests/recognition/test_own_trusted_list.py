"""Our own list: written and read again, signed wrongly, rolled back."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.errors import GatewayError
from gateway.recognition import (
    CrossCertificateBridge,
    TrustedList,
    TrustedListDraft,
    check_list_freshness,
    choose_successor,
    open_trusted_list,
    sign_trusted_list,
)
from gateway.recognition.own_trusted_list import open_own_list
from gateway.recognition.trusted_list import is_fresh_list
from gateway_conformance.foreign_verifier import find_signature_fault
from tests.recognition.sample_lists import (
    DAY,
    NOW,
    country,
    etsi_list,
    own_list,
    rule,
    scheme,
    service,
    signed,
    standing,
)

FULL = TrustedListDraft(
    "Home",
    "KR",
    7,
    NOW + 30 * DAY,
    services=(
        service(
            country("Zed").authority,
            standing("ca", "withdrawn", 5, "a", "b"),
            standing("ca", "granted", 50),
        ),
    ),
    schemes=(
        scheme("ZZ", "Zed", rule(["ca", "ca narrow"], ["granted"], "qualified", until=NOW + DAY)),
        scheme("YY", "Mallory", rule(["good"], ["vouched"], "basic", enacted=False), role="voucher"),
    ),
    bridges=(
        CrossCertificateBridge(
            country("Zed").authority.certificate, (("1.2.3", "qualified"), ("1.2.4", "basic"))
        ),
    ),
    rules=(rule(["ca"], ["granted"], "qualified", "basic"),),
)


def test_what_is_written_is_read() -> None:
    octets, found = own_list(FULL)
    read = TrustedListDraft(
        found.operator,
        found.territory,
        found.sequence,
        found.next_update or NOW,
        found.services,
        found.schemes,
        found.bridges,
        found.rules,
    )
    assert read == FULL
    operator = country("Home").operator.certificate
    assert (found.issued, found.signer) == (NOW - DAY, operator)
    assert find_signature_fault(octets, operator, NOW) is None


def test_what_would_move_a_cursor_is_made_visible() -> None:
    _, found = own_list(operator="Ho\u202eme\x85", territory="K\u00a0R")
    assert (found.operator, found.territory) == ("Ho\ufffdme\ufffd", "K\ufffdR")


def test_one_octet_changed_or_another_signer() -> None:
    data, _ = own_list(FULL)
    pins = {country("Home").operator.certificate}
    with pytest.raises(GatewayError, match="GW202"):
        open_own_list(data.replace(b'sequence="7"', b'sequence="8"'), pins)
    with pytest.raises(GatewayError, match="GW202"):
        open_own_list(data.replace(b'status="withdrawn"', b'status="granted"'), pins)
    forged = sign_trusted_list(FULL, country("Mallory").operator.signer, now=NOW)
    with pytest.raises(GatewayError, match="GW205 signed by CN=Mallory Operator"):
        open_own_list(forged, pins)
    with pytest.raises(GatewayError, match="GW201"):
        open_own_list(data[: data.index(b"<ds:Signature")] + b"</TrustList>", pins)
    with pytest.raises(GatewayError, match="GW205"):
        open_own_list(data, set())


def test_an_element_that_the_form_does_not_have() -> None:
    data, _ = own_list(FULL)
    bare = data[: data.index(b"<ds:Signature")] + b"</TrustList>"
    pins = {country("Home").operator.certificate}
    assert open_own_list(signed(bare, "Home"), pins).sequence == 7
    for before, after in (
        (b"<Service ", b"<Except/><Service "),
        (b"<Standing ", b'<Kind type="x"/><Standing '),
        (b"<Standing ", b'<Standing xmlns="urn:other" '),
    ):
        assert before in bare
        with pytest.raises(GatewayError, match="GW402 the form has no such element here"):
            open_own_list(signed(bare.replace(before, after, 1), "Home"), pins)


def test_a_rule_that_the_form_cannot_say_is_not_written() -> None:
    draft = replace(FULL, rules=(rule(["ca"], ["granted"], "qualified", conditions=("x",)),))
    with pytest.raises(GatewayError, match="the form cannot say rule"):
        sign_trusted_list(draft, country("Home").operator.signer, now=NOW)


def numbered(sequence: int, *, issued: object = NOW - DAY, operator: str = "Home") -> TrustedList:
    return own_list(sequence=sequence, issued=issued, operator=operator)[1]


def test_a_newer_list_takes_the_place() -> None:
    held, new = numbered(7), numbered(8)
    assert choose_successor(None, held, NOW) is held
    assert choose_successor(held, new, NOW) is new
    assert choose_successor(held, held, NOW) is held


@pytest.mark.parametrize(
    ("new", "words"),
    [
        (numbered(6), "GW804 sequence number 6, and 7 is in hand"),
        (numbered(7, operator="Other"), "GW804 sequence number 7, and 7 is in hand"),
        (numbered(8, issued=NOW - 2 * DAY), "GW804 issued at .* before the list in hand"),
        (own_list(territory="JP", sequence=9)[1], "GW205 a list of JP in the place of one of KR"),
        (numbered(9, issued=NOW + DAY), "GW804 issued at .* in the future"),
        (own_list(sequence=9, next_update=NOW)[1], "GW804 its next update was due"),
    ],
)
def test_a_list_that_takes_no_place(new: TrustedList, words: str) -> None:
    with pytest.raises(GatewayError, match=words):
        choose_successor(numbered(7), new, NOW)


def test_when_a_list_is_fresh() -> None:
    found = numbered(7)
    due = found.next_update
    assert due is not None
    assert [is_fresh_list(found, at) for at in (found.issued, due - DAY, due)] == [True, True, False]
    assert not is_fresh_list(replace(found, next_update=None), NOW)
    late = replace(found, issued=found.signer.not_after + DAY, next_update=found.signer.not_after + 3 * DAY)
    with pytest.raises(GatewayError, match="GW206"):
        check_list_freshness(late, late.issued)


def test_a_closed_list_of_others() -> None:
    found = open_trusted_list(etsi_list("ZZ", "Zed", next_update=""), {country("Zed").operator.certificate})
    with pytest.raises(GatewayError, match="GW804 the list was closed"):
        check_list_freshness(found, NOW)
