"""What can be wrong with the signature of a message: structure, methods, values (SIG-10 to SIG-37)."""

from __future__ import annotations

from typing import Final

from gateway.conformance.hostile import encryption
from gateway.conformance.hostile.case import Case
from gateway.conformance.hostile.signatures import forms as signature_forms
from gateway.conformance.hostile.signatures import reading as signature_reading
from gateway.conformance.hostile.signatures import structure as signature_structure
from gateway.conformance.hostile.signatures import values as signature_values

__all__ = ["CASES"]

CASES: Final[tuple[Case, ...]] = (
    *signature_structure.CASES,
    *signature_forms.CASES,
    *signature_values.CASES,
    *signature_reading.CASES,
    *encryption.CASES,
)
