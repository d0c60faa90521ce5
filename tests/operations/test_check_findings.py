"""A check that fails is reported with its name, and the checks beside it run."""

from __future__ import annotations

import errno
import logging

import pytest
from sqlalchemy.exc import OperationalError

from gateway.errors import DATABASE_HELD, KEY_UNAVAILABLE, GatewayError
from gateway.operations import Findings, find_record_problem
from gateway.store import InsufficientStorageError


def list_problems(findings: Findings) -> list[str]:
    return [str(problem) for problem in findings.problems]


def test_a_check_that_fails_is_reported_and_the_next_one_runs(caplog: pytest.LogCaptureFixture) -> None:
    findings = Findings()
    with findings.check("tariffs"):
        findings.add("one tariff is odd")
        raise LookupError("nothing at 3")
    with findings.check("addresses"):
        findings.add("no address")
    assert findings.warnings == ["one tariff is odd", "no address"]
    assert list_problems(findings) == ["GW905 the check of tariffs has failed: LookupError: nothing at 3"]
    (line,) = caplog.records
    assert (line.levelno, line.getMessage()) == (logging.ERROR, "the check of tariffs has failed")
    assert line.exc_info is not None


def test_a_problem_that_several_checks_raise_is_reported_once() -> None:
    findings = Findings()
    for name in ("keys", "signatures"):
        with findings.check(name):
            raise GatewayError(KEY_UNAVAILABLE, "no key", "pki.key")
    findings.add(GatewayError(KEY_UNAVAILABLE, "no key", "pki.next.key"))
    assert list_problems(findings) == ["GW803 no key at pki.key", "GW803 no key at pki.next.key"]


def test_what_a_failed_check_contains_is_said_to_be_unchecked() -> None:
    findings = Findings()
    with findings.check("the hub", parts="keys and trust"), findings.check("keys"):
        raise GatewayError(DATABASE_HELD, "older")
    assert findings.warnings == []
    with findings.check("the hub", parts="keys and trust"):
        raise GatewayError(DATABASE_HELD, "older")
    assert findings.warnings == ["not checked: keys and trust"]


@pytest.mark.parametrize("shortage", [MemoryError(), OSError(errno.ENOSPC, "full")])
def test_a_shortage_of_this_machine_is_no_defect(shortage: Exception) -> None:
    findings = Findings()
    with findings.check("tariffs"):
        raise shortage
    assert [problem.problem.id for problem in findings.problems] == ["GW806"]


@pytest.mark.parametrize("shortage", [MemoryError(), InsufficientStorageError("the bucket is away")])
def test_a_shortage_is_no_problem_of_the_record_that_is_examined(shortage: Exception) -> None:
    with pytest.raises(GatewayError, match="GW806"):
        find_record_problem(shortage)
    lost = OperationalError("SELECT", {}, Exception("the server is away"))
    with pytest.raises(OperationalError):
        find_record_problem(lost)


def test_a_record_that_cannot_be_examined_has_its_problem() -> None:
    problem = GatewayError(KEY_UNAVAILABLE, "no key")
    assert find_record_problem(problem) is problem
    assert str(find_record_problem(KeyError("item"))) == (
        "GW905 the examination has failed: KeyError: 'item' is missing"
    )
