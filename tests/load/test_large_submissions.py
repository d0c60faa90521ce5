"""What a large submission costs is counted, not timed: the calls of functions grow as the applications do."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.load import shared_answers


def test_shared_answers_take_work_in_proportion_to_the_applications() -> None:
    few, many = (shared_answers.count_calls(shared_answers.submission(number)) for number in (20, 80))
    assert many / few < 4.2, (few, many)


@pytest.mark.long
def test_a_thousand_applications_take_four_times_the_work_of_250() -> None:
    few, many = (shared_answers.count_calls(shared_answers.submission(number)) for number in (250, 1000))
    assert many / few < 4.1, (few, many)


@pytest.mark.long
def test_a_large_case_is_measured(postgresql_url: str) -> None:
    """The tool runs on PostgreSQL too; a smaller case takes less memory than 999 items may."""
    words = [sys.executable, "-m", "tests.load.large_case", "--items", "40", "--database", postgresql_url]
    found = json.loads(subprocess.run(words, check=True, stdout=subprocess.PIPE).stdout)
    assert found["large_items"] == 40
    assert found["large_s"] > 0
    assert found["large_peak_mib"] - found["large_before_mib"] < 200
