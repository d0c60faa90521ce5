from __future__ import annotations

import dataclasses
import re

import pytest

from gateway import errors
from gateway.errors import PROBLEMS, GatewayError, Problem

EVERY = [pytest.param(problem, id=problem.id) for problem in PROBLEMS.values()]

EBMS2 = {
    "ValueNotRecognized",
    "NotSupported",
    "Inconsistent",
    "OtherXml",
    "DeliveryFailure",
    "TimeToLiveExpired",
    "SecurityFailure",
    "MimeProblem",
    "Unknown",
}


def test_they_stand_in_the_order_of_their_ids():
    assert list(PROBLEMS) == sorted(PROBLEMS)
    assert all(key == problem.id for key, problem in PROBLEMS.items())


def test_every_problem_has_one_name_and_no_two_the_same_title():
    names = {name for name in dir(errors) if isinstance(getattr(errors, name), Problem)}
    assert len(names) == len(PROBLEMS)
    assert len({problem.title for problem in PROBLEMS.values()}) == len(PROBLEMS)


@pytest.mark.night
@pytest.mark.parametrize("problem", EVERY)
def test_its_words_are_short_sentences(problem):
    assert re.fullmatch(r"GW[1-9]\d\d", problem.id)
    for text in (problem.meaning, problem.cause, problem.remedy):
        assert 15 < len(text) < 200, text
        assert text[0].isupper(), text
        assert text.endswith("."), text
        assert "  " not in text
    assert len({problem.meaning, problem.cause, problem.remedy}) == 3


@pytest.mark.night
@pytest.mark.parametrize("problem", EVERY)
def test_its_faces_are_those_the_protocols_know(problem):
    assert problem.codes.ebms2 is None or problem.codes.ebms2 in EBMS2
    assert problem.codes.ebms3 is None or re.fullmatch(r"EBMS:0[0-3]\d\d", problem.codes.ebms3)
    assert problem.codes.soap is None or re.fullmatch(
        r"Client|Server|VersionMismatch|MustUnderstand|wsse:[A-Z]\w+", problem.codes.soap
    )
    assert problem.codes.http is None or problem.codes.http == 200 or 400 <= problem.codes.http <= 503


def test_the_text_of_a_problem_is_said_once():
    for name in ("meaning", "remedy"):
        texts = [getattr(problem, name) for problem in PROBLEMS.values()]
        assert len(set(texts)) == len(texts), name


# What senders are told to do again by themselves.
RETRIED = {
    "GW111",
    "GW208",
    "GW308",
    "GW322",
    "GW325",
    "GW342",
    "GW601",
    "GW603",
    "GW606",
    "GW607",
    "GW608",
    "GW803",
    "GW804",
    "GW806",
    "GW809",
    "GW810",
    "GW811",
    "GW807",
    "GW901",
    "GW904",
    "GW906",
}
OURS = {
    "GW313",
    "GW314",
    "GW320",
    "GW322",
    "GW325",
    "GW326",
    "GW504",
    "GW605",
    "GW607",
    "GW720",
    "GW801",
    "GW802",
    "GW803",
    "GW804",
    "GW805",
    "GW806",
    "GW808",
    "GW809",
    "GW810",
    "GW811",
    "GW901",
    "GW902",
    "GW903",
    "GW904",
    "GW905",
    "GW906",
}


def test_only_what_may_pass_is_retried_and_only_our_faults_are_ours():
    assert {problem.id for problem in PROBLEMS.values() if problem.retry} == RETRIED
    assert {problem.id for problem in PROBLEMS.values() if problem.ours} == OURS


@pytest.mark.parametrize(
    ("name", "faces"),
    [
        ("MEDIA_TYPE_REFUSED", ("GW101", "MimeProblem", "EBMS:0007", "Client", 415)),
        ("NOT_SOAP", ("GW105", None, None, "VersionMismatch", 500)),
        ("NOT_UNDERSTOOD", ("GW106", "NotSupported", "EBMS:0002", "MustUnderstand", 500)),
        ("DECOMPRESSION_FAILED", ("GW109", None, "EBMS:0303", "Client", 500)),
        ("SIGNATURE_MISSING", ("GW201", "SecurityFailure", "EBMS:0103", "wsse:InvalidSecurity", 500)),
        (
            "REVOCATION_UNKNOWN",
            ("GW208", "SecurityFailure", "EBMS:0004", "wsse:SecurityTokenUnavailable", 503),
        ),
        ("DUPLICATE", ("GW305", None, None, None, 200)),
        ("TIME_TO_LIVE_EXPIRED", ("GW306", "TimeToLiveExpired", "EBMS:0202", "Client", 500)),
        ("MESSAGE_ID_REUSED", ("GW312", "Inconsistent", "EBMS:0003", "Client", 500)),
        ("MAPPING_WRONG", ("GW502", None, None, None, None)),
        ("UNREACHABLE", ("GW601", "DeliveryFailure", "EBMS:0005", None, None)),
        ("DECISION_CONFLICT", ("GW702", "Inconsistent", "EBMS:0003", "Client", 409)),
        ("SCHEMA_VERSION_WRONG", ("GW802", None, None, None, 503)),
        ("OUR_MISTAKE", ("GW901", "Unknown", "EBMS:0004", "Server", 500)),
    ],
)
def test_faces_of_one_of_each_kind(name, faces):
    problem = getattr(errors, name)
    assert (
        problem.id,
        problem.codes.ebms2,
        problem.codes.ebms3,
        problem.codes.soap,
        problem.codes.http,
    ) == faces


def test_an_error_says_what_and_where():
    error = GatewayError(errors.SIGNATURE_INVALID, "digest of cid:a differs", "//ds:Reference[2]")
    assert str(error) == "GW202 digest of cid:a differs at //ds:Reference[2]"
    assert (error.problem, error.detail) == (errors.SIGNATURE_INVALID, "digest of cid:a differs")
    assert error.location == "//ds:Reference[2]"


def test_an_error_without_detail_says_its_title():
    error = GatewayError(errors.NO_ROOM)
    assert str(error) == "GW806 no capacity: queue, disk or workers full"
    assert (error.detail, error.location) == (errors.NO_ROOM.title, "")


def test_a_problem_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        errors.NO_ROOM.title = "plenty of room"


@pytest.mark.night
@pytest.mark.parametrize("problem", EVERY)
def test_a_fault_has_another_status_than_500_only_for_what_http_itself_says(problem):
    """SOAP 1.1 §6.2; a body that cannot be read, and a hub that is busy, have a status of their own."""
    own = {400, 413, 415} if problem.id < "GW200" else set()
    assert problem.codes.soap is None or problem.codes.http not in {400, 413, 415} - own
