"""X.509 certificates, parsed once, strictly, into immutable values.

The content of a certificate is checked here against :class:`CertificateRules`;
:mod:`gateway.pki.certificate_validation` decides whether it is trusted.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import ipaddress
import re
import warnings
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Final, NoReturn

from asn1crypto import x509 as asn1_x509
from asn1crypto.keys import DSAParams
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa, x25519
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509.oid import ExtensionOID, NameOID

from gateway.errors import CERTIFICATE_UNTRUSTED, GatewayError, describe_exception, raise_resource_problem
from gateway.pki.der_elements import (
    has_octet_signature,
    has_one_algorithm,
    read_certificate_serial,
    read_element,
)

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | x25519.X25519PublicKey

# Real certificates have 0.5 to 4 KiB; the largest in public collections have less than 16 KiB.
MAX_CERTIFICATE_OCTETS: Final = 32 * 1024
MAX_BUNDLE_OCTETS: Final = 2 * 1024 * 1024
MAX_CERTIFICATES: Final = 256
# RFC 5280 §4.1.2.2.
MAX_SERIAL_OCTETS: Final = 20
# Work grows with names x constraints and policies x mappings; a party needs only a few of each.
MAX_EXTENSIONS: Final = 40
MAX_NAMES: Final = 256

_SUPPORTED_EXTENSIONS: Final = frozenset(
    {
        ExtensionOID.AUTHORITY_KEY_IDENTIFIER,
        ExtensionOID.AUTHORITY_INFORMATION_ACCESS,
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.CERTIFICATE_POLICIES,
        ExtensionOID.CRL_DISTRIBUTION_POINTS,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.FRESHEST_CRL,
        ExtensionOID.INHIBIT_ANY_POLICY,
        ExtensionOID.ISSUER_ALTERNATIVE_NAME,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.NAME_CONSTRAINTS,
        ExtensionOID.OCSP_NO_CHECK,
        ExtensionOID.POLICY_CONSTRAINTS,
        ExtensionOID.POLICY_MAPPINGS,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
        ExtensionOID.SUBJECT_KEY_IDENTIFIER,
        # qcStatements (RFC 3739); some issuers mark it critical.
        x509.ObjectIdentifier("1.3.6.1.5.5.7.1.3"),
    }
)

_KEY_USAGES: Final = (
    ("digitalSignature", "digital_signature"),
    ("nonRepudiation", "content_commitment"),
    ("keyEncipherment", "key_encipherment"),
    ("dataEncipherment", "data_encipherment"),
    ("keyAgreement", "key_agreement"),
    ("keyCertSign", "key_cert_sign"),
    ("cRLSign", "crl_sign"),
)

_KEY_TYPES: Final = (
    ("rsa", rsa.RSAPublicKey),
    ("ec", ec.EllipticCurvePublicKey),
    ("ed25519", ed25519.Ed25519PublicKey),
    ("x25519", x25519.X25519PublicKey),
    ("dsa", dsa.DSAPublicKey),
)

# The parser counts octets where RFC 5280 counts characters, so that it warns of 22 Hangul syllables. It also
# accepts odd serial numbers, which the rules below check. It only writes warnings to standard error, about
# certificates that any sender may supply. The filters are set once: they apply to the whole process.
warnings.filterwarnings("ignore", "Attribute's length must be", UserWarning)
warnings.filterwarnings("ignore", "Parsed a serial number which wasn't positive", UserWarning)
#: Characters of a name's attribute (RFC 5280 appendix A.1); for the other attributes ub-name is far below
#: any limit here.
_LENGTH_BOUNDS: Final = {NameOID.COUNTRY_NAME: (2, 2), NameOID.COMMON_NAME: (1, 64)}
_NO_LENGTH_BOUNDS: Final = (0, 32_768)

_PEM_PATTERN: Final = re.compile(
    rb"-----BEGIN (?:X509 )?CERTIFICATE-----\s([A-Za-z0-9+/=\s]*)-----END (?:X509 )?CERTIFICATE-----"
)


@dataclass(frozen=True, slots=True)
class CertificateRules:
    """The requirements on a certificate, apart from its issuer.

    ``key_types`` may also name "dsa", for old paths; such a key never verifies a message. One of "x25519"
    only agrees on keys.
    ``signatures`` contains the object identifiers of the signature algorithms that issuers
    may use. Without ``profile`` only the requirements of RFC 5280 §6 apply: any version,
    serial number and key.
    """

    profile: bool = True
    key_types: frozenset[str] = frozenset({"rsa", "ec", "ed25519", "x25519"})
    rsa_bits: int = 2048
    rsa_bits_most: int = 8192
    curves: frozenset[str] = frozenset({"secp256r1", "secp384r1", "secp521r1"})
    positive_serial: bool = True
    key_identifiers: bool = True
    critical_constraints: bool = True
    signatures: frozenset[str] = frozenset(
        {
            "1.2.840.113549.1.1.11",  # sha256WithRSAEncryption
            "1.2.840.113549.1.1.12",
            "1.2.840.113549.1.1.13",
            "1.2.840.113549.1.1.10",  # RSASSA-PSS; its digest is checked separately
            "1.2.840.10045.4.3.2",  # ecdsa-with-SHA256
            "1.2.840.10045.4.3.3",
            "1.2.840.10045.4.3.4",
            "1.3.101.112",  # Ed25519
        }
    )
    weak_digests: frozenset[str] = frozenset({"md2", "md5", "sha1", "sha224"})


DEFAULT_RULES: Final = CertificateRules()
# Path validation alone: no profile, no rule on keys and algorithms.
PATH_RULES: Final = CertificateRules(
    profile=False,
    positive_serial=False,
    key_identifiers=False,
    critical_constraints=False,
    weak_digests=frozenset(),
)


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate, parsed once.

    Two certificates are equal when their octets are equal: issuer and serial number identify
    none, because another issuer may use the same values. ``sha256`` is lowercase hexadecimal;
    names are RFC 4514 strings; ``key_usage`` and ``extended_key_usage`` are None where the
    extension is absent; ``alternative_names`` begin with their kind: "dns:", "email:",
    "uri:".
    """

    der: bytes = field(repr=False)
    sha256: str
    subject: str = field(compare=False)
    issuer: str = field(compare=False)
    serial: int = field(compare=False)
    not_before: datetime = field(compare=False)
    not_after: datetime = field(compare=False)
    key_type: str = field(compare=False)
    public_key: PublicKey = field(compare=False, repr=False)
    signature_algorithm: str = field(compare=False, repr=False)
    key_usage: frozenset[str] | None = field(compare=False, repr=False)
    extended_key_usage: frozenset[str] | None = field(compare=False, repr=False)
    is_ca: bool = field(compare=False)
    path_length: int | None = field(compare=False, repr=False)
    subject_key_identifier: bytes | None = field(compare=False, repr=False)
    authority_key_identifier: bytes | None = field(compare=False, repr=False)
    alternative_names: tuple[str, ...] = field(compare=False, repr=False)
    subject_der: bytes = field(compare=False, repr=False)
    issuer_der: bytes = field(compare=False, repr=False)
    critical_extensions: frozenset[str] = field(compare=False, repr=False)
    extensions: frozenset[str] = field(compare=False, repr=False)

    @property
    def is_self_issued(self) -> bool:
        """Return whether subject and issuer are the same name."""
        return self.subject_der == self.issuer_der

    @property
    def thumbprint(self) -> bytes:
        """Return the SHA-1 of the DER, by which a message names a certificate; it proves nothing."""
        return hashlib.sha1(self.der, usedforsecurity=False).digest()

    @property
    def pem(self) -> bytes:
        """Return the certificate as a PEM block."""
        text = base64.encodebytes(self.der).replace(b"\n", b"")
        lines = [text[start : start + 64] for start in range(0, len(text), 64)]
        return b"\n".join([b"-----BEGIN CERTIFICATE-----", *lines, b"-----END CERTIFICATE-----", b""])


