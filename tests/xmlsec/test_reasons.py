"""A signature that does not verify: the reason names what is wrong."""

from __future__ import annotations

from datetime import datetime

import pytest

from gateway.errors import GatewayError
from gateway.pki import KeySigner
from gateway.xmlsec import sign_document, verify_document
from tests.xmlsec.sample_messages import document, one, reread


def changed(signer: KeySigner, now: datetime, path: str, text: str) -> str:
    root = document()
    sign_document(root, signer, now=now)
    one(root, path).text = text
    with pytest.raises(GatewayError) as caught:
        verify_document(reread(root))
    assert caught.value.problem.id == "GW202"
    return caught.value.detail


def test_a_wrong_signature_value_is_called_that(signer: KeySigner, now: datetime) -> None:
    detail = changed(signer, now, "//ds:SignatureValue", "AAAA" * 85 + "AAA=")
    assert detail.startswith("the signature value is wrong, so SignedInfo was changed"), detail


def test_changed_content_is_named(signer: KeySigner, now: datetime) -> None:
    root = document()
    sign_document(root, signer, now=now)
    root[0].text = "changed"
    with pytest.raises(GatewayError) as caught:
        verify_document(reread(root))
    assert caught.value.detail == "the digest of the reference to the whole document is wrong"
