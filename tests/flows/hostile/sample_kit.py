"""The attacker's means without a gateway, made once for every file that only builds and inspects attacks."""

from __future__ import annotations

from gateway_conformance.hostile import make_sample_kit

__all__ = ["SAMPLE_KIT"]

SAMPLE_KIT = make_sample_kit()
