"""Chains made by chance: the same at every run, and judged as other validators judge them."""

from __future__ import annotations

import hashlib
import json

import pytest

from tests.pki.chains.comparing import AGREED, agreed, compare
from tests.pki.chains.making import plan
from tests.pki.chains.opinions import ours


@pytest.mark.long
def test_a_number_is_always_the_same_case():
    told = json.dumps([plan(1, number).asked() for number in range(20)], sort_keys=True)
    assert hashlib.sha256(told.encode()).hexdigest() == (
        "2d1f0764f168fb270dead462bbc2b3e92eb898de1d0de55d369b54bc8234e5d8"
    )


@pytest.mark.long
def test_what_every_validator_agreed_on_is_still_said():
    """OpenSSL and Java were asked once (`--write`); a point stands where anybody differs."""
    known = AGREED.read_text("ascii").split()
    letters = "".join(known)
    told = ours([plan(0, number).asked() for number in range(len(letters))])
    found = "".join("g" if each.good else "b" for each in told)
    wrong = [number for number, letter in enumerate(letters) if letter not in (".", found[number])]
    assert wrong == []
    # Most of them are agreed on, and both verdicts are among them.
    assert len(letters) == 300
    assert min(letters.count("g"), letters.count("b")) > 80


@pytest.mark.night
@pytest.mark.peer
def test_openssl_says_the_same_but_for_what_the_manual_argues():
    found = compare(5, range(120), ["openssl"])
    assert found.alarming == []
    count = found.counts["openssl"]
    assert count.asked > 100
    assert count.agree > 0.85 * count.asked


def test_what_is_agreed_is_read_off_the_opinions():
    class Said:
        def __init__(self, good: bool) -> None:
            self.good = good

    yes, no = Said(good=True), Said(good=False)
    assert agreed(yes, [yes, None]) == "g"  # type: ignore[arg-type,list-item]
    assert agreed(no, [no, no]) == "b"  # type: ignore[arg-type,list-item]
    assert agreed(yes, [yes, no]) == agreed(yes, [None]) == "."  # type: ignore[arg-type,list-item]
