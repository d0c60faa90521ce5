"""Writes the key agreement of an encrypted key: a key for one message, the derivation, and the key wrap."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec, x25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.encryption.agreement_reading import CURVE_OIDS
from gateway.encryption.encryption_policies import (
    CONCAT_KDF,
    ECDH_ES,
    HKDF,
    KEY_WRAPS,
    X25519,
    AgreedAlgorithms,
)
from gateway.encryption.key_agreement import KeyDerivation, derive_key, wrap_key
from gateway.pki import (
    AgreementPublicKey,
    Certificate,
    agree_with_certificate,
    make_agreement_key,
)
from gateway.wire import DS11, DSIG_MORE, XENC, XENC11, write_attribute, write_element, write_leaf

__all__ = ["agrees_on_keys", "write_agreed_key"]

_MORE: Final = "http://www.w3.org/2021/04/xmldsig-more#"
_SALT_OCTETS: Final = 32
#: An algorithm identifier of one octet of zeros, as others write it who identify none.
_NO_ALGORITHM: Final = "0000"


def agrees_on_keys(receiver: Certificate) -> bool:
    """Return whether keys are sent to a certificate's holder by agreement, not by RSA."""
    return isinstance(receiver.public_key, AgreementPublicKey)


def write_agreed_key(
    receiver: Certificate,
    key: bytes,
    agreed: AgreedAlgorithms,
    draw: Callable[[int], bytes],
    reference: str,
) -> tuple[str, bytes]:
    """Return the EncryptionMethod and KeyInfo of an encrypted key, as text, and the wrapped key; raise GW216.

    `reference` is the wsse:SecurityTokenReference of the receiver's certificate.
    """
    is_x25519 = isinstance(receiver.public_key, x25519.X25519PublicKey)
    uri = agreed.choose_agreeing(X25519 if is_x25519 else ECDH_ES)
    wrap, derivation = _choose_wrap(agreed, len(key)), _choose_derivation(agreed, draw)
    own = make_agreement_key(receiver, draw)
    wrapped = wrap_key(derive_key(agree_with_certificate(receiver, own), derivation, wrap), key)
    terms = _write_derivation(derivation, KEY_WRAPS[wrap])
    originator = write_element("xenc:OriginatorKeyInfo", _write_public_key(own.public_key()))
    recipient = write_element("xenc:RecipientKeyInfo", reference)
    method = write_element("xenc:AgreementMethod", terms + originator + recipient, _write_algorithm(uri))
    head = write_element("xenc:EncryptionMethod", "", _write_algorithm(wrap))
    return head + write_element("ds:KeyInfo", method), wrapped


def _choose_wrap(agreed: AgreedAlgorithms, octets: int) -> str:
    """Return the first key wrap that was agreed; where the agreement names none, one as strong as the key."""
    known = [uri for uri in agreed.agreeing if uri in KEY_WRAPS]
    same = [uri for uri in known if KEY_WRAPS[uri] == octets]
    return agreed.choose_agreeing(*(same if len(known) == len(KEY_WRAPS) else KEY_WRAPS))


def _choose_derivation(agreed: AgreedAlgorithms, draw: Callable[[int], bytes]) -> KeyDerivation:
    uri = agreed.choose_agreeing(HKDF, CONCAT_KDF)
    if uri == HKDF:
        return KeyDerivation(uri, "sha256", b"", draw(_SALT_OCTETS))
    return KeyDerivation(uri, "sha256", bytes.fromhex(_NO_ALGORITHM)[1:])


def _write_algorithm(uri: str) -> str:
    return write_attribute("Algorithm", uri)


def _encode(octets: bytes) -> str:
    return base64.b64encode(octets).decode("ascii")


def _write_derivation(derivation: KeyDerivation, length: int) -> str:
    if derivation.uri == HKDF:
        content = write_element("dsig-more:PRF", "", _write_algorithm(f"{DSIG_MORE}hmac-{derivation.digest}"))
        content += write_leaf("dsig-more:Salt", _encode(derivation.salt or b""))
        content += write_leaf("dsig-more:KeyLength", str(length))
        parameters = write_element("dsig-more:HKDFParams", content, write_attribute("xmlns:dsig-more", _MORE))
    else:
        digest = write_element("ds:DigestMethod", "", _write_algorithm(f"{XENC}{derivation.digest}"))
        names = write_attribute("AlgorithmID", _NO_ALGORITHM)
        names += write_attribute("PartyUInfo", "") + write_attribute("PartyVInfo", "")
        parameters = write_element("xenc11:ConcatKDFParams", digest, names)
    attributes = write_attribute("xmlns:xenc11", XENC11) + _write_algorithm(derivation.uri)
    return write_element("xenc11:KeyDerivationMethod", parameters, attributes)


def _write_public_key(key: AgreementPublicKey) -> str:
    declared = write_attribute("xmlns:dsig11", DS11)
    if isinstance(key, x25519.X25519PublicKey):
        der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return write_leaf("dsig11:DEREncodedKeyValue", _encode(der), declared)
    point = key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    curve = write_element("dsig11:NamedCurve", "", write_attribute("URI", _name_curve(key.curve)))
    value = curve + write_leaf("dsig11:PublicKey", _encode(point))
    return write_element("ds:KeyValue", write_element("dsig11:ECKeyValue", value, declared))


def _name_curve(curve: ec.EllipticCurve) -> str:
    return next(uri for uri, made in CURVE_OIDS.items() if made().name == curve.name)
