"""Finds what an agreement by AS4 needs of the keys and certificates of both sides."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from gateway.agreements.pmode import PMode

if TYPE_CHECKING:
    from gateway.agreements.agreement_rules import (
        AgreementDocument,
        AgreementFinding,
        AgreementSurroundings,
        KnownParty,
    )

__all__ = ["find_partner_problems"]

_Told = Iterator[tuple[str, PMode, str]]


def find_partner_problems(
    agreement: AgreementDocument,
    partner: KnownParty | None,
    known: AgreementSurroundings,
    outgoing: Sequence[PMode],
) -> Iterator[AgreementFinding]:
    """Yield where we need a certificate that the partner does not have, or a key that we do not have."""
    from gateway.agreements.agreement_rules import AgreementFinding

    told = (*_find_key_problems(known, agreement), *_find_secret_problems(partner, known, outgoing))
    for rule, pmode, text in told:
        yield AgreementFinding(rule, agreement.find_place(("pmode", pmode.id)), f"P-Mode {pmode.id}: {text}")


def _find_key_problems(known: AgreementSurroundings, agreement: AgreementDocument) -> _Told:
    # Messages one way and receipts the other way are signed by the same algorithm: one P-Mode tells it.
    own = known.own_algorithms
    for pmode in agreement.pmodes[:1]:
        agreed = pmode.security.signature_algorithms
        if pmode.protocol == "as4" and agreed and own and own.isdisjoint(agreed):
            yield "own-algorithm", pmode, f"{agreed[0]} is agreed, and the hub's key signs by {min(own)}"


def _find_secret_problems(
    partner: KnownParty | None, known: AgreementSurroundings, outgoing: Sequence[PMode]
) -> _Told:
    for pmode in outgoing:
        if partner is None or pmode.encryption is None or pmode.protocol != "as4":
            continue
        held = (one for one in partner.certificates if one.use == "encryption" and one.ends > known.at)
        usable, pin = {one.sha256 for one in held}, pmode.encryption.certificate
        if pin is not None and pin not in usable:
            text = f"certificate {pin[:16]} is not one that {partner.name} has for encryption"
            yield "encryption-pin-unknown", pmode, text
        elif not usable:
            text = (
                f"its payloads are encrypted for party {partner.name}, which has no certificate for it: "
                f"`gateway party certificate add {partner.name} FILE --use encryption`"
            )
            yield "encryption-certificate-missing", pmode, text
