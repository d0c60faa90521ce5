"""Keys by agreement: X25519 and ECDH-ES, HKDF and ConcatKDF, AES key wrap; written, read, refused."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from lxml import etree

from gateway.encryption import (
    DecryptedPayload,
    decrypt_payload,
    encrypt_attachments,
    read_encrypted_attachments,
)
from gateway.encryption.content_ciphers import CIPHERS
from gateway.encryption.encrypted_data import _read_derivation, split_vector
from gateway.encryption.encryption_policies import KEY_WRAPS
from gateway.encryption.key_agreement import derive_key, unwrap_key, wrap_key
from gateway.errors import GatewayError
from gateway.pki import AgreementPrivateKey, DecryptionKey, load_decryption_key
from gateway.pki.decryption_keys import exchange_secret
from gateway.wire import DS, WSSE, WSU, X509_SUBJECT_KEY, X509_THUMBPRINT, XENC, XENC11, parse_xml
from gateway_conformance.pki import make_authority
from tests.encryption.conftest import NOW, agree, draw
from tests.kit.agreement_keys import make_agreement_files, make_agreement_key

MORE = "http://www.w3.org/2021/04/xmldsig-more#"
NAMES = {
    "xenc": XENC,
    "xenc11": XENC11,
    "ds": DS,
    "more": MORE,
    "dsig11": "http://www.w3.org/2009/xmldsig11#",
}
CONTENT = b"<Declaration>" + bytes(range(1, 9)) * 40
KINDS = ("x25519", "p-256", "p-384", "p-521")
BY_KIND = {"x25519": ("x25519",)}
CURVE = ("ECDH-ES",)


@cache
def key_of(name: str, kind: str) -> DecryptionKey:
    return make_agreement_key(_authority(), name, NOW, kind)


@cache
def _authority():
    return make_authority("CN=Agreement CA", NOW)


def names_for(kind: str, *names: str) -> tuple[str, ...]:
    return (*BY_KIND.get(kind, CURVE), *names)


def seal(kind: str, *names: str) -> tuple[bytes, dict[str, bytes]]:
    agreed = agree("strict", *names_for(kind, *names))
    header, parts = encrypt_attachments(
        {"cid:a": (CONTENT, "application/xml"), "cid:b": (b"b", "text/plain")},
        key_of("hub", kind).certificate, agreed, draw, "m",
    )  # fmt: skip
    return f'<w:Security xmlns:w="{WSSE}" xmlns:wsu="{WSU}">{header}</w:Security>'.encode(), parts


def read(
    header: bytes, parts: dict[str, bytes], key: DecryptionKey, agreed=None, *, genuine: bool = True
) -> DecryptedPayload:
    found = read_encrypted_attachments(parse_xml(header), {name[4:] for name in parts}, agreed or agree())
    payload = found.attachments["a"].make_payload(parts["cid:a"])
    return decrypt_payload(payload, [key], lambda octets: genuine and octets == CONTENT, draw)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("derivation", ["hkdf", "ConcatKDF"])
@pytest.mark.parametrize(("cipher", "wrap"), [("aes128-gcm", "kw-aes128"), ("aes256-gcm", "kw-aes256")])
def test_what_we_encrypt_we_read(kind: str, derivation: str, cipher: str, wrap: str) -> None:
    header, parts = seal(kind, cipher, derivation, wrap)
    assert CONTENT not in parts["cid:a"]
    opened = read(header, parts, key_of("hub", kind))
    assert opened.content == CONTENT
    assert opened.cipher.endswith(cipher)
    assert opened.transport.endswith(names_for(kind)[0])
    text = header.decode()
    assert f"#{derivation}" in text
    assert f"#{wrap}" in text
    with pytest.raises(GatewayError, match="GW210"):
        read(header, parts, key_of("hub", kind), genuine=False)


@pytest.mark.parametrize("has_key_id", [True, False])
def test_the_receiver_is_named_by_what_its_certificate_has(*, has_key_id: bool) -> None:
    """Basic Security Profile 1.1 R5206 and R5210: the subject key identifier, or the thumbprint."""
    key = load_decryption_key(*make_agreement_files(_authority(), "hub", NOW, "p-256", has_key_id=has_key_id))
    agreed = agree("strict", *names_for("p-256", "aes128-gcm", "hkdf", "kw-aes128"))
    contents = {"cid:a": (CONTENT, "application/xml")}
    header, parts = encrypt_attachments(contents, key.certificate, agreed, draw, "m")
    document = etree.fromstring(f'<w:Security xmlns:w="{WSSE}">{header}</w:Security>')
    (identifier,) = document.iter(f"{{{WSSE}}}KeyIdentifier")
    value_type = X509_SUBJECT_KEY if has_key_id else X509_THUMBPRINT
    octets = key.certificate.subject_key_identifier if has_key_id else key.certificate.thumbprint
    assert (identifier.get("ValueType"), base64.b64decode(identifier.text or "")) == (value_type, octets)
    assert read(etree.tostring(document), parts, key).content == CONTENT


def test_a_message_has_a_key_and_a_salt_of_its_own() -> None:
    found = [
        re.findall(rb"KeyValue[^>]*>[^<]+<|Salt>[^<]+<", seal("x25519", "aes128-gcm", "hkdf", "kw-aes128")[0])
        for _ in range(2)
    ]
    assert len(found[0]) == 2
    assert set(found[0]).isdisjoint(found[1])


@pytest.mark.parametrize("kind", KINDS)
def test_another_key_and_another_kind_of_key_open_nothing(kind: str) -> None:
    header, parts = seal(kind, "aes128-gcm", "hkdf", "kw-aes128")
    unnamed = re.sub(rb"<xenc:RecipientKeyInfo>.*</xenc:RecipientKeyInfo>", b"", header)
    assert unnamed != header
    for other in (key_of("other", kind), key_of("hub", "p-256" if kind == "x25519" else "x25519")):
        with pytest.raises(GatewayError, match="GW210"):
            read(header, parts, other)


def swap(old: str, new: str) -> Callable[[str], str]:
    def change(text: str) -> str:
        assert old in text, old
        return text.replace(old, new, 1)

    return change


ZERO = base64.b64encode(bytes.fromhex("302a300506032b656e032100") + bytes(32)).decode()
SHORT = base64.b64encode(bytes.fromhex("302a300506032b656e032100") + b"\x01" + bytes(31)).decode()
PUBLIC = re.compile(r"(<dsig11:DEREncodedKeyValue[^>]*>)[^<]+")
#: Changes of an honest header, and what refuses each.
REFUSED = {
    "agreement of nobody's": (swap(f"{MORE}x25519", "urn:example:x"), "GW216"),
    "x448": (swap(f"{MORE}x25519", f"{MORE}x448"), "GW216"),
    "ecdh with a key of x25519": (swap(f"{MORE}x25519", f"{XENC11}ECDH-ES"), "GW216"),
    "wrap of nobody's": (swap("#kw-aes128", "#kw-tripledes"), "GW216"),
    "another wrap": (swap("#kw-aes128", "#kw-aes256"), "GW216"),
    "derivation of nobody's": (swap(f"{MORE}hkdf", "urn:example:kdf"), "GW216"),
    "pbkdf2": (swap(f"{MORE}hkdf", f"{XENC11}pbkdf2"), "GW216"),
    "concat where hkdf is agreed": (swap(f"{MORE}hkdf", f"{XENC11}ConcatKDF"), "GW216"),
    "prf by sha-1": (swap("#hmac-sha256", "#hmac-sha1"), "GW216"),
    "no prf": (lambda text: re.sub("<dsig-more:PRF[^>]*/>|<dsig-more:PRF[^>]*></dsig-more:PRF>", "", text),
    "GW216"),
    "another length": (swap(">16</dsig-more:KeyLength>", ">32</dsig-more:KeyLength>"), "GW215"),
    "length in words": (swap(">16</dsig-more:KeyLength>", ">x</dsig-more:KeyLength>"), "GW215"),
    "a parameter more": (swap("</dsig-more:HKDFParams>", "<dsig-more:More/></dsig-more:HKDFParams>"),
    "GW215"),
    "two salts": (
        lambda text: re.sub("(<dsig-more:Salt>[^<]*</dsig-more:Salt>)", r"\1\1", text), "GW215",
    ),
    "no base64": (swap("<dsig-more:Salt>", "<dsig-more:Salt>!"), "GW215"),
    "key that is none": (lambda text: PUBLIC.sub(r"\1AAAA", text), "GW215"),
    "key of another kind": (lambda text: text.replace("DEREncodedKeyValue", "Other"), "GW215"),
    "no receiver": (
        lambda text: re.sub("<wsse:SecurityTokenReference>.*</wsse:SecurityTokenReference></xenc:Rec",
         "</xenc:Rec", text, count=1), "GW215",
    ),
    "an agreement twice": (
        lambda text: re.sub("(<xenc:AgreementMethod.*</xenc:AgreementMethod>)", r"\1\1", text), "GW215 GW216",
    ),
    "nonce": (swap("<xenc:OriginatorKeyInfo>", "<xenc:KA-Nonce>AA==</xenc:KA-Nonce><xenc:OriginatorKeyInfo>"),
     "GW215"),
    "all zeros": (lambda text: PUBLIC.sub(rf"\g<1>{ZERO}", text), "GW210"),
    "small order": (lambda text: PUBLIC.sub(rf"\g<1>{SHORT}", text), "GW210"),
    "changed value": (lambda text: re.sub("(<xenc:CipherValue>)....", r"\1AAAA", text), "GW210"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_as_agreed_or_not_of_the_form_is_refused(name: str) -> None:
    change, problems = REFUSED[name]
    header, parts = seal("x25519", "aes128-gcm", "hkdf", "kw-aes128")
    agreed = agree("strict", "x25519", "aes128-gcm", "hkdf", "kw-aes128")
    assert read(header, parts, key_of("hub", "x25519"), agreed).content == CONTENT
    with pytest.raises(GatewayError) as caught:
        read(change(header.decode()).encode(), parts, key_of("hub", "x25519"), agreed)
    assert caught.value.problem.id in problems.split()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("urn:oid:1.2.840.10045.3.1.7", "urn:oid:1.3.132.0.34"),
        ("urn:oid:1.2.840.10045.3.1.7", "urn:oid:1.3.36.3.3.2.8.1.1.7"),
        ("<dsig11:PublicKey>", "<dsig11:PublicKey>AAAA"),
        ('AlgorithmID="0000"', 'AlgorithmID="0400"'),
        ('AlgorithmID="0000"', 'AlgorithmID="0"'),
        ('AlgorithmID="0000"', 'AlgorithmID="\u0660\u0660"'),
        ('AlgorithmID="0000"', 'AlgorithmID="0000" Other=""'),
        ("xmlenc#sha256", "xmldsig#sha1"),
    ],
)
def test_a_point_or_a_parameter_that_cannot_be_is_refused(old: str, new: str) -> None:
    header, parts = seal("p-256", "aes128-gcm", "ConcatKDF", "kw-aes128")
    with pytest.raises(GatewayError, match=r"GW215|GW216"):
        read(swap(old, new)(header.decode()).encode(), parts, key_of("hub", "p-256"))


def test_what_goes_into_the_derivation_counts() -> None:
    header, parts = seal("p-256", "aes128-gcm", "ConcatKDF", "kw-aes128")
    other = swap('AlgorithmID="0000"', 'AlgorithmID="0001"')(header.decode()).encode()
    with pytest.raises(GatewayError, match="GW210"):
        read(other, parts, key_of("hub", "p-256"))
    none = swap('PartyUInfo=""', 'SuppPubInfo=""')(header.decode()).encode()
    assert read(none, parts, key_of("hub", "p-256")).content == CONTENT


@pytest.mark.parametrize("kind", ["x25519", "p-256"])
@pytest.mark.parametrize(
    "form", ["X509SKI", "X509Certificate", "X509IssuerSerial", "X509SubjectName", "all", "each"]
)
def test_x509_data_names_the_receiver_in_every_form(kind: str, form: str) -> None:
    """Some products write X509Data directly into RecipientKeyInfo."""
    header, parts = seal(kind, "aes128-gcm", "hkdf", "kw-aes128")
    receiver = key_of("hub", kind).certificate
    assert receiver.subject_key_identifier is not None
    forms = {
        "X509SKI": base64.b64encode(receiver.subject_key_identifier).decode(),
        "X509Certificate": base64.b64encode(receiver.der).decode(),
        "X509IssuerSerial": "<ds:X509IssuerName>CN=x</ds:X509IssuerName>"
        f"<ds:X509SerialNumber>{receiver.serial}</ds:X509SerialNumber>",
        "X509SubjectName": "CN=hub",
    }
    chosen = {form: forms[form]} if form in forms else forms
    between = "</ds:X509Data><ds:X509Data>" if form == "each" else ""
    data = between.join(f"<ds:{name}>{text}</ds:{name}>" for name, text in chosen.items())
    named = f"<xenc:RecipientKeyInfo><ds:X509Data>{data}</ds:X509Data></xenc:RecipientKeyInfo>"
    changed = re.sub(rb"<xenc:RecipientKeyInfo>.*</xenc:RecipientKeyInfo>", named.encode(), header)
    assert changed != header
    assert read(changed, parts, key_of("hub", kind)).content == CONTENT


def test_the_key_value_of_some_around_the_receiver_is_read() -> None:
    """The sample of the profile for elliptic curves has it so."""
    header, parts = seal("p-256", "aes128-gcm", "hkdf", "kw-aes128")
    text = header.decode().replace("<xenc:RecipientKeyInfo>", "<xenc:RecipientKeyInfo><ds:KeyValue>")
    text = text.replace("</xenc:RecipientKeyInfo>", "</ds:KeyValue></xenc:RecipientKeyInfo>")
    assert read(text.encode(), parts, key_of("hub", "p-256")).content == CONTENT


@pytest.mark.parametrize(
    ("kind", "names"),
    [("x25519", ("ECDH-ES", "hkdf", "kw-aes128")), ("p-256", ("x25519", "hkdf", "kw-aes128")),
     ("x25519", ("rsa-oaep",)), ("x25519", ("x25519", "kw-aes128")), ("x25519", ("x25519", "hkdf"))],
)  # fmt: skip
def test_a_key_that_was_not_agreed_is_not_written(kind: str, names: tuple[str, ...]) -> None:
    agreed = agree("strict", "aes128-gcm", *names)
    with pytest.raises(GatewayError, match="GW216"):
        encrypt_attachments({"cid:a": (b"a", "a/b")}, key_of("hub", kind).certificate, agreed, draw, "m")


@pytest.mark.parametrize("octets", [16, 24, 32])
def test_the_key_wrap_is_that_of_rfc_3394(octets: int) -> None:
    wrapping, key = bytes(range(octets)), os.urandom(32)
    wrapped = wrap_key(wrapping, key)
    assert unwrap_key(wrapping, wrapped) == key
    assert unwrap_key(bytes(octets), wrapped) is None
    assert unwrap_key(wrapping, wrapped[:-1]) is None
    assert unwrap_key(wrapping, b"") is None


FOLDER = "vectors/xmldsig-xmlsec/aleksey-xmlenc-01"
VECTORS = (
    *(f"enc_ecdh_p256_{kdf}_{sha}_kw_aes256_aes128gcm" for kdf in ("concatkdf", "hkdf")
      for sha in ("sha256", "sha384", "sha512")),
    "enc_ecdh_p384_concatkdf_sha384_kw_aes192_aes192gcm",
    "enc_ecdh_p521_concatkdf_sha512_kw_aes256_aes256gcm",
)  # fmt: skip


def load(vectors: Path, name: str) -> AgreementPrivateKey:
    key = load_pem_private_key(
        (vectors / "vectors/xmldsig-xmlsec/keys/ec" / f"{name}.p8-pem").read_bytes(), b"secret123"
    )
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


@pytest.mark.parametrize("name", VECTORS)
def test_xmlsec(vectors: Path, name: str) -> None:
    """The keys are named there, so the derivation, the wrap and the cipher are tried."""
    root = etree.fromstring((vectors / FOLDER / f"{name}.xml").read_bytes())
    bits = name.split("_p")[1][:3]
    own, other = (load(vectors, f"ec-prime{bits}v1-{part}") for part in ("key", "second-key"))
    secret = exchange_secret(own, other.public_key())
    assert secret is not None
    (key,) = root.iter(f"{{{XENC}}}EncryptedKey")
    wrap = key.find("xenc:EncryptionMethod", NAMES).get("Algorithm")
    (terms,) = root.iter(f"{{{XENC11}}}KeyDerivationMethod")
    derivation = _read_derivation(terms, KEY_WRAPS[wrap], agree())
    wrapped, content = (
        base64.b64decode(one.find("xenc:CipherData/xenc:CipherValue", NAMES).text) for one in (key, root)
    )
    found = unwrap_key(derive_key(secret, derivation, wrap), wrapped)
    assert found is not None
    uri = root.find("xenc:EncryptionMethod", NAMES).get("Algorithm")
    # Its keys are longer than the cipher's; it uses the first octets.
    assert CIPHERS[uri].decrypt(found[: CIPHERS[uri].key_octets], split_vector(uri, content)).is_sound
