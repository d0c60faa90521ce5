"""The table of mutants by kind and what stopped them first, and what is said below it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from gateway.harmonize.proofs import PROOFS
from tests.harmonize.mutation.argued import argument
from tests.harmonize.mutation.judging import LAYERS, Verdict

__all__ = ["alone", "summary", "table"]

_SHORT: Final = {
    "least_disclosure": "disclose",
    "never_asked_twice": "twice",
    "submissions": "submit",
}
_COLUMNS: Final = (*LAYERS, "alive")


def table(verdicts: Sequence[Verdict]) -> str:
    """Return the table: a row for each kind, a column for each layer that stopped mutants first."""
    kinds = dict.fromkeys(verdict.mutant.kind for verdict in verdicts)
    head = f"{'kind':18}{'all':>6}" + "".join(f"{_SHORT.get(name, name):>10}" for name in _COLUMNS)
    rows = [_row(kind, [v for v in verdicts if v.mutant.kind == kind]) for kind in kinds]
    return "\n".join([head, *rows, _row("all", list(verdicts)), _alone_row(verdicts)])


def _row(name: str, verdicts: list[Verdict]) -> str:
    counts = Counter(verdict.first for verdict in verdicts)
    return f"{name:18}{len(verdicts):>6}" + "".join(f"{counts[one] or '.':>10}" for one in _COLUMNS)


def alone(verdicts: Sequence[Verdict]) -> Counter[str]:
    """Return how many mutants each layer stops, whatever else stops them too."""
    return Counter(layer for verdict in verdicts for layer in verdict.found)


def _alone_row(verdicts: Sequence[Verdict]) -> str:
    counts = alone(verdicts)
    return f"{'alone':18}{'':>6}" + "".join(f"{counts[one] or '.':>10}" for one in _COLUMNS)


def summary(verdicts: Sequence[Verdict]) -> str:
    """Return what the proofs stop together, what kept requests alone tell, and each survivor's argument."""
    proved = sum(1 for one in verdicts if one.found.keys() & {"load", *PROOFS})
    lines = [
        f"\nstopped by loading or a proof: {proved} of {len(verdicts)}",
        f"told by the kept request alone: {sum(1 for one in verdicts if one.kept_alone)}",
    ]
    alive = [verdict for verdict in verdicts if verdict.first == "alive"]
    lines.append(f"alive: {len(alive)}")
    for verdict in alive:
        mutant, found = verdict.mutant, argument(verdict.mutant)
        said = "NOT ARGUED" if found is None else f"{found.verdict}: {found.reason}"
        lines.append(f"  {mutant.mark} {mutant.kind} {mutant.what}\n      {said}")
    return "\n".join(lines)
