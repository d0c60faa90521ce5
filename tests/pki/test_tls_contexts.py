"""How we speak TLS, whichever end we are."""

from __future__ import annotations

import codecs
import contextlib
import ssl
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.errors import GatewayError
from gateway.pki import TlsIdentity, encode_key_pem, make_client_context, make_server_context
from gateway_conformance.pki import CertificateOrder, issue_certificate, make_authority


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("transport")
    authority = make_authority("CN=CA", datetime.now(UTC))
    issued = issue_certificate(authority, "CN=x", datetime.now(UTC), CertificateOrder("tls"))
    (folder / "ca.pem").write_bytes(authority.certificate.pem)
    (folder / "cert.pem").write_bytes(issued.certificate.pem)
    (folder / "key.pem").write_bytes(issued.key_pem)
    (folder / "locked.pem").write_bytes(encode_key_pem(issued.key, b"secret"))
    (folder / "other.pem").write_bytes(make_other())
    return folder


def make_other() -> bytes:
    return encode_key_pem(make_authority("CN=Other", datetime.now(UTC)).key)


@pytest.mark.parametrize("listens", [True, False])
def test_old_versions_weak_suites_compression_and_renegotiation_are_off(
    files: Path, *, listens: bool
) -> None:
    identity = TlsIdentity(files / "cert.pem", files / "key.pem")
    context = (
        make_server_context(identity) if listens else make_client_context((files / "cert.pem",), identity)
    )
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.options & ssl.OP_NO_COMPRESSION
    assert context.options & ssl.OP_NO_RENEGOTIATION
    for suite in context.get_ciphers():
        assert suite["name"].startswith(("TLS_", "ECDHE-")), suite
        assert suite["aead"], suite
    assert context.security_level >= 2


def test_whoever_is_called_must_show_a_certificate_for_his_name(files: Path) -> None:
    for context in (make_client_context(), make_client_context((files / "cert.pem",))):
        assert context.verify_mode == ssl.CERT_REQUIRED
        assert context.check_hostname
    assert (
        make_client_context().cert_store_stats()["x509"]
        == ssl.create_default_context().cert_store_stats()["x509"]
    )


@pytest.mark.parametrize("shows", [True, False])
def test_who_calls_shows_the_certificate_that_was_given(files: Path, *, shows: bool) -> None:
    ours = TlsIdentity(files / "cert.pem", files / "key.pem")
    theirs = make_server_context(ours, files / "ca.pem", is_certificate_required=True)
    ends = _connect(make_client_context((files / "ca.pem",), ours if shows else None), theirs)
    if shows:
        shown = _shake_hands(*ends)
        assert shown == ssl.PEM_cert_to_DER_cert((files / "cert.pem").read_text())
        return
    with pytest.raises(ssl.SSLError, match="did not return a certificate"):
        _shake_hands(*ends)


def _connect(caller: ssl.SSLContext, listener: ssl.SSLContext) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """Return both ends of a connection that exists in memory only."""
    caller.check_hostname = False
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    return caller.wrap_bio(back, there), listener.wrap_bio(there, back, server_side=True)


def _shake_hands(caller: ssl.SSLObject, listener: ssl.SSLObject) -> bytes | None:
    """Take both ends through the handshake; return the certificate that the listener was shown."""
    for _ in range(4):
        for end in (caller, listener):
            with contextlib.suppress(ssl.SSLWantReadError):
                end.do_handshake()
    return listener.getpeercert(binary_form=True)


def test_who_listens_asks_for_a_certificate_only_when_told(files: Path) -> None:
    identity = TlsIdentity(files / "cert.pem", files / "key.pem")
    assert make_server_context(identity).verify_mode == ssl.CERT_NONE
    assert make_server_context(identity, files / "cert.pem").verify_mode == ssl.CERT_OPTIONAL
    required = make_server_context(identity, files / "cert.pem", is_certificate_required=True)
    assert required.verify_mode == ssl.CERT_REQUIRED
    assert required.options & ssl.OP_NO_TICKET
    assert required.num_tickets == 0


@pytest.mark.parametrize(
    ("certificate", "key", "password"),
    [
        ("cert.pem", "other.pem", None),
        ("cert.pem", "none.pem", None),
        ("key.pem", "key.pem", None),
        ("cert.pem", "locked.pem", None),
        ("cert.pem", "locked.pem", b"wrong"),
    ],
)
def test_files_that_cannot_be_used(files: Path, certificate: str, key: str, password: bytes | None) -> None:
    with pytest.raises(GatewayError) as caught:
        make_server_context(TlsIdentity(files / certificate, files / key, password))
    assert caught.value.problem.id == "GW803"
    assert certificate in caught.value.detail
    assert key in caught.value.detail


def test_a_key_may_be_locked(files: Path) -> None:
    make_server_context(TlsIdentity(files / "cert.pem", files / "locked.pem", b"secret"))


@pytest.mark.parametrize("marked", ["cert.pem", "key.pem", "ca.pem"])
def test_a_utf8_mark_before_a_file_is_left_out(files: Path, marked: str, tmp_path: Path) -> None:
    for name in ("cert.pem", "key.pem", "ca.pem"):
        mark = codecs.BOM_UTF8 if name == marked else b""
        (tmp_path / name).write_bytes(mark + (files / name).read_bytes())
    identity = TlsIdentity(tmp_path / "cert.pem", tmp_path / "key.pem")
    server = make_server_context(identity, tmp_path / "ca.pem", is_certificate_required=True)
    assert _shake_hands(*_connect(make_client_context((tmp_path / "ca.pem",), identity), server))
