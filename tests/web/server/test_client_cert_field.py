"""The field Client-Cert (RFC 9440) of a proxy: a byte sequence with one certificate, and nothing else."""

from __future__ import annotations

import base64
import hashlib

import pytest

from gateway.errors import REQUEST_MALFORMED
from gateway.web.server.request_head import RequestRejectedError, read_client_certificate
from tests.kit.house import signer_named

DER = signer_named("broker1").certificate.der
TEXT = base64.b64encode(DER).decode()


def test_the_digest_of_the_certificate_is_read() -> None:
    assert read_client_certificate(f":{TEXT}:") == hashlib.sha256(DER).hexdigest()
    assert read_client_certificate(f" :{TEXT}: ") == hashlib.sha256(DER).hexdigest()
    assert read_client_certificate(None) is None


@pytest.mark.parametrize(
    "value",
    [
        "",
        ":",
        "::",
        TEXT,
        f":{TEXT}",
        f":{TEXT[:-8]}:",
        f":{TEXT[:40]} {TEXT[40:]}:",
        f":{TEXT}:, :{TEXT}:",
        ":!!!!:",
        f":{base64.b64encode(DER + b'x').decode()}:",
        f":{base64.urlsafe_b64encode(bytes([255] * 40)).decode()}:",
        '"-----BEGIN CERTIFICATE-----"',
        ":\u00e9:",
    ],
)
def test_anything_else_is_refused(value: str) -> None:
    with pytest.raises(RequestRejectedError) as refused:
        read_client_certificate(value)
    assert refused.value.problem is REQUEST_MALFORMED
    assert (refused.value.status, refused.value.location) == (400, "client-cert")