def read_certificate(data: bytes, rules: CertificateRules = DEFAULT_RULES) -> Certificate:
    """Read one certificate, DER or PEM; raise GW205 for anything but exactly one acceptable certificate.

    Text around the PEM block is left out (RFC 7468 §2, §5.2).
    """
    if len(data) > 2 * MAX_CERTIFICATE_OCTETS:
        _raise_untrusted(f"a certificate of {len(data)} octets is too large")
    if data[:1] == b"\x30":
        return _read_encoded(bytes(data), rules)
    blocks = _PEM_PATTERN.findall(data)
    if len(blocks) != 1 or data.count(b"-----BEGIN ") != 1:
        _raise_untrusted("neither DER nor exactly one PEM certificate")
    return _read_encoded(_decode_pem(blocks[0]), rules)


def read_certificates(data: bytes, rules: CertificateRules = DEFAULT_RULES) -> tuple[Certificate, ...]:
    """Read a file of certificates: one DER, or PEM blocks with any text between them (RFC 7468 §5.2)."""
    if len(data) > MAX_BUNDLE_OCTETS:
        _raise_untrusted(f"a file of {len(data)} octets is too large")
    if data[:1] == b"\x30":
        return (read_certificate(data, rules),)
    blocks = _PEM_PATTERN.findall(data)
    if not blocks or len(blocks) != data.count(b"-----BEGIN "):
        _raise_untrusted("no certificate in the file, or something that is not one")
    if len(blocks) > MAX_CERTIFICATES:
        _raise_untrusted(f"more than {MAX_CERTIFICATES} certificates in one file")
    return tuple(_read_encoded(_decode_pem(block), rules) for block in blocks)


