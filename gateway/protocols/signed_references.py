"""The digests of a signature as values of the message model, and back, for signatures and receipts."""

from __future__ import annotations

from collections.abc import Iterable

from lxml import etree

from gateway.message_model import DigestReference
from gateway.xmlsec import XPATH
from gateway.xmlsec import digest_references as xmldsig

__all__ = ["read_references", "repeats_digests", "to_model_reference", "write_references"]


def to_model_reference(reference: xmldsig.DigestReference) -> DigestReference:
    """Return a reference of a signature as a type of the message model."""
    return DigestReference(
        uri=reference.uri,
        digest_algorithm=reference.digest_algorithm,
        digest=reference.digest_value,
        transforms=tuple((one.algorithm, *one.prefixes, *one.expression) for one in reference.transforms),
    )


def read_references(elements: Iterable[etree._Element]) -> tuple[DigestReference, ...]:
    """Return the ds:Reference elements that an Acknowledgment repeats (ebMS 2.0 §6.3.2)."""
    return tuple(to_model_reference(xmldsig.read_reference(one)) for one in elements)


def write_references(found: Iterable[DigestReference], *, declared: bool = False) -> str:
    """Return ds:Reference elements with the values of the received ones.

    Each stands for itself, but for the namespace ``ds``, which it declares only if `declared`.
    """
    written = [xmldsig.write_reference_text(_to_xml_reference(one), declared=declared) for one in found]
    return "".join(written)


def repeats_digests(received: Iterable[DigestReference], sent: Iterable[DigestReference]) -> bool:
    """Return whether a receipt has the digests that were sent, no other ones and none twice."""
    return _sort_digests(received) == _sort_digests(sent)


def _sort_digests(references: Iterable[DigestReference]) -> list[tuple[str, str, bytes]]:
    # Transforms are not compared: some handlers write them with a different spelling.
    return sorted((one.uri, one.digest_algorithm, one.digest) for one in references)


def _to_xml_reference(one: DigestReference) -> xmldsig.DigestReference:
    transforms = tuple(_to_xml_transform(algorithm, tuple(rest)) for algorithm, *rest in one.transforms)
    return xmldsig.DigestReference(one.uri, one.digest_algorithm, one.digest, transforms)


def _to_xml_transform(algorithm: str, parameters: tuple[str, ...]) -> xmldsig.Transform:
    if algorithm == XPATH:
        return xmldsig.Transform(algorithm, expression=parameters)
    return xmldsig.Transform(algorithm, prefixes=parameters)
