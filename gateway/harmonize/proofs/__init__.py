"""Proves of mappings, before they are used, that nothing is lost, leaked, asked twice or told in two ways.

Five proofs: totality, losslessness, least disclosure, never asked twice, agreement.  What the
text of a mapping tells is enumerated; what only running tells is tried over drawn
submissions.  Each breach names file, line, field and a counter-example.
"""

from __future__ import annotations

from gateway.harmonize.proofs.proof_report import (
    PROOFS,
    BoxCount,
    ProofFinding,
    ProofReport,
    ProofVerdict,
    make_fault_finding,
)
from gateway.harmonize.proofs.proof_runner import check_bundle

__all__ = [
    "PROOFS",
    "BoxCount",
    "ProofFinding",
    "ProofReport",
    "ProofVerdict",
    "check_bundle",
    "make_fault_finding",
]