def format_name(name: x509.Name) -> str:
    """Return a name in the form of RFC 4514, with unprintable characters in hexadecimal."""
    return "".join(
        char if char.isprintable() else "".join(f"\\{octet:02X}" for octet in char.encode("utf-8", "replace"))
        for char in name.rfc4514_string()
    )


def _decode_pem(block: bytes) -> bytes:
    try:
        return base64.b64decode(b"".join(block.split()), validate=True)
    except (binascii.Error, ValueError):
        _raise_untrusted("the base64 text of the certificate is malformed")


# Every message contains a certificate, mostly one of the same few: parsed certificates are cached, refusals
# are not.
@lru_cache(maxsize=512)
def _read_encoded(encoded: bytes, rules: CertificateRules) -> Certificate:
    """Return the certificate in DER octets; raise GatewayError if it is malformed or refused by `rules`."""
    if len(encoded) > MAX_CERTIFICATE_OCTETS:
        _raise_untrusted(f"a certificate of {len(encoded)} octets is too large")
    _check_octets(encoded, rules)
    try:
        return _build_certificate(encoded, _parse_certificate(encoded, lenient=not rules.profile), rules)
    except GatewayError:
        raise
    # For malformed input the parser below raises ValueError, TypeError and types of its own.
    except Exception as problem:
        raise_resource_problem(problem)
        _raise_untrusted(f"malformed certificate: {describe_exception(problem)}")


def get_parsed_certificate(certificate: Certificate) -> x509.Certificate:
    """Return the certificate as an object of the parser, for extensions that are rarely needed."""
    return _parse_certificate(certificate.der, lenient=certificate.public_key is None)


def _parse_certificate(encoded: bytes, *, lenient: bool) -> x509.Certificate:
    """Return the parsed certificate; a `lenient` call completes a DSA key that has no parameters."""
    try:
        return x509.load_der_x509_certificate(encoded)
    except ValueError:
        completed_octets = _add_dsa_parameters(encoded) if lenient else None
        if completed_octets is None:
            raise
        return x509.load_der_x509_certificate(completed_octets)


