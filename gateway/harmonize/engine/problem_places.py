"""The place of a problem in a submission: an element, and steps below it that need not be there."""

from __future__ import annotations

from typing import NamedTuple

from lxml import etree

from gateway.harmonize.submission import SubmissionIndex

__all__ = ["ProblemPlace"]


class ProblemPlace(NamedTuple):
    """The place of a problem; its pointer is made for a problem only, since that counts elements."""

    element: etree._Element
    steps: str = ""

    def add_step(self, step: str) -> ProblemPlace:
        """Return the place below this one."""
        return ProblemPlace(self.element, f"{self.steps}/{step}")

    def make_pointer(self, facts: SubmissionIndex) -> str:
        """Return the pointer of the place."""
        return facts.get_pointer(self.element) + self.steps
