"""Signatures of envelopes that differ from one that was read before in known values only.

The canonical form of what is signed is the one that it had there, with the other values. So it is neither
parsed nor canonicalised again; its digest is computed, and the signature value verified, for each message.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from gateway.pki import Certificate, Signer
from gateway.wire import TextTemplate, fill_template, split_at_values
from gateway.xmlsec.algorithms import (
    DigestFunction,
    DigestInput,
    ValueCheck,
    compare_digests,
    compute_digest,
    get_digest_function,
    make_value_check,
)
from gateway.xmlsec.digest_references import DigestReference, Transform
from gateway.xmlsec.strict_reader import decode_base64_octets
from gateway.xmlsec.xml_signature import CertificateCheck, SignatureForms, VerifiedSignature

__all__ = [
    "KnownSignature",
    "describe_known_signature",
    "has_known_forms",
    "has_right_signature",
    "learn_signature",
    "sign_known_values",
    "verify_known_signature",
]


@dataclass(frozen=True, slots=True)
class _KnownReference:
    """A reference of such signatures: its URI, the number of its digest, the form of what is digested."""

    uri: TextTemplate
    digest_number: int
    algorithm: str
    digest: DigestFunction
    transforms: tuple[Transform, ...]
    form: TextTemplate | None
    place: str


@dataclass(frozen=True, slots=True)
class KnownSignature:
    """What the signatures of such envelopes have in common, and the number of the signature value."""

    certificate: Certificate
    algorithm: str
    is_correct: ValueCheck
    signed_info: TextTemplate
    value_number: int
    references: tuple[_KnownReference, ...]
    excluded: tuple[str, ...]

    @property
    def size(self) -> int:
        """Return how many octets its forms have."""
        forms = (self.signed_info, *(one.form for one in self.references if one.form is not None))
        return sum(one.size for one in forms)


def learn_signature(
    read: SignatureForms, values: Sequence[bytes], digests: Sequence[int], value: int
) -> KnownSignature:
    """Return what a signature has in common with those of like envelopes.

    `values` are those of its envelope, each of which stands only where it is a value. `digests` are the
    numbers of the digests in the order of the references, `value` is that of the signature value.
    Raises for a key that does not match the algorithm, or is too weak: it is not checked again.
    """
    is_correct = make_value_check(read.structure.algorithm, read.certificate.public_key)
    references = tuple(
        _KnownReference(
            split_at_values(one.uri.encode(), values),
            digest,
            one.digest_algorithm,
            get_digest_function(one.digest_algorithm),
            one.transforms,
            None if target.octets is None else split_at_values(target.octets, values),
            target.place,
        )
        for one, target, digest in zip(read.structure.references, read.targets, digests, strict=True)
    )
    signed_info = split_at_values(read.signed_info, values)
    return KnownSignature(
        read.certificate,
        read.structure.algorithm,
        is_correct,
        signed_info,
        value,
        references,
        read.excluded,
    )


def has_known_forms(known: KnownSignature, read: SignatureForms, values: Sequence[bytes]) -> bool:
    """Return whether all that was read of a signature is what is known of one with these values."""
    structure = read.structure
    forms = [None if one.form is None else fill_template(one.form, values) for one in known.references]
    return (
        (known.certificate, known.algorithm, known.excluded)
        == (read.certificate, structure.algorithm, read.excluded)
        and fill_template(known.signed_info, values) == read.signed_info
        and forms == [one.octets for one in read.targets]
        and _read_references(known, values) == structure.references
        and _decode_value(known, values) == structure.value
    )


def _read_references(known: KnownSignature, values: Sequence[bytes]) -> tuple[DigestReference, ...] | None:
    """Return the references of a signature; None where a digest is no base64."""
    found = []
    for one in known.references:
        digest = decode_base64_octets(values[one.digest_number])
        if digest is None:
            return None
        uri = fill_template(one.uri, values).decode()
        found.append(DigestReference(uri, one.algorithm, digest, one.transforms))
    return tuple(found)


def _decode_value(known: KnownSignature, values: Sequence[bytes]) -> bytes | None:
    """Return the signature value, which may be written in several lines; None where it is no base64."""
    return decode_base64_octets(values[known.value_number].translate(None, b" \t\n"))


def verify_known_signature(
    known: KnownSignature,
    values: Sequence[bytes],
    find_attachment: Callable[[str], DigestInput],
    believe: CertificateCheck,
) -> VerifiedSignature | None:
    """Return the verified signature of an envelope with these values; None where anything is wrong.

    Raises as `has_right_signature` does.
    """
    if not has_right_signature(known, values, find_attachment, believe):
        return None
    return describe_known_signature(known, values)


def has_right_signature(
    known: KnownSignature,
    values: Sequence[bytes],
    find_attachment: Callable[[str], DigestInput],
    believe: CertificateCheck,
) -> bool:
    """Return whether the signature of an envelope with these values is right, with each digest.

    What is wrong is for the reader of the whole envelope to say. `find_attachment` returns what is digested
    of the attachment that a URI names; the caller has checked that the attachments are those that are
    referred to. Raises what it raises, and what `believe` raises of the certificate.
    """
    believe(known.certificate)
    value = _decode_value(known, values)
    if value is None or not known.is_correct(value, fill_template(known.signed_info, values)):
        return False
    for one in known.references:
        if one.form is None:
            form = find_attachment(fill_template(one.uri, values).decode())
        else:
            form = fill_template(one.form, values)
        # A digest has one spelling.
        if not compare_digests(_write_digest(one, form), values[one.digest_number]):
            return False
    return True


def describe_known_signature(known: KnownSignature, values: Sequence[bytes]) -> VerifiedSignature | None:
    """Return what a right signature with these values says; None where a digest is no base64."""
    references = _read_references(known, values)
    if references is None:
        return None
    pairs = zip(references, known.references, strict=True)
    parts = tuple([one.uri if form.form is None else form.place for one, form in pairs])
    return VerifiedSignature(references, known.certificate, parts, known.algorithm, known.excluded)


def _write_digest(reference: _KnownReference, form: DigestInput) -> bytes:
    digest = (
        reference.digest(form).digest() if type(form) is bytes else compute_digest(reference.algorithm, form)
    )
    return binascii.b2a_base64(digest, newline=False)


def sign_known_values(
    known: KnownSignature, values: list[bytes], changed: Collection[int], body: bytes, signer: Signer
) -> None:
    """Put digests and the signature value into the values of an envelope that `signer` has signed before.

    `changed` are the numbers of those that are others than they were then; without one of them, a form has
    the digest that it had. `body` is the canonical form of the one part whose form is not known.
    """
    for one in known.references:
        if one.form is None or not set(one.form.numbers).isdisjoint(changed):
            form = body if one.form is None else fill_template(one.form, values)
            values[one.digest_number] = _write_digest(one, form)
    values[known.value_number] = base64.b64encode(signer.sign(fill_template(known.signed_info, values)))