def _add_dsa_parameters(encoded: bytes) -> bytes | None:
    """Return a certificate with placeholders for the DSA parameters that its issuer's key supplies.

    RFC 3279 §2.3.2 allows them to be omitted, and the parser cannot read such a certificate.
    No key is ever read from the placeholders, and the signature is verified over the original
    octets.
    """
    parsed = asn1_x509.Certificate.load(encoded, strict=True)
    algorithm = parsed["tbs_certificate"]["subject_public_key_info"]["algorithm"]
    if algorithm["algorithm"].native != "dsa" or algorithm["parameters"].native is not None:
        return None
    algorithm["parameters"] = DSAParams({"p": 1, "q": 1, "g": 1})
    completed_octets: bytes = parsed.dump(force=True)
    return completed_octets


def _check_octets(encoded: bytes, rules: CertificateRules) -> None:
    """Check the serial number and the algorithms, which the parser does not check, or only warns of."""
    serial = read_certificate_serial(encoded)
    if serial is None:
        _raise_untrusted("malformed certificate: it is not a DER sequence that begins with a serial number")
    if rules.profile and len(serial) > MAX_SERIAL_OCTETS + (serial[0] == 0):
        _raise_untrusted(f"the serial number has more than {MAX_SERIAL_OCTETS} octets")
    if rules.positive_serial and int.from_bytes(serial, signed=True) <= 0:
        _raise_untrusted("the serial number is not positive")
    # Neither parser compares the two; with different ones, the intended algorithm is unknown.
    if not has_one_algorithm(encoded):
        _raise_untrusted("the signed part names another signature algorithm than stands beside it")
    if not has_octet_signature(encoded):
        _raise_untrusted("the signature is no string of whole octets")


def _check_name(name: x509.Name) -> None:
    """Check the upper bounds of RFC 5280 appendix A.1, in characters."""
    for attribute in name:
        minimum, maximum = _LENGTH_BOUNDS.get(attribute.oid, _NO_LENGTH_BOUNDS)
        if not minimum <= len(attribute.value) <= maximum:
            attribute_name = attribute.rfc4514_attribute_name
            length = len(attribute.value)
            _raise_untrusted(
                f"{attribute_name} in a name has {length} characters, {minimum} to {maximum} are allowed"
            )


def _build_certificate(encoded: bytes, parsed: x509.Certificate, rules: CertificateRules) -> Certificate:
    if rules.profile and parsed.version is not x509.Version.v3:
        _raise_untrusted("not an X.509 version 3 certificate")
    if rules.profile:
        _check_name(parsed.subject)
        _check_name(parsed.issuer)
    extensions = _read_extensions(parsed)
    key_type, public_key = _read_public_key(encoded, parsed, rules)
    if rules.profile:
        _check_curve_is_named(encoded, public_key)
    constraints_extension = extensions.get(ExtensionOID.BASIC_CONSTRAINTS)
    basic_constraints = constraints_extension.value if constraints_extension else None
    subject_key_extension = extensions.get(ExtensionOID.SUBJECT_KEY_IDENTIFIER)
    authority_key_extension = extensions.get(ExtensionOID.AUTHORITY_KEY_IDENTIFIER)
    return Certificate(
        der=encoded,
        sha256=hashlib.sha256(encoded).hexdigest(),
        subject=format_name(parsed.subject),
        issuer=format_name(parsed.issuer),
        serial=parsed.serial_number,
        not_before=parsed.not_valid_before_utc,
        not_after=parsed.not_valid_after_utc,
        key_type=key_type,
        public_key=public_key,
        signature_algorithm=parsed.signature_algorithm_oid.dotted_string,
        key_usage=_read_key_usage(extensions.get(ExtensionOID.KEY_USAGE)),
        extended_key_usage=_read_extended_key_usage(extensions.get(ExtensionOID.EXTENDED_KEY_USAGE)),
        is_ca=bool(isinstance(basic_constraints, x509.BasicConstraints) and basic_constraints.ca),
        path_length=basic_constraints.path_length
        if isinstance(basic_constraints, x509.BasicConstraints)
        else None,
        subject_key_identifier=_read_subject_key_id(subject_key_extension),
        authority_key_identifier=_read_authority_key_id(authority_key_extension),
        alternative_names=list_alternative_names(extensions.get(ExtensionOID.SUBJECT_ALTERNATIVE_NAME)),
        subject_der=parsed.subject.public_bytes(),
        issuer_der=parsed.issuer.public_bytes(),
        critical_extensions=frozenset(
            oid.dotted_string for oid, extension in extensions.items() if extension.critical
        ),
        extensions=frozenset(oid.dotted_string for oid in extensions),
    )


