"""The second implementation: libxmlsec, and OpenSSL's `cms` verb."""

from __future__ import annotations

import subprocess
from pathlib import Path

import xmlsec
from lxml import etree

from tests.encryption.conftest import Receiver


def make_manager(receiver: Receiver) -> xmlsec.KeysManager:
    manager = xmlsec.KeysManager()
    key = xmlsec.Key.from_memory(receiver.pem, xmlsec.constants.KeyDataFormatPem)
    key.name = "receiver"
    manager.add_key(key)
    return manager


def encrypt_by_xmlsec(
    template: str, content: bytes, receiver: Receiver, bits: int, *, triple_des: bool = False
) -> bytes:
    """Return a template filled in with the content, under a new session key of so many bits."""
    context = xmlsec.EncryptionContext(make_manager(receiver))
    kind = xmlsec.constants.KeyDataDes if triple_des else xmlsec.constants.KeyDataAes
    context.key = xmlsec.Key.generate(kind, bits, xmlsec.constants.KeyDataTypeSession)
    return etree.tostring(context.encrypt_binary(etree.fromstring(template), content))


def decrypt_by_xmlsec(document: bytes, receiver: Receiver) -> bytes:
    """Return the content of an EncryptedData without Type."""
    return xmlsec.EncryptionContext(make_manager(receiver)).decrypt(etree.fromstring(document))


def run_openssl_cms(arguments: list[str], content: bytes, receiver: Receiver, folder: Path) -> bytes:
    """Return what `openssl cms` writes; the receiver's key and certificate lie beside it."""
    (folder / "key.pem").write_bytes(receiver.pem)
    (folder / "cert.pem").write_bytes(receiver.certificate.pem)
    done = subprocess.run(
        ["openssl", "cms", "-binary", *arguments], cwd=folder, input=content, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout
