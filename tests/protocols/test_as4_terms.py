"""AS4: the terms of a P-Mode that are not done are found by lint, and refused in messages."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from gateway.agreements import Encryption, PMode, PModeIndex, Reliability, Security
from gateway.agreements.pmode_values import PullTerms
from gateway.cli import main
from gateway.errors import NOT_SUPPORTED, GatewayError
from gateway.message_model import SequenceNumber, UserMessage
from gateway.protocols import Parcel, as4, ebms2, list_unsupported_terms
from tests.kit.paths import ROOT
from tests.protocols import as4_samples, sample_parties

GOOD = sample_parties.pmode("as4", **as4_samples.TERMS)
AES = "http://www.w3.org/2009/xmlenc11#aes128-gcm"
ODD = {
    "messages of AS4 are signed": {"security": Security(sign=False)},
    "are encrypted by XMLENC": {"encryption": Encryption("S/MIME", (AES,))},
    "ack_requested and ack_signed": {"reliability": Reliability(ack_signed="never")},
    "duplicate_elimination is always": {"reliability": Reliability(duplicate_elimination="never")},
    "no message order": {"reliability": Reliability(message_order=True)},
    "an intermediary": {"reliability": Reliability(ack_actor="nextMSH")},
    "reply_pattern callback needs one": {"reply_pattern": "callback", "reply_endpoint": None},
    "leave sync_reply_mode out": {"sync_reply_mode": "responseOnly"},
    "has a role": {"from_role": None},
}


def open_under(pmode: PMode, unit: UserMessage, expecting: Parcel | None = None) -> object:
    context = sample_parties.context(agreements=PModeIndex((pmode,)))
    sent = as4.read_sent_unit(expecting, context.limits) if expecting else None
    return as4.open_units(as4.seal((unit,), None, context), context, sent)


@pytest.mark.parametrize("words", ODD)
def test_terms_that_are_not_done_are_named(words: str) -> None:
    pmode = replace(GOOD, **ODD[words])  # type: ignore[arg-type]
    (told,) = list_unsupported_terms(pmode)
    assert words in told
    for deed in (lambda: as4.seal((as4_samples.message(),), pmode, sample_parties.context()),
                 lambda: open_under(pmode, as4_samples.message())):  # fmt: skip
        with pytest.raises(GatewayError, match="GW311"):
            deed()


def test_a_good_one_has_none_and_ebms_2_has_no_terms_of_ebms_3() -> None:
    assert list_unsupported_terms(GOOD) == ()
    assert ebms2.list_unsupported_terms(replace(GOOD, mep="one-way")) == (
        "ebMS 2.0 has no mpc", "ebMS 2.0 has no agreement_type", "ebMS 2.0 has no mep",
    )  # fmt: skip
    assert ebms2.list_unsupported_terms(sample_parties.SUBMIT) == ()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"mpc": None}, "GW304 the agreed channel is urn:example:mpc"),
        ({"agreement_type": None}, "GW304 the agreement has the type"),
        ({"agreement": "", "action": "Other"}, "GW303 the message names no AgreementRef"),
        ({"service": "urn:other"}, "GW303 no service 'urn:other' agreed at /soap12:Envelope"),
    ],
)
def test_a_message_beside_its_terms_is_refused(changes: dict[str, object], said: str) -> None:
    with pytest.raises(GatewayError) as caught:
        open_under(GOOD, replace(as4_samples.message(), **changes))  # type: ignore[arg-type]
    assert str(caught.value).startswith(said)


def test_a_posted_signal_is_about_a_message_of_ours() -> None:
    with pytest.raises(GatewayError, match=r"GW340 .* does not pull from this channel"):
        as4.open_units(as4_samples.seal(as4_samples.PULL), sample_parties.context())
    with pytest.raises(GatewayError, match="GW307 no message of ours has this id"):
        as4.open_units(as4_samples.seal(as4_samples.RECEIPT), sample_parties.context())
    answer = as4.reject_parcel(
        GatewayError(NOT_SUPPORTED, "x"), as4_samples.seal(as4_samples.PULL), sample_parties.context()
    )
    assert (answer.http_status, answer.error_signal is not None) == (200, True)


def test_one_way_messages_refer_to_no_other_and_order_is_refused() -> None:
    unit = replace(as4_samples.message(), ref_to_message_id="m-0@x")
    for mep, about in (("one-way", None), ("two-way", "m-0@x")):
        parcel = as4.seal((unit,), replace(GOOD, mep=mep), sample_parties.context())
        assert as4_samples.verify(parcel).unit.ref_to_message_id == about  # type: ignore[union-attr]
    with pytest.raises(GatewayError, match="GW311"):
        as4.seal((replace(unit, sequence=SequenceNumber(0)),), GOOD, sample_parties.context())


def test_a_receipt_is_believed_only_with_every_digest_and_of_the_partner() -> None:
    context = sample_parties.context(agreements=PModeIndex((GOOD,)))
    parcel = as4.seal((as4_samples.message(),), GOOD, context)
    opened = as4.open_units(parcel, context)
    sent = as4.read_sent_unit(parcel, context.limits)
    receipt = as4.make_receipt(opened, context)
    answer = as4.open_units(as4.seal((receipt,), GOOD, context), context, sent)
    assert (answer.unit.sender, answer.pmode) == (sample_parties.FROM_HUB, GOOD)
    for forged, problem in (
        (replace(receipt, references=receipt.references[:-1]), "GW309"),
        (replace(receipt, ref_to_message_id="m-9@x"), "GW309"),
        (replace(receipt, sender=sample_parties.FROM_BROKER), "GW309"),
    ):
        with pytest.raises(GatewayError, match=problem):
            as4.open_units(as4.seal((forged,), GOOD, context), context, sent)


def test_lint_reads_the_example(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    example = ROOT / "conformance" / "agreements" / "as4.yaml"
    assert main(["agreement", "lint", str(example)]) == 0
    changed = tmp_path / "changed.yaml"
    changed.write_text(example.read_text("utf-8").replace("    sign: true", "    sign: false"), "utf-8")
    assert main(["agreement", "lint", str(changed)]) == 1
    assert "messages of AS4 are signed" in capsys.readouterr().out


def test_our_own_requests_are_signed_and_carry_no_password() -> None:
    with pytest.raises(GatewayError, match="GW311 we pull with our certificate"):
        as4.seal((as4_samples.PULL,), replace(GOOD, pull=PullTerms("both")), sample_parties.context())
