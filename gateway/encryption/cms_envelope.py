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
    raise_format_error,
)
from gateway.encryption.encryption_policies import (
    CIPHER_OIDS,
    RSA_1_5,
    RSA_OAEP,
    AgreedAlgorithms,
    raise_algorithm_error,
)
from gateway.errors import GatewayError, raise_resource_problem
from gateway.pki import Certificate, KeyPadding

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
    """AlgorithmIdentifier whose parameters are read where the algorithm is known."""

    _fields = [("algorithm", core.ObjectIdentifier), ("parameters", core.Any, {"optional": True})]  # noqa: RUF012


def read_envelope(data: bytes, agreed: AgreedAlgorithms) -> EncryptedPayload:
    """Return the encrypted payload in an envelope; raise GW215 for its form, GW216 for an algorithm."""
    with _map_format_error():
        outer = cms.ContentInfo.load(data, strict=True)
        kind = outer["content_type"].dotted
        if kind not in (_ENVELOPED, _AUTH_ENVELOPED):
            raise_format_error("an encrypted payload is EnvelopedData or AuthEnvelopedData")
        content = outer["content"]
        if kind == _ENVELOPED:
            inner, tag, authenticated_attributes = content["encrypted_content_info"], b"", b""
        else:
            inner, tag = content["auth_encrypted_content_info"], content["mac"].native
            attributes = content["auth_attrs"]
            authenticated_attributes = _SET + attributes.dump(force=True)[1:] if attributes.native else b""
        uri, vector = _read_cipher(inner["content_encryption_algorithm"], agreed)
        if CIPHERS[uri].authenticates != (kind == _AUTH_ENVELOPED):
            raise_format_error("GCM belongs into AuthEnvelopedData, CBC into EnvelopedData")
        if inner["content_type"].dotted != _DATA or inner["encrypted_content"].native is None:
            raise_format_error("the envelope contains data, and nothing outside it")
        text = CipherText(vector, inner["encrypted_content"].native, tag, authenticated_attributes)
        return EncryptedPayload(uri, text, _read_recipients(content["recipient_infos"], agreed))


@contextmanager
def _map_format_error() -> Iterator[None]:
    """Raise GW215 instead of the library's errors about malformed ASN.1."""
    try:
        yield
    except GatewayError:
        raise
    except Exception as problem:
        raise_resource_problem(problem)
        # The library raises ValueError, TypeError, KeyError and others for octets of strangers.
        raise_format_error("this is not a CMS envelope")


def _read_cipher(algorithm: Any, agreed: AgreedAlgorithms) -> tuple[str, bytes]:
    identifier = _Algorithm.load(algorithm.dump())
    oid = identifier["algorithm"].dotted
    uri = CIPHER_OIDS.get(oid, oid)
    agreed.check_cipher(uri)
    if not CIPHERS[uri].authenticates:
        return uri, identifier["parameters"].parse(core.OctetString).native
    parameters = identifier["parameters"].parse(_GcmParameters)
    if parameters["icv_length"].native != GCM_TAG:
        raise_algorithm_error(f"GCM with a tag of {parameters['icv_length'].native} octets", agreed.policy)
    return uri, parameters["nonce"].native


def _read_recipients(infos: Any, agreed: AgreedAlgorithms) -> tuple[TransportedKey, ...]:
    if not 1 <= len(infos) <= MAX_ENCRYPTED_KEYS:
        raise_format_error(f"there are 1 to {MAX_ENCRYPTED_KEYS} recipients")
    return tuple(_read_recipient(info, agreed) for info in infos)


def _read_recipient(info: Any, agreed: AgreedAlgorithms) -> TransportedKey:
    if info.name != "ktri":
        raise_algorithm_error(f"recipient '{info.name}'", agreed.policy)
    algorithm = _Algorithm.load(info.chosen["key_encryption_algorithm"].dump())
    oid = algorithm["algorithm"].dotted
    uri = {_PKCS1: RSA_1_5, _OAEP: RSA_OAEP}.get(oid, oid)
    agreed.check_transport(uri)
    padding = KeyPadding(None) if uri == RSA_1_5 else _read_oaep(algorithm["parameters"], agreed)
    octets = info.chosen["encrypted_key"].native
    return TransportedKey(uri, padding, octets, _read_recipient_hints(info.chosen["rid"]))


def _read_oaep(parameters: Any, agreed: AgreedAlgorithms) -> KeyPadding:
    """Return the padding of RSAES-OAEP (RFC 4055 §4.1); SHA-1 is the default."""
    oaep = parameters.parse(algos.RSAESOAEPParams)
    digest = oaep["hash_algorithm"]["algorithm"].native
    if oaep["mask_gen_algorithm"]["algorithm"].native != "mgf1":
        raise_algorithm_error("OAEP with another mask than MGF1", agreed.policy)
    mask = oaep["mask_gen_algorithm"]["parameters"]["algorithm"].native
    for name in (digest, mask):
        agreed.check_digest(name)
    label = oaep["p_source_algorithm"]["parameters"].native
    return KeyPadding(digest, mask, label or b"")


def _read_recipient_hints(identifier: Any) -> RecipientHints:
    if identifier.name == "issuer_and_serial_number":
        return RecipientHints(serials=frozenset({identifier.chosen["serial_number"].native}))
    return RecipientHints(key_ids=frozenset({identifier.chosen.native}))


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
