"""Seals units into a parcel: written, signed, compressed and encrypted as the P-Mode says."""

from __future__ import annotations

from dataclasses import replace

from gateway.agreements import PMode
from gateway.message_model import DigestReference, Unit, UserMessage
from gateway.protocols.core import Parcel, ProtocolContext, SentUnit
from gateway.protocols.ebms2.compressed_payloads import compress_payloads
from gateway.protocols.ebms2.encrypted_payloads import encrypt_payloads
from gateway.protocols.ebms2.envelope_writer import NAMESPACES, write_envelope
from gateway.protocols.ebms2.message_forms import seal_by_form
from gateway.protocols.ebms2.message_order import require_agreed_order
from gateway.protocols.ebms2.message_signature import needs_signature, sign_envelope
from gateway.protocols.ebms2.packaging import build_parcel
from gateway.protocols.signed_references import to_model_reference

__all__ = ["seal"]


def seal(units: tuple[Unit, ...], pmode: PMode | None, context: ProtocolContext) -> Parcel:
    """Return the parcel that contains `units`, signed by `pmode`; bundled units follow the first."""
    first = units[0]
    if isinstance(first, UserMessage) and pmode is not None:
        require_agreed_order(first, pmode)
        sealed = _seal_by_form(units, pmode, context)
        if sealed is not None:
            return sealed
    return _seal_whole(units, pmode, context)


def _seal_by_form(units: tuple[Unit, ...], pmode: PMode, context: ProtocolContext) -> Parcel | None:
    """Return the parcel of one plain message of ours; None for all else."""
    first = units[0]
    plain = len(units) == 1 and pmode.encryption is None and not pmode.compresses_payloads
    if not plain or not isinstance(first, UserMessage) or not needs_signature(first, pmode):
        return None
    return seal_by_form(first, context.keys[context.get_party_name(first.sender)])


def _seal_whole(units: tuple[Unit, ...], pmode: PMode | None, context: ProtocolContext) -> Parcel:
    first = units[0]
    written = write_envelope(units)
    found = first.payloads if isinstance(first, UserMessage) else ()
    if pmode is not None and pmode.compresses_payloads:
        found = compress_payloads(found)
    signed = ""
    references: tuple[DigestReference, ...] = ()
    if any(needs_signature(unit, pmode) for unit in units):
        contents = {one.content_id: one.octets for one in found}
        signer = context.keys[context.get_party_name(first.sender)]
        signature = sign_envelope(written.signable_octets, NAMESPACES, contents, signer)
        signed, references = signature.text, tuple(map(to_model_reference, signature.references))
    if found and pmode is not None and pmode.encryption is not None:
        found = encrypt_payloads(found, first.receiver, pmode.encryption, context)
    sent = SentUnit(_without_payloads(first), references)
    return build_parcel(written.with_signature(signed), found, first.message_id, sent)


def _without_payloads(unit: Unit) -> Unit:
    return replace(unit, payloads=()) if isinstance(unit, UserMessage) else unit
