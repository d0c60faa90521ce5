"""Drawn runs of the fees of a case and of its children, whose items agencies decide anew.

Items of a case leave in children. A child may have an application of its own for an item: its agency decides
about it and levies fees, also before forwarding. The case and its children are withdrawn, agencies cancel and
correct, and customs clears children. Whatever happens, the money of each application is exact, and each case
ends and is told what the rules say (`gateway/manual/partial-release.md`, `fees.md`, `states.md`).
"""

from __future__ import annotations

import copy
import random
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final

from lxml import etree

from gateway.cases import CustomsCall, CustomsNotice, DecisionCode, SignedReply
from gateway.hub.customs.customs_reports import apply_customs_call
from gateway.store import agency_requests, cases, read_transaction
from gateway.wire import parse_xml
from tests.flows.craft import Change, all_of, at, reference, withdrawal
from tests.flows.test_amendments import amendment
from tests.flows.test_fees import Provider
from tests.flows.test_partial_release import child
from tests.kit.fee_oracle import FeeModel
from tests.kit.fee_turns import FEES, GATE, FeeEvent, FeeRun, draw_fee_event
from tests.kit.goods_oracle import Amounts
from tests.kit.goods_turns import read_whole
from tests.kit.story import AGENCIES, ITEMS, Story

__all__ = ["ChildFeeRun", "draw_child_fees"]

_SPOKEN: Final = SignedReply(b"<signed call/>", "ab" * 32)
_DRAWN: Final[dict[str, int]] = {
    "levy": 9, "cancel": 2, "confirm": 2, "refund": 4, "pay": 9, "waive": 1, "settle": 1, "tick": 5,
    "down": 1, "again": 2, "withdraw": 3, "drop": 2, "decide": 5, "keep": 4, "ask": 1, "correct": 4,
    "take": 9, "clear": 3, "change": 5,
}  # fmt: skip
_AGENCY_OF: Final = {item: agency for agency, item in ITEMS.items()}


def draw_child_fees(seed: int, length: int = 36) -> list[FeeEvent]:
    """Return the events of a run: which member of the family each one is about, and what happens."""
    drawn = random.Random(seed)
    kinds = drawn.choices(list(_DRAWN), list(_DRAWN.values()), k=drawn.randint(8, length))
    events = [_draw(drawn, number, kind) for number, kind in enumerate(kinds)]
    if drawn.random() < 0.8:
        # Most often the agencies have decided the case before anything leaves.
        ready = [("tick", 1), ("pay", GATE, "a", 0), *(("decide", one, 800) for one in AGENCIES)]
        events[:0] = [(0, one) for one in ready]
    return events


def _draw(drawn: random.Random, number: int, kind: str) -> FeeEvent:
    which = drawn.choice((0, 1, 1, 2, 3))
    if kind in ("take", "change"):
        items = tuple(sorted(drawn.sample(sorted(_AGENCY_OF), drawn.choice((1, 1, 2, 3)))))
        own = tuple(item for item in items if drawn.random() < 0.5)
        return (which if kind == "change" else 0, (kind, number, items, own, drawn.choice((1, 1, 2, 4))))
    if kind == "clear":
        return (which, (kind, number, drawn.choice(("5EC", "5EC", "10"))))
    if kind == "correct":
        return (which, (kind, drawn.choice(AGENCIES), number, drawn.choice(("APPROVED", "REJECTED"))))
    return (which, draw_fee_event(drawn, number, kind))


