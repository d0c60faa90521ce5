"""What can be wrong with the signature of a message: structure, methods, values (SIG-10 to SIG-37)."""

from __future__ import annotations

from typing import Final

from gateway.conformance.hostile import encryption_attacks
from gateway.conformance.hostile.attack_case import AttackCase
from gateway.conformance.hostile.signature_attacks import algorithm_attacks as signature_values
from gateway.conformance.hostile.signature_attacks import parser_differentials as signature_reading
from gateway.conformance.hostile.signature_attacks import reference_attacks as signature_structure
from gateway.conformance.hostile.signature_attacks import transform_attacks as signature_forms

__all__ = ["CASES"]

CASES: Final[tuple[AttackCase, ...]] = (
    *signature_structure.CASES,
    *signature_forms.CASES,
    *signature_values.CASES,
    *signature_reading.CASES,
    *encryption_attacks.CASES,
)