_Extensions = dict[x509.ObjectIdentifier, x509.Extension[x509.ExtensionType]]


def _read_extensions(parsed: x509.Certificate) -> _Extensions:
    """Return the extensions by object identifier; raise for too many, or for an unknown critical one."""
    extensions: _Extensions = {each.oid: each for each in parsed.extensions}
    if len(extensions) > MAX_EXTENSIONS:
        _raise_untrusted(f"more than {MAX_EXTENSIONS} extensions")
    for oid, each in extensions.items():
        if each.critical and oid not in _SUPPORTED_EXTENSIONS:
            _raise_untrusted(f"critical extension {oid.dotted_string} is not known here")
    return extensions


def _load_public_key(encoded: bytes, parsed: x509.Certificate) -> CertificatePublicKeyTypes:
    if parsed.public_bytes(serialization.Encoding.DER) != encoded:
        raise ValueError("the key lacks its parameters")
    return parsed.public_key()


def _read_public_key(
    encoded: bytes, parsed: x509.Certificate, rules: CertificateRules
) -> tuple[str, PublicKey]:
    """Return the type of a certificate's public key, and the key; raise GW205 where the rules refuse it.

    Without a profile, a key that the library cannot read is returned as "unread" and None.
    """
    try:
        key = _load_public_key(encoded, parsed)
    except (ValueError, UnsupportedAlgorithm):
        if rules.profile:
            raise
        # The path validator may support such a key; DSA keys are read along the path.
        return "unread", None  # type: ignore[return-value]
    key_type, refusal_reason = evaluate_key(key, rules)
    if refusal_reason:
        _raise_untrusted(refusal_reason)
    return key_type, key  # type: ignore[return-value]  # a DSA key only where the rules ask for it


def evaluate_key(key: object, rules: CertificateRules) -> tuple[str, str | None]:
    """Return the type of a public key, and the reason why the rules refuse it or None."""
    key_type = next((name for name, each in _KEY_TYPES if isinstance(key, each)), type(key).__name__)
    return key_type, _find_key_fault(key_type, key, rules)


def _find_key_fault(key_type: str, key: object, rules: CertificateRules) -> str | None:
    """Return why `rules` refuse a key, by type, size, exponent or curve; None if they do not."""
    if not rules.profile:
        return None
    if key_type not in rules.key_types:
        return f"keys of type {key_type} are refused"
    if isinstance(key, rsa.RSAPublicKey):
        if not rules.rsa_bits <= key.key_size <= rules.rsa_bits_most:
            return f"an RSA key of {key.key_size} bits is refused"
        # Signatures were forged for small exponents (Bleichenbacher 2006); a huge one only costs time.
        if not 65537 <= key.public_numbers().e < 1 << 33:
            return "the RSA exponent is refused"
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name not in rules.curves:
        return f"keys on the curve {key.curve.name} are refused"
    return None


def _check_curve_is_named(encoded: bytes, key: PublicKey) -> None:
    """Raise GW205 for a curve given by explicit parameters (RFC 5480 §2.1.1); `encoded`: the certificate.

    The library writes an accepted curve by its name: that encoding must be in the certificate.
    """
    if isinstance(key, ec.EllipticCurvePublicKey):
        encoded_key = key.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        key_element = read_element(encoded_key, 0)
        algorithm_element = read_element(encoded_key, key_element.content) if key_element else None
        if (
            key_element is None
            or algorithm_element is None
            or encoded_key[key_element.content : algorithm_element.end] not in encoded
        ):
            _raise_untrusted("the curve of the key is not named")


