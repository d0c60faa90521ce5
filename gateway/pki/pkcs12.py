"""PKCS#12 files (RFC 7292): a private key and its certificate in one file, under one password."""

from __future__ import annotations

from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, pkcs12

from gateway.errors import KEY_UNAVAILABLE, GatewayError
from gateway.pki.der_elements import read_element

__all__ = ["KeyStore", "is_pkcs12_file", "open_pkcs12_file"]

#: RFC 7292 §4: PFX ::= SEQUENCE { version INTEGER {v3(3)}, ... }
_VERSION_3 = b"\x02\x01\x03"


@dataclass(frozen=True, slots=True)
class KeyStore:
    """The content of a file: the key, and its certificate as DER."""

    certificate: bytes
    key: PrivateKeyTypes = field(repr=False, compare=False)


def is_pkcs12_file(data: bytes) -> bool:
    """Return whether octets are a PKCS#12 file, by their first octets."""
    outer = read_element(data, 0)
    return outer is not None and outer[0] == 0x30 and data[outer[1] : outer[1] + 3] == _VERSION_3


def open_pkcs12_file(data: bytes, password: bytes | None) -> KeyStore:
    """Return key and certificate of a PKCS#12 file; raise GW803 for a wrong password or a missing part.

    Further certificates in the file are ignored: the register defines which ones are trusted.
    """
    try:
        found = pkcs12.load_pkcs12(data, password)
    # The message may quote the input, which is secret: nothing of it is reported.
    except Exception:
        detail = "the PKCS#12 file cannot be opened: wrong password, or another kind of file"
        raise GatewayError(KEY_UNAVAILABLE, detail, "key") from None
    if found.key is None or found.cert is None:
        missing = "private key" if found.key is None else "certificate that belongs to its key"
        raise GatewayError(KEY_UNAVAILABLE, f"the PKCS#12 file contains no {missing}", "key")
    return KeyStore(found.cert.certificate.public_bytes(Encoding.DER), found.key)
