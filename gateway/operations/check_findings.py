"""Gathers what the checks of a hub have to report; a check that fails is reported, and the others go on."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from gateway.errors import (
    CHECK_FAILED,
    GatewayError,
    describe_exception,
    find_resource_problem,
    raise_resource_problem,
)
from gateway.store import is_database_error

#: A problem, or the sentence of a warning.
Finding = GatewayError | str

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Findings:
    """The problems and warnings of the checks that have run so far, each problem once."""

    problems: list[GatewayError] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @contextmanager
    def check(self, name: str, *, parts: str = "") -> Iterator[None]:
        """Run the block as one check, and add the problem that it raises; `name` completes "the check of".

        Any other exception is a problem, too (GW905): whatever the check would have reported after it is
        unknown. `parts` names the checks that the block contains; an exception leaves them out, which is a
        warning.
        """
        try:
            yield
        except GatewayError as problem:
            self.add(find_resource_problem(problem) or problem)
        except Exception as failure:
            self.add(find_resource_problem(failure) or make_failure_problem(f"the check of {name}", failure))
        else:
            return
        if parts:
            self.add(f"not checked: {parts}")

    def add_all(self, findings: Iterable[Finding]) -> None:
        """Add each finding of a check as soon as it is made."""
        for finding in findings:
            self.add(finding)

    def add(self, finding: Finding) -> None:
        """Add a warning, or a problem unless another check has reported the same one."""
        if isinstance(finding, str):
            self.warnings.append(finding)
        elif str(finding) not in map(str, self.problems):
            # Keys, mappings and data are read from one database.
            self.problems.append(finding)


def find_record_problem(failure: Exception) -> GatewayError:
    """Return why one of many records cannot be examined: its problem, or GW905 for any other exception.

    Raises GW806, GW810, GW811, or the exception of the database, for a failure by which no record can be read
    now.
    """
    raise_resource_problem(failure)
    if is_database_error(failure):
        raise failure
    return failure if isinstance(failure, GatewayError) else make_failure_problem("the examination", failure)


def make_failure_problem(act: str, failure: Exception) -> GatewayError:
    """Return GW905 for an act that ended by an exception, which is logged with its traceback."""
    _log.error("%s has failed", act, exc_info=failure)
    cause = f"{type(failure).__name__}: {describe_exception(failure)}"
    return GatewayError(CHECK_FAILED, f"{act} has failed: {cause}")
