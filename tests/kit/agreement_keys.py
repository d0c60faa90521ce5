"""Keys that agree on secrets, and their certificates: nobody can request one for a key of X25519."""

from __future__ import annotations

from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, x25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from gateway.pki import DecryptionKey, load_decryption_key
from gateway_conformance.pki import CertificateOrder, CertificationAuthority, issue_certificate

CURVES: dict[str, ec.EllipticCurve] = {
    "p-256": ec.SECP256R1(), "p-384": ec.SECP384R1(), "p-521": ec.SECP521R1(),
}  # fmt: skip


def make_agreement_files(
    authority: CertificationAuthority,
    name: str,
    at: datetime,
    kind: str = "x25519",
    *,
    has_key_id: bool = True,
) -> tuple[bytes, bytes]:
    """Return a private key and its certificate, both as PEM; `kind` is x25519 or one of `CURVES`.

    The certificate has a subject key identifier if `has_key_id`.
    """
    key = x25519.X25519PrivateKey.generate() if kind == "x25519" else ec.generate_private_key(CURVES[kind])
    public = key.public_key()
    issuer = x509.load_der_x509_certificate(authority.certificate.der)
    usage = dict.fromkeys(
        ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment",
         "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"), False,
    )  # fmt: skip
    builder = (
        x509.CertificateBuilder(
            issuer.subject, x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]), public
        )
        .serial_number(x509.random_serial_number())
        .not_valid_before(at - timedelta(days=1))
        .not_valid_after(at + timedelta(days=300))
        .add_extension(x509.BasicConstraints(False, None), critical=True)
        .add_extension(x509.KeyUsage(key_agreement=True, **usage), critical=True)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key()), critical=False
        )
    )
    if has_key_id:
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    digest = hashes.SHA256()
    certificate = builder.sign(authority.key, digest)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return pem, certificate.public_bytes(Encoding.PEM)


def make_receiver_files(
    authority: CertificationAuthority, name: str, at: datetime, kind: str
) -> tuple[bytes, bytes]:
    """Return the key and the certificate of a receiver, as PEM; `kind` may be rsa, too."""
    if kind != "rsa":
        return make_agreement_files(authority, name, at, kind)
    order = CertificateOrder(profile="encryption", key_kind="rsa-2048", days=3600)
    issued = issue_certificate(authority, f"CN={name}", at, order)
    return issued.key_pem, issued.certificate.pem


def make_agreement_key(
    authority: CertificationAuthority, name: str, at: datetime, kind: str = "x25519"
) -> DecryptionKey:
    """Return such a key as a hub loads it."""
    return load_decryption_key(*make_agreement_files(authority, name, at, kind))
