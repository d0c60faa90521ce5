"""A second, plain model of one case: what its outcome must be after what the partners have seen and said.

It is written from the rules (the domain dossier §3.2, `gateway/manual/states.md`), and not from the
code of the hub. It is told only what can be seen outside: what the declarant sent, which calls
reached an agency, what an agency said, what an operator did. Each application has one item and one law.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

__all__ = ["ApplicationModel", "CaseModel"]

_APPROVALS = ("APPROVED", "APPROVED_WITH_CONDITIONS")


@dataclass
class ApplicationModel:
    """What is known of one application: what waits for its agency, what it said, whether it cancels."""

    #: Calls that wait for the agency, the first of them first: "submit", "supplement", "amend", "cancel".
    waiting: list[str] = field(default_factory=lambda: ["submit"])
    #: The agency was called at least once, whether or not its answer came back.
    tried: bool = False
    #: The agency has said something about it.
    spoken: bool = False
    refused: bool = False
    cancelled: bool = False
    #: The declarant has removed its item: what its agency says of it decides nothing.
    removed: bool = False
    #: Its agency has decided, also about an item that was removed.
    closed: bool = False
    #: None, "ASKED" or "REFUSED".
    question: str | None = None
    question_heard: bool = False
    #: (issued, number) of a notice, and its decision; only what counts.
    decided: dict[tuple[datetime, str], str] = field(default_factory=dict)

    @property
    def is_asked(self) -> bool:
        """Return whether the agency has yet to say whether it cancels."""
        return self.question == "ASKED" and not self.cancelled

    @property
    def decision(self) -> str | None:
        """Return the decision in force: that of the latest issue time, then of the highest number."""
        counts = self.decided and not self.cancelled and not self.removed
        return self.decided[max(self.decided)] if counts else None

    @property
    def is_approved(self) -> bool:
        """Return whether an approval stands."""
        return self.decision in _APPROVALS


@dataclass
class CaseModel:
    """A case of several applications; `outcome` is None while something is open."""

    applications: dict[str, ApplicationModel]
    withdraws: bool = False
    withdrawn: bool = False
    #: What the Result of the withdrawn case may say; what agencies decide later is passed on.
    told: list[dict[int, str]] = field(default_factory=list)

    @property
    def outcome(self) -> str | None:
        """Return the outcome that the rules give now."""
        if self.withdrawn:
            return "WITHDRAWN"
        if any(one.is_asked for one in self.applications.values()):
            return None
        all_of_them = [one for one in self.applications.values() if not one.removed]
        if any(one.decision is None and not one.cancelled for one in all_of_them):
            return None
        if self.withdraws and not any(one.is_approved for one in all_of_them):
            return "WITHDRAWN"
        bad = [one for one in all_of_them if one.cancelled or one.decision == "REJECTED"]
        if not bad:
            return "APPROVED"
        return "REJECTED" if len(bad) == len(all_of_them) else "PARTIAL"

    @property
    def said(self) -> dict[int, str]:
        """Return the decision in force on each item, numbered from 1 in the order of the applications."""
        told = {number: one.decision for number, one in enumerate(self.applications.values(), start=1)}
        return {item: code for item, code in told.items() if code is not None}

    @property
    def approved(self) -> set[int]:
        """Return the items that an approval stands for."""
        return {number for number, one in enumerate(self.applications.values(), start=1) if one.is_approved}

    @property
    def problems(self) -> list[str]:
        """Return the ids of the problems that the Result names, sorted."""
        left = [one for one in self.applications.values() if not one.removed]
        cancelled = [one for one in left if one.cancelled]
        refused = [one for one in left if one.question == "REFUSED" and not one.cancelled]
        told = [] if self.outcome == "WITHDRAWN" else ["GW410"] * len(cancelled) + ["GW409"] * len(refused)
        return sorted(told)

    def _settle(self) -> None:
        # A withdrawn case stays so, whatever its agencies say later.
        self.withdrawn = self.withdrawn or self.outcome == "WITHDRAWN"
        if self.withdrawn:
            self.told.append(self.said)

    def call(self, name: str, kind: str) -> None:
        """An agency is called: what it decides from now on is about what it is sent."""
        one = self.applications[name]
        one.tried = True
        one.waiting.remove(kind)
        if kind == "cancel":
            one.question_heard = True

    def answer(self, name: str, *, acknowledged: bool) -> None:
        """The answer to a call came back."""
        one = self.applications[name]
        one.spoken |= acknowledged

    def fail(self, name: str, kind: str, *, refused: bool) -> None:
        """A call brought no answer: it waits again, or for an operator. `refused`: the application itself."""
        one = self.applications[name]
        one.waiting.insert(0, kind)
        one.question_heard = False
        one.refused = refused

    def drop(self, name: str, kind: str) -> None:
        """An operator gives up a call."""
        one = self.applications[name]
        one.waiting.remove(kind)
        if kind == "cancel" and one.is_asked:
            one.cancelled, one.question = not one.spoken, "REFUSED"
        self._settle()

    def notice(self, name: str, rank: tuple[datetime, str], status: str, decision: str | None) -> str | None:
        """An agency states something; return the id of the problem that it must get, or None."""
        one = self.applications[name]
        if one.cancelled and decision is not None:
            return "GW703"
        one.spoken = True
        if status in ("G01", "G03"):
            one.cancelled = True
        elif status == "G04":
            one.question = "REFUSED"
        if decision is not None:
            approved = one.is_approved
            self._decide(one, rank, decision)
            if self.withdrawn and one.is_approved and not approved and not one.is_asked:
                # No approval of a withdrawn declaration stands: its agency is asked to cancel it.
                self._ask(one)
        self._settle()
        return None

    def _decide(self, one: ApplicationModel, rank: tuple[datetime, str], decision: str) -> None:
        if one.removed:
            one.closed = True
            one.question = "REFUSED" if one.is_asked and one.question_heard else one.question
            return
        # It is about what was amended since, unless the agency has decided while it was called.
        if "amend" in one.waiting and not one.decided:
            return
        one.decided[rank] = decision
        # Without an approval there is nothing to cancel; with one, the agency has refused once it was asked.
        # Of a withdrawn declaration an approval is what it is asked about, and no answer.
        if one.is_asked and (not one.is_approved or (one.question_heard and not self.withdrawn)):
            one.question = "REFUSED"

    def may_withdraw(self) -> bool:
        """Return whether a withdrawal is accepted now."""
        return not self._is_being_withdrawn() and not self.withdrawn and self.outcome != "REJECTED"

    def _is_being_withdrawn(self) -> bool:
        # Before a withdrawal only the agencies of what an amendment has left out are asked.
        return self.withdraws and any(one.is_asked for one in self.applications.values())

    def withdraw(self) -> None:
        """The declarant withdraws: what no agency has is cancelled, the others are asked."""
        self.withdraws = True
        for one in self.applications.values():
            self._ask_cancel(one)
        self._settle()

    def _ask_cancel(self, one: ApplicationModel) -> None:
        if one.cancelled or one.is_asked or one.closed or (one.decision is not None and not one.is_approved):
            return
        if one.refused or (not one.tried and {"submit", "amend"} & set(one.waiting)):
            one.cancelled = True
            one.waiting.clear()
        else:
            self._ask(one)

    @staticmethod
    def _ask(one: ApplicationModel) -> None:
        one.question, one.question_heard = "ASKED", False
        one.waiting.append("cancel")

    def may_amend(self) -> bool:
        """Return whether an amendment is accepted now."""
        return not self.withdrawn and not self._is_being_withdrawn()

    def amend(self, name: str | None, overtaken: Sequence[str] = ()) -> None:
        """The declarant amends what one agency gets, or what none gets.

        `overtaken` are the failed calls about it: the amendment replaces them.
        """
        self.withdraws = False
        for one in self.applications.values():
            one.question = None if one.question == "REFUSED" else one.question
        if name is not None:
            one = self.applications[name]
            one.decided.clear()
            if one.refused:
                # It is submitted anew: until that is tried, the agency has nothing of it.
                one.waiting, one.refused, one.tried = [], False, False
            one.waiting = [kind for kind in one.waiting if kind not in overtaken]
            one.waiting.append("amend")
        self._settle()

    def remove(self, name: str) -> None:
        """The declarant amends: the item of one application is removed, and the application with it."""
        self.amend(None)
        one = self.applications[name]
        one.closed = one.decision is not None
        if not one.closed or one.is_approved:
            self._ask_removed(one)
        one.removed = True
        self._settle()

    def add(self, name: str) -> None:
        """The declarant amends: another item with an application of its own, which nobody has yet."""
        self.amend(None)
        self.applications[name] = ApplicationModel()
        # What was settled without it is open again.
        self._settle()

    def _ask_removed(self, one: ApplicationModel) -> None:
        closed, one.closed = one.closed, False
        self._ask_cancel(one)
        one.closed = closed

    def may_supplement(self, name: str) -> bool:
        """Return whether a supplement of one application is accepted now."""
        one = self.applications[name]
        open_case = self.outcome is None and not self._is_being_withdrawn()
        return open_case and one.decision is None and not one.cancelled and not one.removed

    def supplement(self, name: str) -> None:
        """The declarant supplements one application."""
        self.applications[name].waiting.append("supplement")
