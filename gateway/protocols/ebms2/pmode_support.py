"""The terms of a P-Mode that ebMS 2.0 does not have."""

from __future__ import annotations

from gateway.agreements import PMode

__all__ = ["list_unsupported_terms"]


def list_unsupported_terms(pmode: PMode) -> tuple[str, ...]:
    """Return in words which terms of a P-Mode ebMS 2.0 does not have."""
    given = {
        "mpc": pmode.mpc,
        "mep_binding": pmode.mep_binding,
        "agreement_type": pmode.agreement_type,
        "pull": pmode.pull,
        "splitting": pmode.splitting,
        "token_reference": pmode.security.token_reference,
    }
    found = [f"ebMS 2.0 has no {name}" for name, value in given.items() if value is not None]
    changed = {"mep": pmode.mep != "two-way", "reply_pattern": pmode.reply_pattern != "response"}
    return (*found, *(f"ebMS 2.0 has no {name}" for name, given_so in changed.items() if given_so))
