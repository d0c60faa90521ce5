"""What can be wrong with the signature of a message: structure, methods, values (SIG-10 to SIG-37)."""

from __future__ import annotations

from typing import Final

from gateway.conformance.hostile import (
    encryption,
    signature_forms,
    signature_reading,
    signature_structure,
    signature_values,
)
from gateway.conformance.hostile.case import Case

__all__ = ["CASES"]

CASES: Final[tuple[Case, ...]] = (
    *signature_structure.CASES,
    *signature_forms.CASES,
    *signature_values.CASES,
    *signature_reading.CASES,
    *encryption.CASES,
)
