"""Each reference to a certificate, kind of key and profile that a hub writes over AS4 is read by phase4."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from gateway.agreements.as4.profile_tables import list_profiles
from gateway.agreements.pmode_values import TOKEN_REFERENCES
from gateway.xmlsec.token_references import write_name
from gateway_conformance.pki import make_authority
from tests.kit.databases import Templates
from tests.protocols.test_as4_tokens import TYPED_NAMES
from tests.system.interop.as4_variants import BEGAN, READ, SIGNATURES, VariantKeys, VariantScene
from tests.system.interop.phase4 import build_phase4

pytestmark = [
    pytest.mark.peer,
    pytest.mark.vectors,
    pytest.mark.long,
    pytest.mark.night,
    pytest.mark.timeout(900),
]

#: WSS4J, by which phase4 reads, knows no tokens of this kind at all.
UNREADABLE = {"PKCS7"}
#: WSS4J takes no key of an elliptic curve with more than 512 bits.
TOO_LONG = {"p-521"}
#: Writes a line for each name in DER, which is followed by its text: whether they are the same name.
COMPARE = """
import java.util.HexFormat;
import javax.security.auth.x500.X500Principal;
class Compare {
  public static void main(String[] words) {
    for (int i = 0; i < words.length; i += 2) {
      X500Principal encoded = new X500Principal(HexFormat.of().parseHex(words[i]));
      System.out.println(encoded.equals(new X500Principal(words[i + 1])));
    }
  }
}
"""
#: Names of issuers whose forms as text differ between products.
ODD_NAMES = [
    r"CN=신고 CA\, 1,2.5.4.97=NTRKR-110111,2.5.4.5=7-1,C=KR",
    r"CN=\#Customs \"1\" \<CA\>\;,OU=a\+b+1.2.840.113549.1.9.1=ca@x.example,DC=example",
]
#: The keys of each profile.
PROFILES = {
    "bdew-1.3": VariantKeys("p-256", "p-256", "ecdh-es", "CONCAT_KDF"),
    "edelivery-1.15": VariantKeys("rsa-3072", "rsa"),
    "edelivery-2.0": VariantKeys("p-256", "x25519", "x25519"),
    "entsog-4.0": VariantKeys("ed25519", "x25519", "x25519"),
    "ics2": VariantKeys("rsa-3072"),
}


def test_every_profile_is_tried() -> None:
    assert sorted(PROFILES) == sorted(list_profiles())


@pytest.fixture(scope="module")
def program(vectors: Path) -> Path:
    return build_phase4(vectors)


@pytest.fixture(scope="module", params=SIGNATURES)
def scene(
    request: pytest.FixtureRequest,
    program: Path,
    tmp_path_factory: pytest.TempPathFactory,
    templates: Templates,
) -> Iterator[VariantScene]:
    """A hub that signs by a kind of key, with an agreement for each reference to its certificate."""
    folder = tmp_path_factory.mktemp(request.param)
    opened = VariantScene(folder, templates.fresh("sqlite"), program, VariantKeys(request.param))
    for name in TOKEN_REFERENCES:
        opened.agree(name, changes=name_reference(name))
    with opened.run():
        yield opened


def name_reference(name: str) -> dict[str, str]:
    """Return the change of an agreement that agrees on a reference to certificates."""
    return {"    sign: true\n": f"    sign: true\n    token_reference: {name}\n"}


@pytest.mark.parametrize("name", TOKEN_REFERENCES)
def test_each_reference_is_read_by_phase4(scene: VariantScene, name: str) -> None:
    """The hub names its certificate in every way, in receipts and in Results."""
    exchange = scene.exchange(name)
    assert exchange.is_verified == (name not in UNREADABLE), exchange
    is_read = exchange.is_verified and scene.keys.signing not in TOO_LONG
    result = "DELIVERED" if is_read else "FAILED"
    assert exchange.result == (result if scene.keys.has_results else None)


@pytest.mark.parametrize("name", ["IssuerSerial", "X509PKIPathv1"])
@pytest.mark.parametrize("issuer", ODD_NAMES)
def test_an_issuer_with_an_odd_name_is_found_by_phase4(
    program: Path, tmp_path: Path, templates: Templates, issuer: str, name: str
) -> None:
    odd = make_authority(issuer, BEGAN - timedelta(days=1))
    opened = VariantScene(tmp_path, templates.fresh("sqlite"), program, VariantKeys("p-256"), odd)
    opened.agree(name, changes=name_reference(name))
    with opened.run():
        assert opened.exchange(name) == READ


def test_the_text_of_a_name_is_the_name_to_the_jdk(tmp_path: Path) -> None:
    """The classes of the JDK compare the octets of values, and with them the type of string."""
    names = [x509.Name.from_rfc4514_string(text) for text in ODD_NAMES]
    names += [name for name, _ in TYPED_NAMES]
    (tmp_path / "Compare.java").write_text(COMPARE)
    words = [word for name in names for word in (name.public_bytes().hex(), write_name(name))]
    # The JDK reads the words of a command by the locale.
    environment = os.environ | {"LC_ALL": "C.UTF-8"}
    command = ["java", "Compare.java", *words]
    compared = subprocess.run(
        command, cwd=tmp_path, env=environment, check=True, timeout=60, stdout=subprocess.PIPE
    )
    assert compared.stdout.split() == [b"true"] * len(names)


@pytest.mark.parametrize("name", PROFILES)
def test_what_a_profile_fills_in_is_read_by_phase4(
    program: Path, tmp_path: Path, templates: Templates, name: str
) -> None:
    keys = PROFILES[name]
    opened = VariantScene(tmp_path, templates.fresh("sqlite"), program, keys)
    # The transport is not of the test: there is no TLS between the two.
    terms = "    sign: true\n    mutual_tls: false\n"
    if name == "edelivery-2.0":
        terms += "    signature_algorithm: http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256\n"
    if name == "ics2":
        opened.sending += ["--agreement-type", "ics2-interface-version"]
    opened.agree(name, f"profile: {name}", changes={"    sign: true\n": terms})
    with opened.run():
        assert opened.exchange(name) == replace(READ, result="DELIVERED" if keys.has_results else None)


def test_a_receiver_without_key_identifier_is_named_to_phase4(
    program: Path, tmp_path: Path, templates: Templates
) -> None:
    """The hub encrypts for a certificate that has no subject key identifier."""
    keys = VariantKeys("p-256", "p-256", "ecdh-es", has_key_id=False)
    opened = VariantScene(tmp_path, templates.fresh("sqlite"), program, keys)
    terms = "  encryption: {algorithms: [aes128-gcm, ECDH-ES, hkdf, kw-aes128]}\n  compression: gzip "
    opened.agree("nameless", changes={"  compression: gzip ": terms})
    with opened.run():
        assert opened.exchange("nameless") == READ
