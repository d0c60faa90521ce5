"""Digests and references of signed parts, and the position of a message in a sequence."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final

from lxml import etree

from gateway.errors import HEADER_INCONSISTENT, GatewayError
from gateway.message_model import (
    MAX_SEQUENCE_NUMBER,
    Body,
    DigestReference,
    SequenceNumber,
    count_octets,
    iterate_octets,
)
from gateway.xmlsec import XPATH
from gateway.xmlsec import xml_signature as xmldsig


def to_model_reference(reference: xmldsig.DigestReference) -> DigestReference:
    """Return a reference of a signature as a type of the message model."""
    return DigestReference(
        uri=reference.uri,
        digest_algorithm=reference.digest_algorithm,
        digest=reference.digest_value,
        transforms=tuple(
            (transform.algorithm, *transform.prefixes, *transform.expression)
            for transform in reference.transforms
        ),
    )


def read_references(elements: Iterable[etree._Element]) -> tuple[DigestReference, ...]:
    """Return the ds:Reference elements that an Acknowledgment repeats (ebMS 2.0 §6.3.2)."""
    return tuple(to_model_reference(xmldsig.read_reference(element)) for element in elements)


def write_references(references: Iterable[DigestReference], *, declared: bool = False) -> str:
    """Return ds:Reference elements with the values of the received ones.

    Each declares the namespaces that it uses, except ``ds``, which it declares only if `declared`.
    """
    reference_texts = [
        xmldsig.write_reference_text(_to_xml_reference(reference), declares_namespace=declared)
        for reference in references
    ]
    return "".join(reference_texts)


def repeats_digests(
    received_references: Iterable[DigestReference], sent_references: Iterable[DigestReference]
) -> bool:
    """Return whether a receipt has the digests that were sent, no other ones and none twice."""
    return _sort_digests(received_references) == _sort_digests(sent_references)


def _sort_digests(references: Iterable[DigestReference]) -> list[tuple[str, str, bytes]]:
    # Transforms are not compared: some handlers write them with a different spelling.
    return sorted((reference.uri, reference.digest_algorithm, reference.digest) for reference in references)


def _to_xml_reference(reference: DigestReference) -> xmldsig.DigestReference:
    transforms = tuple(
        _to_xml_transform(algorithm, tuple(parameters)) for algorithm, *parameters in reference.transforms
    )
    return xmldsig.DigestReference(reference.uri, reference.digest_algorithm, reference.digest, transforms)


def _to_xml_transform(algorithm: str, parameters: tuple[str, ...]) -> xmldsig.Transform:
    if algorithm == XPATH:
        return xmldsig.Transform(algorithm, expression=parameters)
    return xmldsig.Transform(algorithm, prefixes=parameters)


def compute_values_digest(values: Iterable[bytes | Body]) -> str:
    """Return the SHA-256 of values.

    Each has its length before it, so that no two lists of values give the same octets.
    """
    hasher = hashlib.sha256()
    for value in values:
        hasher.update(count_octets(value).to_bytes(8))
        for piece in iterate_octets(value):
            hasher.update(piece)
    return hasher.hexdigest()


_SEQUENCE_LENGTH: Final = MAX_SEQUENCE_NUMBER + 1
_SEQUENCE_NUMBER_XPATH: Final = "/soap:Envelope/soap:Header/eb:MessageOrder/eb:SequenceNumber"


def make_sequence_number(position: int) -> SequenceNumber:
    """Return the number and status of the message at a position; only position 0 has the status Reset."""
    return SequenceNumber(position % _SEQUENCE_LENGTH, "Continue" if position else "Reset")


def find_sequence_position(sequence: SequenceNumber, released_count: int) -> int:
    """Return the position of a received message; `released_count` positions have gone to the application.

    Of the positions with this number, it is the one nearest to the next position. Raises GW304 for a
    number 0 that neither begins a sequence nor follows 99999999, and for one that was used before.
    """
    if sequence.status == "Reset":
        return 0
    distance = (sequence.number - released_count) % _SEQUENCE_LENGTH
    position = (
        released_count + distance
        if distance < _SEQUENCE_LENGTH // 2
        else released_count + distance - _SEQUENCE_LENGTH
    )
    if position == 0:
        detail = "the number 0 begins a sequence with the status Reset, and continues one after 99999999"
        raise GatewayError(HEADER_INCONSISTENT, detail, _SEQUENCE_NUMBER_XPATH)
    if position < released_count:
        # A repeat of the same message has the same MessageId, and was recognised by that.
        detail = f"number {sequence.number} was delivered before, under another MessageId"
        raise GatewayError(HEADER_INCONSISTENT, detail, _SEQUENCE_NUMBER_XPATH)
    return position
