from .proof_report import PROOFS as PROOFS
from .proof_report import ProofFinding as ProofFinding
from .proof_report import ProofReport as ProofReport
from .proof_report import make_fault_finding as make_fault_finding
from .proof_runner import check_bundle as check_bundle