class Member(FeeRun):
    """One case of the family: its fees, what its own agencies have said, and what it has of its parent."""

    def __init__(
        self,
        story: Story,
        provider: Provider,
        name: str,
        change: Change | None = None,
        *,
        attach: bool = True,
    ) -> None:
        self.codes: dict[str, str] = {}
        self.taken: dict[int, Amounts] = {}
        self.parent: Member | None = None
        self.cleared = self.ever_cleared = False
        self.over = False
        #: The items that an amendment has removed, and the agencies whose application it has left out.
        self.removed: set[int] = set()
        self.dropped: set[str] = set()
        #: What everybody has heard before the case was filed.
        self.before = len(story.inbox.got), len(story.soap.calls)
        super().__init__(story, provider, name, change, attach=attach)
        self.number = str(self.read().number)

    def read(self) -> Any:
        """Return the case as it is stored."""
        with read_transaction(self.story.house.engine) as conn:
            return cases.find_by_id(conn, self.case)

    @property
    def items(self) -> list[int]:
        """Return the items of the case."""
        return sorted(self.taken) or sorted(set(_AGENCY_OF) - self.removed)

    def is_decided(self) -> bool:
        """Return whether nobody has to say anything about the case any more."""
        return set(self.requests) <= self.decided | self.cancelled | self.dropped and not self.asked

    def find_code(self, item: int) -> str | None:
        """Return the decision that counts for an item."""
        agency = _AGENCY_OF[item]
        if agency in self.requests:
            return None if agency in self.cancelled else self.codes.get(agency)
        assert self.parent is not None
        return self.parent.find_code(item)

    def find_outcome(self) -> str:
        """Return the outcome of a case that is decided."""
        if self.over:
            return "WITHDRAWN"
        good = [self.find_code(item) == "APPROVED" for item in self.items]
        if all(good):
            return "APPROVED"
        return "PARTIAL" if any(good) else "REJECTED"

    def concerns(self, event: FeeEvent) -> bool:
        """Return whether an event is about something that the case has."""
        about = event[1] if len(event) > 1 else None
        if event[0] in ("levy", "cancel", "confirm", "refund", "pay", "waive", "settle"):
            return about in self.models
        if event[0] in ("decide", "correct", "ask") and about in self.dropped:
            return False
        return about not in AGENCIES or about in self.requests

    def settle(self) -> None:
        """Tell the models how late it is, and end a case of which nothing stands."""
        super().settle()
        stands = self._list_standing()
        # What its agencies refuse to cancel stands, until they reject it.
        if self.withdrawn and not self.asked and not stands:
            self.over = True

    def _list_standing(self) -> set[str]:
        """Return the agencies whose application would have to be cancelled in a withdrawal."""
        told = set(self.requests) - self.cancelled - self.dropped
        return {one for one in told if self.codes.get(one) != "REJECTED"}

    def _do_decide(self, agency: str, number: int) -> None:
        before = set(self.decided)
        super()._do_decide(agency, number)
        if self.decided - before:
            self.codes[agency] = "APPROVED"
            self.story.tick(seconds=1)

    def _do_correct(self, agency: str, number: int, code: str) -> None:
        """An agency corrects what it decided; not after a withdrawal: other runs do that."""
        if agency not in self.decided - self.cancelled or self.withdrawn:
            return
        self.story.clock.forward(minutes=1)
        notice = self.story.notice(agency, DecisionCode(code), number=f"{self.name}-{number:03}")
        self._call(agency, notice, None)
        self.codes[agency] = code
        self.story.tick(seconds=1)

    def _do_clear(self, number: int, code: str) -> None:
        """Customs clears a child, or takes that back."""
        if self.parent is None or not self.is_decided() or self.over:
            return
        self.story.tick(seconds=1)
        said = CustomsNotice(f"{self.name}-CUS-{number}", self.story.clock(), code)
        call = CustomsCall(said, case_number=self.number)
        apply_customs_call(self.story.hub, call, _SPOKEN)
        self.cleared, self.ever_cleared = code == "5EC", True
        self.story.tick(seconds=1)

    def withdraw(self, *, may: bool) -> None:
        """The declarant withdraws; `may`: nothing that left stands in the way."""
        wanted = self._find_hindrance(may=may)
        stand = self._list_standing()
        found = self.send(all_of(withdrawal, reference(self.name)), "Withdraw", attach=False)
        assert found == wanted, f"the withdrawal of {self.name} has {found}, not {wanted}"
        if found:
            return
        self.withdrawn = True
        if self._is_held() and "KPTA" not in self.cancelled:
            self._end("KPTA")
            stand -= {"KPTA"}
        self._read_asked()
        assert self.asked - self.dropped == stand, f"{self.asked} of {self.name} are asked, not {stand}"

    def _read_asked(self) -> None:
        with read_transaction(self.story.house.engine) as conn:
            rows = agency_requests.list_by_case(conn, self.case)
        self.asked = {row.agency for row in rows if row.cancellation == "ASKED" and row.state != "CANCELLED"}

    def send(self, change: Change, action: str, *, attach: bool) -> set[str]:
        """File another word about the case; return the problems for which it is refused."""
        newest = self.story.case().id
        self.story.submit(self.story.submission(change), action=action, attach=attach)
        self.story.tick(seconds=1)
        row = self.story.case()
        refused = row.id != newest and row.state == "REFUSED"
        return {one["id"] for one in row.detail["problems"]} if refused else set()

    def amend(self, change: Change, own: set[str], *, wanted: set[str]) -> bool:
        """The declarant amends; `own`: the agencies with an application then; return whether it is so."""
        if self.over or (self.withdrawn and self.asked):
            wanted = {"GW407"}
        elif self.cleared:
            wanted = {"GW714"}
        held = self._is_held()
        found = self.send(all_of(change, amendment()), "Amend", attach="KFDA" in own)
        assert found == wanted, f"the amendment of {self.name} has {found}, not {wanted}"
        if found:
            return False
        self.withdrawn = False
        left_out = set(self.requests) - own - self.cancelled - self.dropped
        self.dropped |= left_out
        if held and "KPTA" in left_out:
            self._end("KPTA")
        with read_transaction(self.story.house.engine) as conn:
            self.requests = {row.agency: row for row in agency_requests.list_by_case(conn, self.case)}
        assert set(self.requests) >= own, f"{self.name} asks {set(self.requests)}, not {own}"
        fresh = {name for name, (agency, _) in FEES.items() if agency in self.requests} - set(self.models)
        self.models |= {name: FeeModel(FEES[name][1].amount) for name in fresh}
        if GATE in fresh:
            self._levy_gate()
        self._read_asked()
        return True

    def _find_hindrance(self, *, may: bool) -> set[str]:
        rejected = self.is_decided() and self.find_outcome() == "REJECTED"
        under_way = self.withdrawn and bool(self.asked)
        if self.over or under_way or not may or (self.parent is None and rejected):
            return {"GW407"}
        return {"GW714"} if self.cleared else set()

    def finish(self) -> None:
        """Let each agency answer and decide, and nobody wait for the fee before forwarding."""
        for place, agency in enumerate(self.requests):
            self._do_keep(agency, 900 + place)
        if self._is_held() and "KPTA" not in self.cancelled:
            self._do_waive(GATE)
            self.story.tick(minutes=1)
        for place, agency in enumerate(self.requests):
            if agency not in self.dropped:
                self._do_decide(agency, 910 + place)
        self.settle()

    def check_case(self) -> None:
        """Compare the case, its last Result and what customs knows of it with what must be so."""
        row, outcome = self.read(), self.find_outcome()
        wanted = ("WITHDRAWN" if self.over else "CLOSED", outcome)
        assert (row.state, row.outcome) == wanted, f"{self.name} is {row.state}, {row.outcome}, not {wanted}"
        units = (parse_xml(unit.payloads[0].content) for unit in self.story.inbox.got[self.before[0] :])
        results = [
            root
            for root in units
            if root.tag.endswith("}Result") and root.findtext("{*}CaseNumber") == self.number
        ]
        assert results[-1].findtext("{*}Outcome") == outcome, f"{self.name} was told another outcome"
        told = {int(one.get("item", 0)): one.get("decision") for one in results[-1].findall("{*}Decision")}
        codes = {item: code for item in self.items if (code := self.find_code(item))}
        if not self.over:
            assert told == codes, f"{self.name} was told {told}, not {codes}"
        if not self.ever_cleared:
            self._check_customs(outcome)

    def _check_customs(self, outcome: str) -> None:
        calls = [
            call
            for call in self.story.soap.calls[self.before[1] :]
            if call.destination == "customs" and call.text("CaseNumber") == self.number
        ]
        if self.over:
            last = [call.operation for call in calls][-1:]
            assert last in ([], ["WithdrawDeclaration"]), f"customs heard last of {self.name}: {last}"
            return
        reports = [call for call in calls if call.operation == "ReportRequirements"]
        approved = {item for item in self.items if self.find_code(item) == "APPROVED"}
        if not reports or reports[-1].text("PendingCode") == "18":
            assert outcome == "REJECTED", f"customs heard nothing of {approved} of {self.name}"
            return
        heard = {int(one.findtext("{*}item") or 0) for one in reports[-1].body.iter("{*}Requirement")}
        assert heard == approved, f"customs heard of {heard} of {self.name}, not {approved}"


