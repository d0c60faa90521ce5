"""The words of a failure are kept apart, bounded, and cannot drive a terminal."""

from __future__ import annotations

from gateway.errors import PARTNER_FAULT, UNREACHABLE, GatewayError
from gateway.store import make_attempt_outcome
from gateway.store.delivery_leases import clean_words


def test_our_sentence_and_the_words_of_the_partner_are_kept_apart() -> None:
    problem = GatewayError(
        PARTNER_FAULT, "it answered with a fault", "Body", theirs="fault Server: GW209 old"
    )
    outcome = make_attempt_outcome(problem)
    assert (outcome.problem, outcome.sentence) == ("GW608", "it answered with a fault at Body")
    assert outcome.theirs == "fault Server: GW209 old"
    assert outcome.detail == "GW608 it answered with a fault at Body: fault Server: GW209 old"


def test_a_partner_that_said_nothing_has_no_words() -> None:
    assert make_attempt_outcome(GatewayError(UNREACHABLE, "Connection refused", "http://a")).theirs is None


def test_hostile_words_are_bounded_and_printable() -> None:
    words = clean_words("\x1b[2J\u202egpj\r\n" + "x" * 10_000)
    assert words.isprintable()
    assert len(words) <= 500
