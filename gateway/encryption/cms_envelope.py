"""CMS envelopes: EnvelopedData (RFC 5652 §6) and AuthEnvelopedData (RFC 5083) for holders of RSA keys."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from asn1crypto import algos, cms, core

from gateway.encryption.content_ciphers import CIPHERS, GCM_TAG, CipherText
from gateway.encryption.encrypted_payload import (
    MAX_ENCRYPTED_KEYS,
    EncryptedPayload,
    RecipientHints,
    TransportedKey,
    raise_form_error,
)
from gateway.encryption.encryption_policies import (
    CIPHER_OIDS,
    RSA_1_5,
    RSA_OAEP,
    AgreedAlgorithms,
    raise_algorithm_error,
)
from gateway.errors import GatewayError
from gateway.pki import Certificate, KeyPadding

__all__ = ["read_envelope", "write_envelope"]

_ENVELOPED: Final = "1.2.840.113549.1.7.3"
_AUTH_ENVELOPED: Final = "1.2.840.113549.1.9.16.1.23"
_DATA: Final = "1.2.840.113549.1.7.1"
_PKCS1: Final = "1.2.840.113549.1.1.1"
_OAEP: Final = "1.2.840.113549.1.1.7"
_SET: Final = b"\x31"
_NAMES: Final = {uri: oid for oid, uri in CIPHER_OIDS.items()}


class _GcmParameters(core.Sequence):  # type: ignore[misc]  # asn1crypto is untyped
    """GCMParameters (RFC 5084 §3.2)."""

    _fields = [("nonce", core.OctetString), ("icv_length", core.Integer, {"default": 12})]  # noqa: RUF012


class _Algorithm(core.Sequence):  # type: ignore[misc]
    """AlgorithmIdentifier whose parameters are read by whoever knows the algorithm."""

    _fields = [("algorithm", core.ObjectIdentifier), ("parameters", core.Any, {"optional": True})]  # noqa: RUF012


def read_envelope(data: bytes, agreed: AgreedAlgorithms) -> EncryptedPayload:
    """Return the encrypted payload in an envelope; raise GW215 for its form, GW216 for an algorithm."""
    with _map_form_error():
        outer = cms.ContentInfo.load(data, strict=True)
        kind = outer["content_type"].dotted
        if kind not in (_ENVELOPED, _AUTH_ENVELOPED):
            raise_form_error("an encrypted payload is EnvelopedData or AuthEnvelopedData")
        content = outer["content"]
        if kind == _ENVELOPED:
            inner, tag, beside = content["encrypted_content_info"], b"", b""
        else:
            inner, tag = content["auth_encrypted_content_info"], content["mac"].native
            attributes = content["auth_attrs"]
            beside = _SET + attributes.dump(force=True)[1:] if attributes.native else b""
        uri, vector = _read_cipher(inner["content_encryption_algorithm"], agreed)
        if CIPHERS[uri].authenticates != (kind == _AUTH_ENVELOPED):
            raise_form_error("GCM belongs into AuthEnvelopedData, CBC into EnvelopedData")
        if inner["content_type"].dotted != _DATA or inner["encrypted_content"].native is None:
            raise_form_error("the envelope contains data, and nothing outside it")
        text = CipherText(vector, inner["encrypted_content"].native, tag, beside)
        return EncryptedPayload(uri, text, _read_recipients(content["recipient_infos"], agreed))


@contextmanager
def _map_form_error() -> Iterator[None]:
    """Report what the library says of malformed ASN.1 as GW215."""
    try:
        yield
    except GatewayError:
        raise
    except Exception:
        # The library raises ValueError, TypeError, KeyError and others for octets of strangers.
        raise_form_error("this is not a CMS envelope")


def _read_cipher(algorithm: Any, agreed: AgreedAlgorithms) -> tuple[str, bytes]:
    found = _Algorithm.load(algorithm.dump())
    oid = found["algorithm"].dotted
    uri = CIPHER_OIDS.get(oid, oid)
    agreed.check_cipher(uri)
    if not CIPHERS[uri].authenticates:
        return uri, found["parameters"].parse(core.OctetString).native
    parameters = found["parameters"].parse(_GcmParameters)
    if parameters["icv_length"].native != GCM_TAG:
        raise_algorithm_error(f"GCM with a tag of {parameters['icv_length'].native} octets", agreed.policy)
    return uri, parameters["nonce"].native


def _read_recipients(found: Any, agreed: AgreedAlgorithms) -> tuple[TransportedKey, ...]:
    if not 1 <= len(found) <= MAX_ENCRYPTED_KEYS:
        raise_form_error(f"there are 1 to {MAX_ENCRYPTED_KEYS} recipients")
    return tuple(_read_recipient(one, agreed) for one in found)


def _read_recipient(found: Any, agreed: AgreedAlgorithms) -> TransportedKey:
    if found.name != "ktri":
        raise_algorithm_error(f"recipient '{found.name}'", agreed.policy)
    algorithm = _Algorithm.load(found.chosen["key_encryption_algorithm"].dump())
    oid = algorithm["algorithm"].dotted
    uri = {_PKCS1: RSA_1_5, _OAEP: RSA_OAEP}.get(oid, oid)
    agreed.check_transport(uri)
    padding = KeyPadding(None) if uri == RSA_1_5 else _read_oaep(algorithm["parameters"], agreed)
    octets = found.chosen["encrypted_key"].native
    return TransportedKey(uri, padding, octets, _read_recipient_hints(found.chosen["rid"]))


def _read_oaep(parameters: Any, agreed: AgreedAlgorithms) -> KeyPadding:
    """Return the padding of RSAES-OAEP (RFC 4055 §4.1); SHA-1 where nothing is said."""
    found = parameters.parse(algos.RSAESOAEPParams)
    digest = found["hash_algorithm"]["algorithm"].native
    if found["mask_gen_algorithm"]["algorithm"].native != "mgf1":
        raise_algorithm_error("OAEP with another mask than MGF1", agreed.policy)
    mask = found["mask_gen_algorithm"]["parameters"]["algorithm"].native
    for name in (digest, mask):
        agreed.check_digest(name)
    label = found["p_source_algorithm"]["parameters"].native
    return KeyPadding(digest, mask, label or b"")


def _read_recipient_hints(found: Any) -> RecipientHints:
    if found.name == "issuer_and_serial_number":
        return RecipientHints(serials=frozenset({found.chosen["serial_number"].native}))
    return RecipientHints(key_ids=frozenset({found.chosen.native}))


def write_envelope(cipher: str, text: CipherText, key: bytes, receiver: Certificate) -> bytes:
    """Return the envelope (DER) of encrypted octets; their key was encrypted by OAEP with SHA-256."""
    authenticated = CIPHERS[cipher].authenticates
    parameters: Any = core.OctetString(text.vector)
    if authenticated:
        parameters = _GcmParameters({"nonce": text.vector, "icv_length": GCM_TAG})
    inner = {
        "content_type": _DATA,
        "content_encryption_algorithm": algos.EncryptionAlgorithm.load(
            _Algorithm({"algorithm": _NAMES[cipher], "parameters": parameters}).dump()
        ),
        "encrypted_content": text.octets,
    }
    recipients = [cms.RecipientInfo("ktri", _make_recipient(key, receiver))]
    if authenticated:
        content: Any = {
            "version": "v0",
            "recipient_infos": recipients,
            "auth_encrypted_content_info": inner,
            "mac": text.tag,
        }
        return _wrap_content(_AUTH_ENVELOPED, cms.AuthEnvelopedData(content))
    content = {"version": "v0", "recipient_infos": recipients, "encrypted_content_info": inner}
    return _wrap_content(_ENVELOPED, cms.EnvelopedData(content))


def _wrap_content(kind: str, content: Any) -> bytes:
    octets: bytes = cms.ContentInfo({"content_type": kind, "content": content}).dump()
    return octets


def _make_recipient(key: bytes, receiver: Certificate) -> Any:
    name = cms.IssuerAndSerialNumber(
        {"issuer": cms.Name.load(receiver.issuer_der), "serial_number": receiver.serial}
    )
    digest = {"algorithm": "sha256"}
    parameters = {
        "hash_algorithm": digest,
        "mask_gen_algorithm": {"algorithm": "mgf1", "parameters": digest},
        "p_source_algorithm": {"algorithm": "p_specified", "parameters": b""},
    }
    return {
        "version": "v0",
        "rid": cms.RecipientIdentifier("issuer_and_serial_number", name),
        "key_encryption_algorithm": {
            "algorithm": "rsaes_oaep",
            "parameters": algos.RSAESOAEPParams(parameters),
        },
        "encrypted_key": key,
    }
