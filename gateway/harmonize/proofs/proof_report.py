"""The report of the proofs: a verdict for each, and every breach with its place and a counter-example."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from gateway.errors import GatewayError
from gateway.wire import MarkedError, SourceMark

PROOFS: Final = ("totality", "lossless", "least_disclosure", "never_asked_twice", "agreement")
LOAD: Final = "load"


@dataclass(frozen=True, slots=True)
class ProofFinding:
    """One breach of a proof: its place, its field, a message and a counter-example.

    `counter_example` is an input that an applicant could submit (values of fields, or the seed
    of a drawn submission with the pointer of the leaf that was changed or left out).
    """

    proof: str
    mark: SourceMark
    field: str
    message: str
    counter_example: str

    def __str__(self) -> str:
        return f"{self.mark} {self.field}: {self.message} ({self.proof}; for example {self.counter_example})"


def make_fault_finding(error: GatewayError) -> ProofFinding:
    """Return the finding for an error that prevents a mapping from loading (GW502)."""
    if isinstance(error, MarkedError):
        detail = error.detail.removeprefix(f"{error.name}: ")
        actual = detail.rpartition(", found ")[2]
        return ProofFinding(
            error.proof or LOAD, error.mark, error.name, detail, f"the file as it stands: {actual}"
        )
    file, _, line = error.location.rpartition(":")
    mark = SourceMark(file, int(line)) if line.isdigit() else SourceMark(error.location, 0)
    return ProofFinding(LOAD, mark, "file", error.detail, "the file as it stands")


@dataclass(slots=True)
class ProofFindings:
    """The findings of one proof: the number of checked obligations, and the breaches."""

    proof: str
    checked: int = 0
    breaches: dict[tuple[SourceMark, str, str], ProofFinding] = field(default_factory=dict)

    def add_finding(self, mark: SourceMark, field: str, message: str, counter_example: str) -> None:
        """Add a breach; an equal breach is added once, with its first counter-example."""
        key = (mark, field, message)
        self.breaches.setdefault(key, ProofFinding(self.proof, mark, field, message, counter_example))

    def merge_findings(self, others: ProofFindings) -> None:
        """Add the findings of another run of the same proof."""
        self.checked += others.checked
        for key, finding in others.breaches.items():
            self.breaches.setdefault(key, finding)


@dataclass(frozen=True, slots=True)
class ProofVerdict:
    """Whether a proof holds, and how many obligations were checked for it."""

    ok: bool
    checked: int


@dataclass(frozen=True, slots=True)
class BoxCount:
    """The number of boxes on the paper forms, and of the distinct meanings that an applicant gives."""

    common_boxes: int
    own_boxes: int
    common_meanings: int
    own_meanings: int

    @property
    def box_count(self) -> int:
        """Return the number of boxes of all forms."""
        return self.common_boxes + self.own_boxes

    @property
    def field_count(self) -> int:
        """Return the number of distinct meanings."""
        return self.common_meanings + self.own_meanings


@dataclass(frozen=True, slots=True)
class ProofReport:
    """The outcome of all proofs over some documents of a bundle."""

    documents: tuple[str, ...]
    organisations: tuple[str, ...]
    verdicts: dict[str, ProofVerdict]
    findings: tuple[ProofFinding, ...]
    notes: tuple[str, ...]
    boxes: BoxCount
    submissions: int

    @classmethod
    def from_findings(
        cls,
        findings: Iterable[ProofFindings],
        extra: Iterable[ProofFinding],
        *,
        documents: tuple[str, ...],
        organisations: tuple[str, ...],
        notes: tuple[str, ...],
        boxes: BoxCount,
        submissions: int,
    ) -> ProofReport:
        """Return the report of the findings of each proof, with findings from elsewhere (`extra`).

        `documents` are those that were proved, `organisations` are all of the bundle, `notes` are remarks
        for an author beside the findings; `submissions` is the number of submissions that were drawn.
        """
        by_proof = {proof_findings.proof: proof_findings for proof_findings in findings}
        every = [*extra, *(f for name in PROOFS for f in by_proof[name].breaches.values())]
        broken = {finding.proof for finding in every}
        verdicts = {name: ProofVerdict(name not in broken, by_proof[name].checked) for name in PROOFS}
        every.sort(
            key=lambda f: (f.mark.file, f.mark.line, PROOFS.index(f.proof) if f.proof in PROOFS else -1)
        )
        return cls(documents, organisations, verdicts, tuple(every), notes, boxes, submissions)
