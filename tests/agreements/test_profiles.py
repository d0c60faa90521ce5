"""The tables of profiles: their rows are in the texts, and they demand and fill in what they say."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from gateway.agreements import find_document_findings, read_agreement
from gateway.agreements.as4.as4_checks import TERM_READERS, find_deviations
from gateway.agreements.as4.profile_tables import ProfileRow, list_profiles, read_profile
from gateway.errors import GatewayError
from tests.agreements.as4_agreements import GOOD_AGREEMENTS, NOW, STEPS_AWAY, change, read
from tests.kit.paths import VECTORS

TEXTS = VECTORS / "outside" / "spec-text"
ROWS = [(name, number) for name in list_profiles() for number in range(len(read_profile(name).rows))]
NUMBERED = re.compile(r"[ \t]+\d{1,4}[ \t]*$", re.MULTILINE)
HEADING = re.compile(
    r"^(?:## |\s*)(?=Annex|\d+\.\d|\d+ |(?<=## ))(Annex \d+|\d+(?:\.\d+)*)\.? +(?:[A-Z]|eb:)[^\n]{2,}", re.M
)


def get_row(case: tuple[str, int]) -> ProfileRow:
    return read_profile(case[0]).rows[case[1]]


@cache
def read_text(name: str) -> str:
    """Return a text of a profile without the numbers of its lines and the heads of its pages."""
    folder = TEXTS if (TEXTS / name).is_file() else Path(VECTORS) / "facts"
    text = NUMBERED.sub("", (folder / name).read_text(encoding="utf-8"))
    return re.sub(r"=====p\d+=====", "", text)


def ends(head: str, clause: str) -> bool:
    """Return whether a heading is outside of a clause: an annex counts its parts from 1."""
    if clause.startswith("Annex"):
        return head.startswith("Annex")
    return not head.startswith(clause) and ("." in head or "." not in clause)


@cache
def read_clause(name: str, clause: str) -> str:
    """Return all that stands under the headings with this number, without white space."""
    text, found = read_text(name), []
    heads = list(HEADING.finditer(text))
    for number, head in enumerate(heads):
        if head.group(1) == clause:
            inner = (one.start() for one in heads[number + 1 :] if ends(one.group(1), clause))
            found.append(text[head.start() : next(inner, len(text))])
    assert found, f"{name} has no clause {clause}"
    return re.sub(r"\s+", "", "".join(found))


@pytest.mark.vectors
@pytest.mark.parametrize("case", ROWS, ids=lambda case: f"{case[0]}-{case[1]}")
def test_a_row_says_what_the_text_says(case: tuple[str, int]) -> None:
    row, profile = get_row(case), read_profile(case[0])
    if row.source:
        assert profile.note, "the source is told"
        return
    found = read_clause(profile.text, row.clause)
    assert re.sub(r"\s+", "", row.parameter + row.says) in found


@pytest.mark.vectors
def test_a_word_that_the_text_does_not_have_is_seen() -> None:
    text = read_profile("edelivery-1.15").text
    assert "PMode[].Security.X509.SignTrue" in read_clause(text, "1.4.5")
    assert "PMode[].Security.X509.SignFalse" not in read_clause(text, "1.4.5")
    assert "PMode[].Security.X509.SignTrue" not in read_clause(text, "1.4.2.6")


@pytest.mark.parametrize("name", list_profiles())
def test_a_short_file_is_filled_and_meets_its_profile(name: str) -> None:
    document = read(GOOD_AGREEMENTS[name])
    profile = read_profile(name)
    for pmode in document.pmodes:
        assert pmode.profile == name
        assert [one.text for one in find_deviations(pmode, profile)] == []


@pytest.mark.night
@pytest.mark.parametrize(
    "case", [one for one in ROWS if get_row(one).term], ids=lambda case: f"{case[0]}-{case[1]}"
)
def test_each_demand_is_judged(case: tuple[str, int]) -> None:
    row, profile = get_row(case), read_profile(case[0])
    (pmode, *_) = read(GOOD_AGREEMENTS[case[0]]).pmodes
    wrong = STEPS_AWAY[row.term](pmode)
    if wrong is None:  # no P-Mode can say anything else
        assert row.term in (
            "mep",
            "mep_binding",
            "reply_pattern",
            "from.role",
            "to.role",
            "service",
            "action",
            "agreement",
        )
        return
    found = [one for one in find_deviations(wrong, profile) if one.row == row]
    if row.demand == "present" and TERM_READERS[row.term](wrong):
        assert found == []
        return
    assert len(found) == 1, row
    assert row.term in found[0].text
    for bad in ("['", "{'", "()", "None"):
        assert bad not in found[0].text


def test_lint_tells_a_deviation_with_its_clause() -> None:
    data = change(
        GOOD_AGREEMENTS["edelivery-1.15"], "protocol: as4\n", "protocol: as4\ndefaults: {compression: none}\n"
    )
    found = find_document_findings(read(data), NOW, frozenset({"as4"}))
    assert [(one.rule, one.severity) for one in found] == [("profile-deviation", "error")] * 2
    assert (
        found[0].clause == "eDelivery AS4 1.15, Common Profile, 1.4.5: PMode[].PayloadService.CompressionType"
    )
    assert found[0].location == "a.yaml:17"
    assert found[0].text.endswith("compression is none; edelivery-1.15 wants gzip")


def test_advice_is_a_note() -> None:
    data = change(
        GOOD_AGREEMENTS["edelivery-1.15"], "urn:oasis:names:tc:ebcore:partyid-type:iso6523:0088", "urn:own"
    )
    found = find_document_findings(read(data), NOW, frozenset({"as4"}))
    assert {(one.rule, one.severity) for one in found} == {("profile-advice", "note")}


def test_what_a_file_says_counts_before_what_the_profile_fills_in() -> None:
    said = "protocol: as4\ndefaults:\n  security: {signature_algorithm: urn:own}\n"
    said += "  reliability: {retries: 7}\n  encryption: none\n"
    data = change(GOOD_AGREEMENTS["edelivery-1.15"], "protocol: as4\n", said)
    (pmode, *_) = read(data).pmodes
    assert pmode.security.signature_algorithms == ("urn:own",)
    assert pmode.security.hash_function == "http://www.w3.org/2001/04/xmlenc#sha256"
    assert (pmode.reliability.retries, pmode.encryption) == (7, None)


def test_an_unknown_profile_is_refused_with_the_known_ones() -> None:
    data = change(GOOD_AGREEMENTS["ics2"], "profile: ics2", "profile: ics9")
    with pytest.raises(
        GatewayError, match=r"'ics9' is no profile; known are bdew-1\.3, .*a\.yaml:3|a\.yaml:3"
    ):
        read_agreement(data.encode(), "a.yaml")


def test_a_response_in_the_answer_is_another_binding() -> None:
    (pmode, *_) = read(GOOD_AGREEMENTS["edelivery-1.15"]).pmodes
    sync = replace(pmode, sync_reply_mode="signalsAndResponse")
    (found,) = find_deviations(sync, read_profile("edelivery-1.15"))
    assert "mep_binding is sync; edelivery-1.15 wants one of push" in found.text