def find_rule_violation(certificate: Certificate, rules: CertificateRules) -> str | None:
    """Return how a certificate, perhaps read under laxer rules, breaks `rules`; None when it does not."""
    if rules.positive_serial and certificate.serial <= 0:
        return "the serial number is not positive"
    return _find_key_fault(certificate.key_type, certificate.public_key, rules)


def _read_key_usage(extension: x509.Extension[x509.ExtensionType] | None) -> frozenset[str] | None:
    if extension is None or not isinstance(extension.value, x509.KeyUsage):
        return None
    return frozenset(name for name, attribute in _KEY_USAGES if getattr(extension.value, attribute))


def _read_extended_key_usage(extension: x509.Extension[x509.ExtensionType] | None) -> frozenset[str] | None:
    if extension is None or not isinstance(extension.value, x509.ExtendedKeyUsage):
        return None
    return frozenset(oid.dotted_string for oid in extension.value)


def list_alternative_names(extension: x509.Extension[x509.ExtensionType] | None) -> tuple[str, ...]:
    """Return the alternative names of the supported kinds, each with its kind as prefix."""
    if extension is None or not isinstance(extension.value, x509.SubjectAlternativeName):
        return ()
    if len(extension.value) > MAX_NAMES:
        _raise_untrusted(f"more than {MAX_NAMES} alternative names")
    prefixes: dict[type[object], str] = {
        x509.DNSName: "dns:",
        x509.RFC822Name: "email:",
        x509.UniformResourceIdentifier: "uri:",
    }
    return tuple(f"{prefixes[type(name)]}{name.value}" for name in extension.value if type(name) in prefixes)


def _read_subject_key_id(extension: x509.Extension[x509.ExtensionType] | None) -> bytes | None:
    return (
        extension.value.digest
        if extension and isinstance(extension.value, x509.SubjectKeyIdentifier)
        else None
    )


def _read_authority_key_id(extension: x509.Extension[x509.ExtensionType] | None) -> bytes | None:
    if extension is None or not isinstance(extension.value, x509.AuthorityKeyIdentifier):
        return None
    return extension.value.key_identifier


def _raise_untrusted(detail: str) -> NoReturn:
    raise GatewayError(CERTIFICATE_UNTRUSTED, detail[:300], "certificate")


def normalize_name(der: bytes) -> str:
    """Return the normal form of a directory name (RFC 4518); `der` is its encoding."""
    return str(asn1_x509.Name.load(der).hashable)


def normalize_general_name(name: x509.GeneralName) -> str:
    """Return the normal form of a name of any kind."""
    if isinstance(name, x509.DirectoryName):
        return normalize_name(name.value.public_bytes())
    value = name.value
    if isinstance(name, x509.UniformResourceIdentifier):
        # RFC 5280 §7.4: scheme and host are compared without case.
        scheme, colon, rest = value.partition("://")
        host, slash, path = rest.partition("/")
        value = f"{scheme.lower()}{colon}{host.lower()}{slash}{path}" if colon else value
    return f"{type(name).__name__} {value}"


def list_point_names(
    point: x509.DistributionPoint | x509.IssuingDistributionPoint, issuer: x509.Name
) -> frozenset[str]:
    """Return the normal forms of the names of a distribution point of the lists of `issuer`."""
    if point.relative_name is not None:
        # RFC 5280 §4.2.1.13: the name is relative to the issuer of the list.
        return frozenset({normalize_name(x509.Name([*issuer.rdns, point.relative_name]).public_bytes())})
    return frozenset(normalize_general_name(name) for name in point.full_name or ())


def is_in_network(network: str, address: str) -> bool:
    """Return whether `address` is in `network`, both as text; false for different IP versions."""
    ip_network = ipaddress.ip_network(network, strict=False)
    ip_address = ipaddress.ip_address(address)
    return ip_address.version == ip_network.version and ip_address in ip_network