class ChildFeeRun:
    """A case with fees, its children with fees of their own, and what is so of each."""

    def __init__(self, story: Story, provider: Provider, name: str) -> None:
        self.story, self.provider, self.name = story, provider, name
        root = story.submission(reference(name))
        self.whole = read_whole(root)
        self.parent = Member(story, provider, name)
        self.members = [self.parent]

    @property
    def children(self) -> list[Member]:
        """Return the children that stand."""
        return [one for one in self.members[1:] if not one.over]

    def run(self, events: Sequence[tuple[int, FeeEvent]]) -> None:
        """Let the events happen, then what ends each case, and compare."""
        for which, event in events:
            self._happen(self.members[which % len(self.members)], event)
        for one in self.members:
            one.finish()
            self._settle()
        for one in self.members:
            one.end()
            self._settle()
        for one in self.members:
            one.check()
            one.check_case()

    def _happen(self, member: Member, event: FeeEvent) -> None:
        if event[0] == "take":
            self._take(*event[1:])
        elif event[0] == "change":
            self._change(member, *event[1:])
        elif event[0] == "withdraw":
            member.withdraw(may=member is not self.parent or not self.children)
        elif member.concerns(event):
            member.happen(event)
        self._settle()

    def _settle(self) -> None:
        for one in self.members:
            one.settle()

    def _take(self, number: int, items: Sequence[int], own: Sequence[int], part: int) -> None:
        """A child takes a part of items; it has an application of its own for some."""
        name = f"{self.name}-C{number}"
        taken = {item: tuple((one * part / 4).quantize(one) for one in self.whole[item]) for item in items}
        wanted = self._judge(taken)
        change = make_child(name, self.parent.number, taken, own)
        if wanted:
            found = self.parent.send(change, "Submit", attach=2 in own)
            assert found == wanted, f"{name} has {found}, not {wanted}"
            return
        made = Member(self.story, self.provider, name, change, attach=2 in own)
        assert made.read().state != "REFUSED", f"{name} is refused: {made.read().detail}"
        assert set(made.requests) == {_AGENCY_OF[item] for item in own}, f"{name} asks {set(made.requests)}"
        made.taken, made.parent = taken, self.parent
        self.members.append(made)
        # Goods that leave end a withdrawal that was refused.
        self.parent.withdrawn = False

    def _change(
        self, member: Member, _number: int, items: Sequence[int], own: Sequence[int], part: int
    ) -> None:
        """A case is amended: an item goes with its application, others come, or are decided anew."""
        kept = {ITEMS[one] for one in set(member.requests) - member.cancelled - member.dropped}
        if member.parent is None:
            self._shrink(member, set(items), kept)
            return
        cancelled = {ITEMS[one] for one in member.cancelled}
        own_then = (kept | (set(own) - cancelled)) & set(items)
        taken = {
            item: member.taken[item]
            if item in member.taken and item in kept
            else tuple((one * part / 4).quantize(one) for one in self.whole[item])
            for item in items
        }
        if not set(items) & set(member.taken):
            wanted = {"GW404"}
        elif set(items) & member.removed:
            wanted = {"GW419"}
        else:
            wanted = self._judge(taken, but=member)
        change = make_child(member.name, self.parent.number, taken, sorted(own_then))
        if member.amend(change, {_AGENCY_OF[item] for item in own_then}, wanted=wanted):
            member.removed |= set(member.taken) - set(taken)
            member.taken = taken

    def _shrink(self, member: Member, items: set[int], kept: set[int]) -> None:
        """The parent loses items; not while something has left: other runs do that."""
        left = set(member.items) & items
        if self.children or not left:
            return
        own = kept & left
        if member.amend(
            _keep_items(member.name, left, own), {_AGENCY_OF[item] for item in own}, wanted=set()
        ):
            member.removed |= set(_AGENCY_OF) - left

    def _judge(self, taken: dict[int, Amounts], but: Member | None = None) -> set[str]:
        """Return the problems for which a child is refused; `but`: what it has is counted as left."""
        parent = self.parent
        if not parent.is_decided() or parent.find_outcome() in ("REJECTED", "WITHDRAWN"):
            return {"GW416"}
        return {problem for item in taken if (problem := self._judge_item(item, taken[item], but))}

    def _judge_item(self, item: int, wanted: Amounts, but: Member | None) -> str | None:
        if item not in self.parent.items or self.parent.find_code(item) != "APPROVED":
            return "GW414"
        gone = [one.taken[item] for one in self.children if item in one.taken and one is not but]
        left = [whole - sum(parts, Decimal(0)) for whole, *parts in zip(self.whole[item], *gone, strict=True)]
        return "GW415" if any(one > there for one, there in zip(wanted, left, strict=True)) else None


