"""CMS envelopes: EnvelopedData (RFC 5652 §6) and AuthEnvelopedData (RFC 5083) for holders of RSA keys."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from asn1crypto import algos, cms, core

from gateway.encryption.content_ciphers import CIPHERS, GCM_TAG_OCTETS, CipherText
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
_DER_SET_TAG: Final = b"\x31"
_OID_BY_CIPHER: Final = {uri: oid for oid, uri in CIPHER_OIDS.items()}


class _GcmParameters(core.Sequence):  # type: ignore[misc]  # asn1crypto is untyped
    """GCMParameters (RFC 5084 §3.2)."""

    _fields = [("nonce", core.OctetString), ("icv_length", core.Integer, {"default": 12})]  # noqa: RUF012


class _Algorithm(core.Sequence):  # type: ignore[misc]
    """AlgorithmIdentifier whose parameters are read where the algorithm is known."""

    _fields = [("algorithm", core.ObjectIdentifier), ("parameters", core.Any, {"optional": True})]  # noqa: RUF012


def read_envelope(envelope_octets: bytes, algorithms: AgreedAlgorithms) -> EncryptedPayload:
    """Return the encrypted payload in an envelope; raise GW215 for its form, GW216 for an algorithm."""
    with _map_format_error():
        content_info = cms.ContentInfo.load(envelope_octets, strict=True)
        content_type_oid = content_info["content_type"].dotted
        if content_type_oid not in (_ENVELOPED, _AUTH_ENVELOPED):
            raise_format_error("an encrypted payload must be EnvelopedData or AuthEnvelopedData")
        content = content_info["content"]
        if content_type_oid == _ENVELOPED:
            encrypted_content_info, tag, authenticated_attributes = (
                content["encrypted_content_info"],
                b"",
                b"",
            )
        else:
            encrypted_content_info, tag = content["auth_encrypted_content_info"], content["mac"].native
            attributes = content["auth_attrs"]
            authenticated_attributes = (
                _DER_SET_TAG + attributes.dump(force=True)[1:] if attributes.native else b""
            )
        cipher_uri, vector = _read_cipher(encrypted_content_info["content_encryption_algorithm"], algorithms)
        if CIPHERS[cipher_uri].authenticates != (content_type_oid == _AUTH_ENVELOPED):
            raise_format_error("GCM must be in AuthEnvelopedData, CBC in EnvelopedData")
        if (
            encrypted_content_info["content_type"].dotted != _DATA
            or encrypted_content_info["encrypted_content"].native is None
        ):
            raise_format_error("the envelope contains data, and nothing outside it")
        ciphertext = CipherText(
            vector, encrypted_content_info["encrypted_content"].native, tag, authenticated_attributes
        )
        return EncryptedPayload(
            cipher_uri, ciphertext, _read_recipients(content["recipient_infos"], algorithms)
        )


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


def _read_cipher(algorithm: Any, algorithms: AgreedAlgorithms) -> tuple[str, bytes]:
    """Return the URI of the content cipher and its initialization vector; raise GW216 unless it is agreed."""
    identifier = _Algorithm.load(algorithm.dump())
    oid = identifier["algorithm"].dotted
    cipher_uri = CIPHER_OIDS.get(oid, oid)
    algorithms.check_cipher(cipher_uri)
    if not CIPHERS[cipher_uri].authenticates:
        return cipher_uri, identifier["parameters"].parse(core.OctetString).native
    parameters = identifier["parameters"].parse(_GcmParameters)
    if parameters["icv_length"].native != GCM_TAG_OCTETS:
        raise_algorithm_error(
            f"GCM with a tag of {parameters['icv_length'].native} octets", algorithms.policy
        )
    return cipher_uri, parameters["nonce"].native


def _read_recipients(recipient_infos: Any, algorithms: AgreedAlgorithms) -> tuple[TransportedKey, ...]:
    if not 1 <= len(recipient_infos) <= MAX_ENCRYPTED_KEYS:
        raise_format_error(f"there must be 1 to {MAX_ENCRYPTED_KEYS} recipients")
    return tuple(_read_recipient(recipient_info, algorithms) for recipient_info in recipient_infos)


def _read_recipient(recipient_info: Any, algorithms: AgreedAlgorithms) -> TransportedKey:
    """Return the encrypted key of a RecipientInfo (RFC 5652 §6.2); raise GW216 unless RSA transports it."""
    if recipient_info.name != "ktri":
        raise_algorithm_error(f"recipient '{recipient_info.name}'", algorithms.policy)
    algorithm = _Algorithm.load(recipient_info.chosen["key_encryption_algorithm"].dump())
    oid = algorithm["algorithm"].dotted
    transport_uri = {_PKCS1: RSA_1_5, _OAEP: RSA_OAEP}.get(oid, oid)
    algorithms.check_transport(transport_uri)
    padding = (
        KeyPadding(None)
        if transport_uri == RSA_1_5
        else _read_oaep_padding(algorithm["parameters"], algorithms)
    )
    encrypted_key = recipient_info.chosen["encrypted_key"].native
    return TransportedKey(
        transport_uri, padding, encrypted_key, _read_recipient_hints(recipient_info.chosen["rid"])
    )


def _read_oaep_padding(parameters: Any, algorithms: AgreedAlgorithms) -> KeyPadding:
    """Return the padding of RSAES-OAEP (RFC 4055 §4.1); SHA-1 is the default."""
    oaep_parameters = parameters.parse(algos.RSAESOAEPParams)
    digest = oaep_parameters["hash_algorithm"]["algorithm"].native
    if oaep_parameters["mask_gen_algorithm"]["algorithm"].native != "mgf1":
        raise_algorithm_error("OAEP with another mask than MGF1", algorithms.policy)
    mask_digest = oaep_parameters["mask_gen_algorithm"]["parameters"]["algorithm"].native
    for digest_name in (digest, mask_digest):
        algorithms.check_digest(digest_name)
    label = oaep_parameters["p_source_algorithm"]["parameters"].native
    return KeyPadding(digest, mask_digest, label or b"")


def _read_recipient_hints(identifier: Any) -> RecipientHints:
    if identifier.name == "issuer_and_serial_number":
        return RecipientHints(serials=frozenset({identifier.chosen["serial_number"].native}))
    return RecipientHints(key_ids=frozenset({identifier.chosen.native}))


def write_envelope(
    cipher_uri: str, ciphertext: CipherText, encrypted_key: bytes, receiver: Certificate
) -> bytes:
    """Return the envelope (DER) of encrypted octets; their key was encrypted by OAEP with SHA-256."""
    is_authenticated = CIPHERS[cipher_uri].authenticates
    parameters: Any = core.OctetString(ciphertext.vector)
    if is_authenticated:
        parameters = _GcmParameters({"nonce": ciphertext.vector, "icv_length": GCM_TAG_OCTETS})
    encrypted_content_info = {
        "content_type": _DATA,
        "content_encryption_algorithm": algos.EncryptionAlgorithm.load(
            _Algorithm({"algorithm": _OID_BY_CIPHER[cipher_uri], "parameters": parameters}).dump()
        ),
        "encrypted_content": ciphertext.octets,
    }
    recipients = [cms.RecipientInfo("ktri", _make_recipient(encrypted_key, receiver))]
    if is_authenticated:
        content: Any = {
            "version": "v0",
            "recipient_infos": recipients,
            "auth_encrypted_content_info": encrypted_content_info,
            "mac": ciphertext.tag,
        }
        return _wrap_content(_AUTH_ENVELOPED, cms.AuthEnvelopedData(content))
    content = {
        "version": "v0",
        "recipient_infos": recipients,
        "encrypted_content_info": encrypted_content_info,
    }
    return _wrap_content(_ENVELOPED, cms.EnvelopedData(content))


def _wrap_content(content_type_oid: str, content: Any) -> bytes:
    octets: bytes = cms.ContentInfo({"content_type": content_type_oid, "content": content}).dump()
    return octets


def _make_recipient(encrypted_key: bytes, receiver: Certificate) -> Any:
    """Return the RecipientInfo (RFC 5652 §6.2.1) of a key encrypted for `receiver` by RSA-OAEP, SHA-256."""
    issuer_and_serial = cms.IssuerAndSerialNumber(
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
        "rid": cms.RecipientIdentifier("issuer_and_serial_number", issuer_and_serial),
        "key_encryption_algorithm": {
            "algorithm": "rsaes_oaep",
            "parameters": algos.RSAESOAEPParams(parameters),
        },
        "encrypted_key": encrypted_key,
    }
