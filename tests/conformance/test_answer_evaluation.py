"""What the suite makes of the answers of all kinds of gateways."""

from __future__ import annotations

import pytest

from gateway.wire import EB, SOAP11, SOAP12
from gateway_conformance.hostile import Answer
from gateway_conformance.hostile.answer_evaluation import (
    describe_expectation,
    explain_mismatch,
    summarize_answer,
)
from gateway_conformance.hostile.exchange import ACCEPTED, LAWFUL, Expectation, expect_refusal_codes

XML = {"content-type": "text/xml"}
GOOD = expect_refusal_codes(
    "GW202", "GW203", ebms=("SecurityFailure",), faults=("FailedCheck",), http=(400, 204)
)


def envelope(header: str = "", body: str = "", namespace: str = SOAP11) -> bytes:
    inside = f"<s:Header>{header}</s:Header><s:Body>{body}</s:Body>"
    return f'<s:Envelope xmlns:s="{namespace}">{inside}</s:Envelope>'.encode()


def error_list(*rows: tuple[str, str, str]) -> bytes:
    entries = "".join(
        f'<eb:Error eb:errorCode="{code}" eb:severity="{severity}">'
        f"<eb:Description>{text}</eb:Description></eb:Error>"
        for code, severity, text in rows
    )
    return envelope(f'<eb:ErrorList xmlns:eb="{EB}">{entries}</eb:ErrorList>')


def fault(code: str, detail: str = "") -> bytes:
    return envelope(
        body=f'<s:Fault><faultcode xmlns:w="urn:w">{code}</faultcode><faultstring>no</faultstring>'
        f"<detail>{detail}</detail></s:Fault>"
    )


CODE12 = '<s:Value>s:Sender</s:Value><s:Subcode><s:Value xmlns:w="urn:w">w:FailedCheck</s:Value></s:Subcode>'
REASON12 = '<s:Reason><s:Text xml:lang="en">no</s:Text></s:Reason>'
FAULT12 = envelope(body=f"<s:Fault><s:Code>{CODE12}</s:Code>{REASON12}</s:Fault>", namespace=SOAP12)
MULTIPART = b"--b\r\nContent-Type: text/xml\r\n\r\n" + fault("w:FailedCheck") + b"\r\n--b--\r\n"


@pytest.mark.parametrize(
    ("answer", "wrong"),
    [
        (Answer(200, XML, error_list(("SecurityFailure", "Error", "GW202 wrong"))), ""),
        (Answer(200, XML, error_list(("SecurityFailure", "Error", "no"))), ""),
        (Answer(500, XML, error_list(("Other", "Error", "a"), ("SecurityFailure", "Error", "b"))), ""),
        (Answer(200, XML, error_list(("SecurityFailure", "Error", "GW209 wrong"))), "for another reason"),
        (Answer(200, XML, error_list(("Inconsistent", "Error", "GW202"))), "by another code"),
        (Answer(200, XML, error_list(("SecurityFailure", "Warning", "GW202"))), "accepted"),
        (Answer(500, XML, fault("w:FailedCheck")), ""),
        (Answer(500, XML, fault("w:FailedCheck", "<Id>GW203</Id>")), ""),
        (Answer(500, XML, fault("w:FailedCheck", "<Id>GW901</Id>")), "for another reason"),
        (Answer(500, XML, fault("s:Server")), "by another code"),
        (Answer(500, {"content-type": "application/soap+xml"}, FAULT12), ""),
        (Answer(500, {"content-type": 'multipart/related; boundary="b"'}, MULTIPART), ""),
        (Answer(400, {}, b"bad request"), ""),
        (Answer(204, {}, b""), ""),
        (Answer(200, {}, b""), "accepted"),
        (Answer(202, XML, envelope()), "accepted"),
        (Answer(400, XML, envelope()), "no refusal as expected"),
        (Answer(403, {}, b""), "no refusal as expected"),
        (Answer(500, {}, b"oops"), "no refusal as expected"),
        (Answer(400, {}, b"Traceback (most recent call last):"), "a traceback"),
        (Answer(500, XML, fault("w:FailedCheck", "Traceback (most recent call last):")), "a traceback"),
        (Answer(None, {}, b""), "without an answer"),
        (Answer(None, {}, b"", timed_out=True), "not in time|no answer in time"),
    ],
)
def test_a_refusal_must_be_the_one_that_was_expected(answer: Answer, wrong: str) -> None:
    found = explain_mismatch(answer, GOOD)
    assert any(one in found for one in wrong.split("|")) if wrong else found == ""


@pytest.mark.parametrize(
    ("answer", "good"),
    [
        (Answer(200, XML, envelope()), True),
        (Answer(204, {}, b""), True),
        (Answer(200, XML, error_list(("SecurityFailure", "Warning", "old"))), True),
        (Answer(200, XML, error_list(("SecurityFailure", "Error", "no"))), False),
        (Answer(200, XML, fault("s:Client")), False),
        (Answer(302, {}, b""), False),
        (Answer(500, {}, b""), False),
        (Answer(None, {}, b""), False),
        (Answer(200, {}, b"", timed_out=True), False),
    ],
)
def test_an_acceptance_is_one_without_a_refusal(answer: Answer, good: bool) -> None:
    assert (explain_mismatch(answer, ACCEPTED) == "") == good
    assert (explain_mismatch(answer, LAWFUL) == "") == good


def test_silence_is_a_refusal_only_where_it_was_expected() -> None:
    silent = expect_refusal_codes(http=(400,), silent=True)
    assert explain_mismatch(Answer(None, {}, b""), silent) == ""
    assert explain_mismatch(Answer(None, {}, b"half an ans"), silent)
    assert explain_mismatch(Answer(None, {}, b"", timed_out=True), silent)


def test_it_is_told_in_words() -> None:
    assert str(summarize_answer(Answer(None, {}, b""))) == "closed without an answer"
    assert "ErrorList SecurityFailure GW202" in str(
        summarize_answer(Answer(200, XML, error_list(("SecurityFailure", "Error", "GW202 wrong"))))
    )
    assert describe_expectation(GOOD) == (
        "refused: ErrorList SecurityFailure or Fault FailedCheck or HTTP 400/204 (GW202/GW203)"
    )
    assert describe_expectation(Expectation(is_acceptance=True)) == "accepted"
    assert describe_expectation(expect_refusal_codes(silent=True)) == "refused: closed"
