"""Signatures of envelopes that differ from one that was read before in known values only.

The canonical form of a signed element is the one that it had there, with the other values. So it is neither
parsed nor canonicalised again; its digest and the signature value are computed for each message.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lxml import etree

from gateway.pki import Certificate
from gateway.wire import (
    TextTemplate,
    WireLimits,
    build_xpath,
    fill_template,
    split_at_values,
)
from gateway.xmlsec.algorithms import (
    DigestInput,
    compare_digests,
    compute_digest,
    verify_signature_value,
)
from gateway.xmlsec.attachment_forms import SwaAttachment, canonicalize_attachment
from gateway.xmlsec.digest_references import DigestReference, Transform
from gateway.xmlsec.strict_reader import decode_base64_octets
from gateway.xmlsec.swa_signature import SignaturePlan, SignedTarget
from gateway.xmlsec.xml_signature import CertificateCheck, VerifiedSignature, apply_canonicalization

__all__ = [
    "KnownSignature",
    "has_known_forms",
    "learn_signature",
    "read_known_references",
    "verify_known_signature",
]


@dataclass(frozen=True, slots=True)
class KnownReference:
    """A reference of such signatures: its URI, the number of its digest, and what is digested.

    `form` is the canonical form of an element, at `place`; it is None for an attachment.
    """

    uri: TextTemplate
    digest: int
    algorithm: str
    transforms: tuple[Transform, ...]
    form: TextTemplate | None
    place: str


@dataclass(frozen=True, slots=True)
class KnownSignature:
    """What the signatures of such envelopes have in common, and the number of the signature value."""

    certificate: Certificate
    algorithm: str
    signed_info: TextTemplate
    value: int
    references: tuple[KnownReference, ...]


def learn_signature(
    plan: SignaturePlan, values: Sequence[bytes], digests: Sequence[int], value: int
) -> KnownSignature:
    """Return what a signature has in common with those of like envelopes.

    `values` are those of its envelope, each of which stands nowhere else. `digests` are the numbers of the
    digests in the order of the references, `value` is that of the signature value.
    """
    structure = plan.structure
    return KnownSignature(
        plan.certificate,
        structure.algorithm,
        _split_form(structure.signed_info, structure.canonicalization, values),
        value,
        tuple(
            _learn_reference(reference, plan.targets[reference.uri], values, digest)
            for reference, digest in zip(structure.references, digests, strict=True)
        ),
    )


def _split_form(element: etree._Element, method: Transform, values: Sequence[bytes]) -> TextTemplate:
    return split_at_values(apply_canonicalization(element, method), values)


def _learn_reference(
    reference: DigestReference, target: SignedTarget, values: Sequence[bytes], digest: int
) -> KnownReference:
    element = None if isinstance(target, str) else target
    return KnownReference(
        split_at_values(reference.uri.encode(), values),
        digest,
        reference.digest_algorithm,
        reference.transforms,
        None if element is None else _split_form(element, reference.transforms[0], values),
        reference.uri if element is None else build_xpath(element),
    )


def has_known_forms(known: KnownSignature, plan: SignaturePlan, values: Sequence[bytes]) -> bool:
    """Return whether the signed elements of an envelope have the canonical forms that are known of them."""
    structure = plan.structure
    forms = [(structure.signed_info, structure.canonicalization, known.signed_info)]
    for reference, one in zip(structure.references, known.references, strict=True):
        target = plan.targets[reference.uri]
        if isinstance(target, str) != (one.form is None):
            return False
        if not isinstance(target, str) and one.form is not None:
            forms.append((target, reference.transforms[0], one.form))
    return all(
        fill_template(form, values) == apply_canonicalization(element, method)
        for element, method, form in forms
    )


def read_known_references(
    known: KnownSignature, values: Sequence[bytes]
) -> tuple[DigestReference, ...] | None:
    """Return the references of a signature with these values; None where a digest is no base64."""
    found = []
    for one in known.references:
        digest = decode_base64_octets(values[one.digest])
        if digest is None:
            return None
        uri = fill_template(one.uri, values).decode("ascii")
        found.append(DigestReference(uri, one.algorithm, digest, one.transforms))
    return tuple(found)


def verify_known_signature(
    known: KnownSignature,
    values: Sequence[bytes],
    attachments: Mapping[str, SwaAttachment],
    believe: CertificateCheck,
    limits: WireLimits,
) -> VerifiedSignature | None:
    """Return the verified signature of an envelope with these values; None where anything is wrong.

    What is wrong is for `verify_swa_signature` to say. Raises what `believe` raises of the certificate, and
    the problems of XML of an attachment. The caller has checked that the attachments are those that the
    references name.
    """
    believe(known.certificate)
    references, value = read_known_references(known, values), decode_base64_octets(values[known.value])
    if references is None or value is None:
        return None
    key, signed_info = known.certificate.public_key, fill_template(known.signed_info, values)
    if not verify_signature_value(known.algorithm, key, value, signed_info):
        return None
    for one, reference in zip(known.references, references, strict=True):
        if one.form is not None:
            octets: DigestInput = fill_template(one.form, values)
        else:
            name = reference.uri.removeprefix("cid:")
            octets = canonicalize_attachment(name, attachments[name], limits)
        if not compare_digests(compute_digest(one.algorithm, octets), reference.digest_value):
            return None
    parts = tuple(
        reference.uri if one.form is None else one.place
        for one, reference in zip(known.references, references, strict=True)
    )
    return VerifiedSignature(references, known.certificate, parts, known.algorithm)
