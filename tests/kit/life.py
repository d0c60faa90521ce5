"""A broker's life in a town where the hub comes and goes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lxml import etree

from gateway.client import SealedSubmission
from tests.kit.town import Town

Change = Callable[[etree._Element], None]


class Life:
    """Files submissions, answers what is asked, and keeps at it while the hub comes and goes."""

    def __init__(self, town: Town) -> None:
        self.town = town
        self.filed: list[SealedSubmission] = []
        self.receipts: dict[str, set[bytes]] = {}
        self._supplements: dict[str, SealedSubmission] = {}
        self._answered: set[str] = set()

    def file(self, change: Change | None = None) -> None:
        """Put one more submission on the list of what is to be sent."""
        self.filed.append(self.town.submission(change))

    def go_on(self) -> None:
        """Send what has no receipt yet, and what an agency has asked for."""
        for message in self.filed:
            if not self.receipts.get(message.reference):
                self._send(message)
        for row in self.town.received():
            said = row["said"]
            if said.get("state") == "INFORMATION_REQUIRED" and said["notice_number"] not in self._answered:
                self._supplement(said)

    def _send(self, message: SealedSubmission) -> bool:
        answer = self.town.send(message)
        if answer is None:
            return False
        # Without a body the receipt comes by a POST of the hub's own: the message is stored all the same.
        assert answer.status in (200, 204), answer
        self.receipts.setdefault(message.reference, set()).add(answer.body)
        return True

    def _supplement(self, said: dict[str, Any]) -> None:
        number = said["notice_number"]
        if number not in self._supplements:
            first = next(one for one in self.filed if one.reference == said["reference"])
            self._supplements[number] = self.town.supplement_of(first, said["application"])
        answer = self.town.send(self._supplements[number])
        if answer is not None:
            self._answered.add(number)

    def repeat_everything(self) -> None:
        """Send every submission once more: the receipt must be the one that was given before."""
        for message in self.filed:
            assert self._send(message)
            assert len(self.receipts[message.reference]) == 1, "a repeat got other octets"

    def ended(self) -> bool:
        """Tell whether every case has ended, going on meanwhile."""
        self.go_on()
        cases = [self.town.case_of(message) for message in self.filed]
        return all(case is not None and case.state in ("CLOSED", "REFUSED") for case in cases)
