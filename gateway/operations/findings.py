"""Gathers what the checks of a hub have to report; a check that fails is reported, and the others go on."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from gateway.errors import CHECK_FAILED, GatewayError, describe_exception, find_resource_problem

#: A problem, or the sentence of a warning.
Finding = GatewayError | str

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Findings:
    """The problems and warnings of the checks that have run so far, each problem once.

    With `raises_failures`, an exception that no check may raise ends the report: its traceback shows where.
    """

    problems: list[GatewayError] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    raises_failures: bool = False

    @contextmanager
    def check(self, name: str, *, parts: str = "") -> Iterator[None]:
        """Run the block as one check, and add the problem that it raises; `name` completes "the check of".

        Any other exception is a problem, too (GW905): whatever the check would have reported after it is
        unknown. `parts` names the checks that the block contains; an exception leaves them out, which is a
        warning.
        """
        try:
            yield
        except Exception as failure:
            self.add(self._judge_failure(name, failure))
            if parts:
                self.add(f"not checked: {parts}")

    def _judge_failure(self, name: str, failure: Exception) -> GatewayError:
        """Return the problem of a check that an exception has ended; log one that no check may raise."""
        if isinstance(failure, GatewayError):
            return failure
        if self.raises_failures:
            raise failure
        _log.error("the check of %s has failed", name, exc_info=failure)
        place = "".join(f" at {note}" for note in getattr(failure, "__notes__", ()))
        cause = f"{type(failure).__name__}: {describe_exception(failure)}"
        detail = f"the check of {name} has failed{place}: {cause}"
        return find_resource_problem(failure) or GatewayError(CHECK_FAILED, detail, f"check of {name}")

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
