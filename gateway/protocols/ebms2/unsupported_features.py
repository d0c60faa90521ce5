"""What ebMS 2.0 does not have: some terms of P-Modes, and fragments of large messages."""

from __future__ import annotations

from typing import NoReturn

from gateway.agreements import PMode
from gateway.errors import NOT_SUPPORTED, GatewayError


def reject_fragments(*_arguments: object, **_named: object) -> NoReturn:
    """Raise GW311: ebMS 2.0 has no fragments."""
    raise GatewayError(
        NOT_SUPPORTED, "ebMS 2.0 has no fragments of messages", "//eb:MessageData/eb:MessageId"
    )


def list_unsupported_terms(pmode: PMode) -> tuple[str, ...]:
    """Return a sentence for each term of a P-Mode that ebMS 2.0 does not have."""
    optional_terms = {
        "mpc": pmode.mpc,
        "mep_binding": pmode.mep_binding,
        "agreement_type": pmode.agreement_type,
        "pull": pmode.pull,
        "splitting": pmode.splitting,
        "token_reference": pmode.security.token_reference,
    }
    problem_texts = [f"ebMS 2.0 has no {name}" for name, value in optional_terms.items() if value is not None]
    is_changed_by_term = {"mep": pmode.mep != "two-way", "reply_pattern": pmode.reply_pattern != "response"}
    return (
        *problem_texts,
        *(f"ebMS 2.0 has no {name}" for name, is_changed in is_changed_by_term.items() if is_changed),
    )
