"""A second, plain model of certificates that lines of one item name, in any unit, of several agencies.

It is written from the rules (`gateway/manual/requirement-ledger.md`, `gateway/manual/partial-release.md`),
and not from the code of the hub. Declarations name certificates, their items leave in children, theirs in
children of the children. A line of a child is a part of what a case above it names of the certificate for
the item, or else uses the certificate itself. All quantities are in one unit.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from tests.kit.goods_oracle import CertificateModel, Rank

__all__ = ["CaseModel", "Certificate", "LineModel", "LinesModel", "Told"]

#: Whose certificate it is, and its number.
Certificate = tuple[str, str]
#: What is told of an item: agency, decision, and number and quantity where they are told.
Told = tuple[int, str, str, str | None, Decimal | None]
_NOTHING = Decimal(0)


@dataclass
class LineModel:
    """One line of an item: how much of which certificate."""

    item: int
    certificate: Certificate
    quantity: Decimal
    #: It is a part of what a case above it names.
    above: bool = False
    #: It waits for the number no longer.
    joined: bool = False
    #: The quantity is written off.
    written: bool = False


@dataclass
class CaseModel:
    """A declaration that is admitted: its items, its lines, and the case that its items come from."""

    items: set[int]
    lines: list[LineModel]
    parent: str | None = None

    def list_own(self) -> list[LineModel]:
        """Return the lines that use their certificates themselves."""
        return [one for one in self.lines if not one.above]


@dataclass
class LinesModel:
    """Certificates, and the declarations that name them, in the order of their admission."""

    certificates: dict[Certificate, CertificateModel]
    cases: dict[str, CaseModel] = field(default_factory=dict)

    def get_used(self, certificate: Certificate) -> Decimal:
        """Return what is written off a certificate."""
        lines = (one for case in self.cases.values() for one in case.list_own())
        return sum(
            (one.quantity for one in lines if one.written and one.certificate == certificate), _NOTHING
        )

    def list_children(self, name: str) -> list[str]:
        """Return the children of a case that stand."""
        return [one for one, case in self.cases.items() if case.parent == name]

    def _list_line(self, name: str) -> Iterator[str]:
        above: str | None = name
        while above is not None:
            yield above
            above = self.cases[above].parent

    # What is decided.

    def get_decisions(self, name: str) -> dict[tuple[int, Certificate], str]:
        """Return what is decided of each item of a case, by its own certificates and above it."""
        case = self.cases[name]
        above = {} if case.parent is None else self.get_decisions(case.parent)
        own = {
            (one.item, one.certificate): "REJECTED" if self._is_rejecting(one.certificate) else "APPROVED"
            for one in case.list_own()
            if one.joined
        }
        return {subject: said for subject, said in above.items() if subject[0] in case.items} | own

    def _is_rejecting(self, certificate: Certificate) -> bool:
        known = self.certificates[certificate]
        return known.is_known and known.granted is None

    def list_rejected(self, name: str) -> set[int]:
        """Return the items of which one certificate at least says no."""
        return {item for (item, _), said in self.get_decisions(name).items() if said == "REJECTED"}

    def get_outcome(self, name: str) -> str:
        """Return the outcome of a case, which asks nobody."""
        items, rejected = self.cases[name].items, self.list_rejected(name)
        if not rejected:
            return "APPROVED"
        return "REJECTED" if rejected == items else "PARTIAL"

    def list_told(self, name: str) -> list[Told]:
        """Return what the Result of a case says of each item and certificate."""
        return sorted(
            ((item, certificate[0], *said) for (item, certificate), said in self._tell(name).items()),
            key=repr,
        )

    def _tell(self, name: str) -> dict[tuple[int, Certificate], tuple[str, str | None, Decimal | None]]:
        case = self.cases[name]
        above = {} if case.parent is None else self._tell(case.parent)
        told = {
            subject: (code, number, None)
            for subject, (code, number, _) in above.items()
            if subject[0] in case.items
        }
        for subject, code in self.get_decisions(name).items():
            mine = [one for one in case.list_own() if one.joined and (one.item, one.certificate) == subject]
            if not mine:
                continue
            sum_ = sum((one.quantity for one in mine if one.written), _NOTHING)
            if code == "REJECTED":
                told[subject] = code, subject[1][1], None
            else:
                told[subject] = (code, subject[1][1], sum_) if sum_ else (code, None, None)
        return told

    # What is named above.

    def _find_owner(self, name: str, item: int, certificate: Certificate) -> str | None:
        """Return the case, or the next one above it, that names a certificate for an item."""
        for one in self._list_line(name):
            if any((line.item, line.certificate) == (item, certificate) for line in self.cases[one].lines):
                return one
        return None

    def _get_left(self, owner: str, item: int, certificate: Certificate) -> Decimal | None:
        """Return what children may still name of what a case has; None while it has nothing and waits."""
        mine = [one for one in self.cases[owner].lines if (one.item, one.certificate) == (item, certificate)]
        there = [one.quantity for one in mine if one.joined]
        return sum(there) - self._sum_named(owner, item, certificate) if there else None

    def _sum_named(self, name: str, item: int, certificate: Certificate) -> Decimal:
        total = _NOTHING
        for child in self.list_children(name):
            mine = [
                one.quantity
                for one in self.cases[child].lines
                if one.above and one.joined and (one.item, one.certificate) == (item, certificate)
            ]
            total += sum(mine) if mine else self._sum_named(child, item, certificate)
        return total

    # What happens.

    def declare(
        self, name: str, items: set[int], lines: Sequence[LineModel], parent: str | None = None
    ) -> set[str]:
        """A declaration is filed; return the problems for which it is refused."""
        found: set[str] = set()
        if parent is not None:
            if self.get_outcome(parent) == "REJECTED":
                return {"GW416"}
            found |= {"GW414"} if items & self.list_rejected(parent) else set()
        before = copy.deepcopy(self.cases)
        case = CaseModel(set(items), [], parent)
        named = {
            id(one): owner
            for one in lines
            if parent is not None and (owner := self._find_owner(parent, one.item, one.certificate))
        }
        self.cases[name] = case
        for one in lines:
            case.lines.append(one)
            found |= self._name_above(one, named[id(one)]) if id(one) in named else self._use(one)
        if found:
            self.cases = before
        return found

    def _name_above(self, line: LineModel, owner: str) -> set[str]:
        line.above = True
        left = self._get_left(owner, line.item, line.certificate)
        if left is not None and line.quantity > left:
            return {"GW411"}
        line.joined = left is not None
        return set()

    def _use(self, line: LineModel) -> set[str]:
        known = self.certificates[line.certificate]
        if not known.is_known:
            return set()
        if known.granted is None:
            return {"GW412"}
        if self.get_used(line.certificate) + line.quantity > known.granted:
            return {"GW411"}
        line.joined = line.written = True
        return set()

    def say(self, certificate: Certificate, rank: Rank, quantity: Decimal | None) -> None:
        """An agency approves a quantity under a number, or takes it back."""
        self.certificates[certificate].said[rank] = quantity
        self._serve([certificate])

    def withdraw(self, name: str) -> None:
        """A declaration is withdrawn: what it used, or named of what is used above it, is given back."""
        self._serve([one.certificate for one in self.cases.pop(name).lines])

    def _serve(self, changed: list[Certificate]) -> None:
        """Who names a certificate is served in the order of admission; what is given back goes on so."""
        while changed:
            certificate = changed.pop(0)
            for name in self.cases:
                changed += self._settle(name, certificate)

    def _settle(self, name: str, certificate: Certificate) -> list[Certificate]:
        """Let a case look at a certificate; return those of which it gives something back."""
        self._join(name, certificate)
        case, rejected = self.cases[name], self.list_rejected(name)
        freed = [one for one in case.list_own() if one.written and one.item in rejected]
        for one in freed:
            one.written = False
        for one in case.list_own():
            if one.joined and not one.written and one.item not in rejected:
                # Where too little is left it waits anew.
                one.joined = one.written = self._is_left(one)
        return [one.certificate for one in freed]

    def _join(self, name: str, certificate: Certificate) -> None:
        """Let the lines of a case that wait for a certificate have what there is for them."""
        case = self.cases[name]
        for one in case.lines:
            if one.certificate != certificate or (one.joined and not one.above):
                continue
            if one.above:
                owner = self._find_owner(str(case.parent), one.item, certificate)
                left = None if owner is None else self._get_left(owner, one.item, certificate)
                if one.joined:
                    # Where a case above it waits again, the child does as well.
                    one.joined = left is not None
                    continue
                one.joined = left is not None and one.quantity <= left
            elif self._is_rejecting(certificate):
                one.joined = True
            elif self._is_left(one):
                one.joined = one.written = True

    def _is_left(self, line: LineModel) -> bool:
        known = self.certificates[line.certificate]
        granted = known.granted if known.is_known else None
        return granted is not None and self.get_used(line.certificate) + line.quantity <= granted

    def count_waiting(self, name: str) -> int:
        """Return how many lines of a case wait for their number."""
        return sum(not one.joined for one in self.cases[name].lines)
