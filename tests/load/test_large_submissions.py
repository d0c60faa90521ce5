"""What a large submission costs is counted, not timed: the calls of functions grow as the applications do."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.kit.databases import BOTH
from tests.load import shared_answers


@pytest.mark.long
def test_shared_answers_take_work_in_proportion_to_the_applications() -> None:
    few, many = (shared_answers.count_calls(shared_answers.submission(number)) for number in (20, 80))
    assert many / few < 4.2, (few, many)


@pytest.mark.night
def test_a_thousand_applications_take_four_times_the_work_of_250() -> None:
    few, many = (shared_answers.count_calls(shared_answers.submission(number)) for number in (250, 1000))
    assert many / few < 4.1, (few, many)


@BOTH
@pytest.mark.long
def test_a_large_case_is_admitted_within_its_memory(database_url: str) -> None:
    """A worker has 135 MiB before (143 with PostgreSQL, whose driver and dialect are larger).

    8 of them are httpx, which zeep imports where it is installed, as for these tests.

    The case takes 61 more. With the fields of all applications in the tree until it is indexed it takes 101.
    """
    words = [sys.executable, "-m", "tests.load.large_case", "--database", database_url]
    found = json.loads(subprocess.run(words, check=True, stdout=subprocess.PIPE).stdout)
    assert found["large_items"] == 999
    assert found["large_s"] > 0
    assert found["large_before_mib"] < 150
    assert found["large_peak_mib"] < 208
