"""Our verdicts beside those of others, counted and gathered by what they disagree about."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.pki.chains import opinions
from tests.pki.chains.argued import Case, argument
from tests.pki.chains.making import plan
from tests.pki.chains.opinions import Opinion

#: What everybody said of the first cases under seed 0, a letter each: good, bad, or a point.
AGREED = Path(__file__).with_name("agreed.txt")


@dataclass
class Count:
    """How often one validator and we said the same, and how we differed."""

    asked: int = 0
    agree: int = 0
    stricter: int = 0
    laxer: int = 0

    def note(self, ours: Opinion, theirs: Opinion | None) -> None:
        """Count one case."""
        if theirs is None:
            return
        self.asked += 1
        if ours.good == theirs.good:
            self.agree += 1
        elif theirs.good:
            self.stricter += 1
        else:
            self.laxer += 1


@dataclass
class Comparison:
    """The counts of each validator, and the cases of each class; `alarming` are those nobody argues."""

    counts: dict[str, Count] = field(default_factory=dict)
    classes: dict[str, list[str]] = field(default_factory=dict)
    alarming: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "counts": {name: vars(count) for name, count in self.counts.items()},
            "classes": {title: len(cases) for title, cases in self.classes.items()},
            "alarming": self.alarming,
        }


def compare(seed: int, numbers: Iterable[int], names: Sequence[str]) -> Comparison:
    """Ask us and the others about the cases of these numbers."""
    plans = {number: plan(seed, number) for number in numbers}
    cases = [each.asked() for each in plans.values()]
    said = opinions.ours(cases)
    others = {name: opinions.OTHERS[name](cases) for name in names}
    found = Comparison({name: Count() for name in names})
    for place, (number, made) in enumerate(plans.items()):
        theirs = {name: told[place] for name, told in others.items()}
        for name, one in theirs.items():
            found.counts[name].note(said[place], one)
        known = {name: one for name, one in theirs.items() if one is not None}
        against = {name: one for name, one in known.items() if one.good != said[place].good}
        if against:
            _gather(found, f"{number} {made.notes}", made.notes, said[place], against, len(known))
    found.classes = dict(sorted(found.classes.items(), key=lambda item: -len(item[1])))
    return found


def agreed(said: Opinion, theirs: Iterable[Opinion | None]) -> str:
    """Return the letter of a case: "g" or "b" where others were asked and all say what we say."""
    known = {one.good for one in theirs if one is not None}
    return ("g" if said.good else "b") if known == {said.good} else "."


def write_agreed(number: int, names: Sequence[str]) -> None:
    """Ask about the first cases under seed 0, and write down what everybody agrees on."""
    cases = [plan(0, each).asked() for each in range(number)]
    others = [opinions.OTHERS[name](cases) for name in names]
    said = opinions.ours(cases)
    letters = "".join(agreed(one, theirs) for one, *theirs in zip(said, *others, strict=True))
    lines = [letters[start : start + 60] for start in range(0, number, 60)]
    AGREED.write_text("\n".join(lines) + "\n", "ascii")


def _gather(
    found: Comparison, case: str, notes: list[str], said: Opinion, against: dict[str, Opinion], asked: int
) -> None:
    way = "laxer" if said.good else "stricter"
    argued = argument(Case(tuple(notes), said.reason, against), laxer=said.good)
    words = said.reason if not said.good else "; ".join(one.reason for one in against.values())
    title = (
        f"argued, {way}: {argued}"
        if argued
        else f"{way} than {' and '.join(against)} of {asked}: {_bare(words)}"
    )
    found.classes.setdefault(title, []).append(f"{case} {words[:160]}")
    if argued is None and 2 * len(against) > asked:
        found.alarming.append(f"{way}: {case}: {words}"[:400])


def _bare(words: str) -> str:
    """Return a reason without what differs from case to case."""
    return re.sub(r"CN=[^:;]*?C=UT|\d[\d:TZ+. -]*", "_", words)[:110]
