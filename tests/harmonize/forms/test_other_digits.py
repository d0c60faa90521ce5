"""Digits of another script in a form: neither a date nor a size is made of them."""

from __future__ import annotations

import pytest

from gateway.harmonize import make_placeholder_numbers, split_submission
from gateway.harmonize.forms.submission_composer import _format_moment
from tests.harmonize.forms.test_filing_form import bundle
from tests.kit.story import unsigned


@pytest.mark.parametrize("text", ["２０２６-11-20", "２０２６-11-20T09:00:00Z", "2026-11-2²"])
def test_a_date_in_other_digits_is_written_as_it_is(text: str) -> None:
    assert _format_moment(text) == (text, "304")


@pytest.mark.parametrize("text", ["2026-1-120", "20-26-11-20", "2026:11:20", "2026-11-20T0:900"])
def test_no_date_is_made_of_signs_in_other_places(text: str) -> None:
    assert _format_moment(text) == (text, "304")


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("2026-11-20", ("20261120", "102")),
        ("20261120", ("20261120", "102")),
        ("2026-11-20T09:00+09:00", ("20261120090000+09", "304")),
        ("20261120T090030Z", ("20261120090030Z", "304")),
        ("202611200900", ("20261120090000", "304")),
    ],
)
def test_both_forms_of_iso_8601_are_written(text: str, written: tuple[str, str]) -> None:
    assert _format_moment(text) == written


@pytest.mark.parametrize("size", ["²", "９９９９９９９９９９"])
def test_a_size_in_other_digits_is_none(size: str) -> None:
    """The schema refuses it: a submission that is split without it must not end the program."""
    root = unsigned()
    for attachment in root.iter("{*}Attachment"):
        attachment.set("size", size)
    assert split_submission(root, bundle(), make_placeholder_numbers(root)).problems == ()
