"""Which errors refuse a submission, and which say nothing of it."""

from __future__ import annotations

import pytest
from lxml import etree

from gateway import errors
from gateway.errors import GatewayError, Problem
from gateway.hub.submissions.split import _read_reference, is_transient_error, make_found_problem

ALL = list(errors.PROBLEMS.values())


@pytest.mark.long
@pytest.mark.parametrize("problem", ALL, ids=[one.id for one in ALL])
def test_our_faults_and_passing_ones_are_no_refusals(problem: Problem) -> None:
    assert is_transient_error(GatewayError(problem)) is (problem.ours or problem.retry)


def test_the_line_is_drawn_where_it_should_be() -> None:
    passing = {one.id for one in ALL if is_transient_error(GatewayError(one))}
    assert passing >= {"GW208", "GW801", "GW803", "GW806", "GW901"}
    assert not passing & {"GW104", "GW201", "GW202", "GW205", "GW207", "GW402", "GW405", "GW503"}


def test_a_problem_is_told_in_its_own_words() -> None:
    told = make_found_problem(GatewayError(errors.DOCUMENT_INVALID, "no item 4", "APP[2]/Items"))
    assert (told.id, told.text, told.pointer) == ("GW402", "no item 4", "APP[2]/Items")


REFERENCES = {
    "HB-1": "HB-1",
    " HB-1 ": "HB-1",
    "A\n\tB": "A  B",
    "x" * 99: "x" * 35,
    "y" * 34 + "  z": "y" * 34,
    "": "",
    "\n": "",
}


@pytest.mark.parametrize(("text", "read"), REFERENCES.items(), ids=range(len(REFERENCES)))
def test_the_reference_of_a_refused_one_fits_into_its_result(text: str, read: str) -> None:
    root = etree.Element("{urn:single-window:submission:1}Submission")
    etree.SubElement(root, "{urn:single-window:submission:1}Reference").text = text
    assert _read_reference(root) == read


def test_none_where_there_is_none() -> None:
    assert _read_reference(etree.Element("Other")) == ""