def make_child(name: str, parent: str, taken: dict[int, Amounts], own: Sequence[int]) -> Change:
    """Return the change that takes items of a parent, with applications of its own for some of them."""
    items = tuple((item, f"{net:f}", f"{pieces:f}") for item, (net, pieces) in taken.items())

    def change(root: etree._Element) -> None:
        kept = {item: _list_own_parts(root, item) for item in own}
        values = root.find("{*}Supplement")
        child(name, parent, *items)(root)
        if own:
            root.append(values)
        for value in list(values):
            if value.get("item") and int(value.get("item", "0")) not in own:
                values.remove(value)
        for goods in root.findall(".//{*}GovernmentAgencyGoodsItem"):
            documents, application = kept.get(int(goods.findtext("{*}SequenceNumeric") or 0), ([], None))
            for document in documents:
                at(goods, "Commodity").addprevious(document)
            if application is not None:
                root.append(application)

    return change


def _keep_items(name: str, items: set[int], own: set[int]) -> Change:
    """Return the change that leaves other items out, and other applications."""

    def change(root: etree._Element) -> None:
        for goods in root.findall(".//{*}GovernmentAgencyGoodsItem"):
            if int(goods.findtext("{*}SequenceNumeric") or 0) not in items:
                goods.getparent().remove(goods)  # type: ignore[union-attr]
        for one in root.findall("{*}Application"):
            if int(one.findtext("{*}Items") or 0) not in own:
                root.remove(one)
        values = at(root, "Supplement")
        for value in list(values):
            if value.get("item") and int(value.get("item", "0")) not in own:
                values.remove(value)
        at(root, ".//Declaration/GoodsItemQuantity").text = str(len(items))

    return all_of(change, reference(name))


def _list_own_parts(root: etree._Element, item: int) -> tuple[list[etree._Element], etree._Element]:
    """Return the documents of an item, and its application."""
    goods = next(
        one
        for one in root.findall(".//{*}GovernmentAgencyGoodsItem")
        if one.findtext("{*}SequenceNumeric") == str(item)
    )
    application = next(one for one in root.findall("{*}Application") if one.findtext("{*}Items") == str(item))
    # The certificates of the parent count for it; it names none of them again.
    documents = [one for one in goods.findall("{*}AdditionalDocument") if one.find("{*}WriteOff") is None]
    return list(map(copy.deepcopy, documents)), copy.deepcopy(application)
