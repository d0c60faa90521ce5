"""A hub and phase4 beside each other, for variants of what a hub writes over AS4."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from gateway.cli.registration import make_certificate_row, register_certificate
from gateway.message_model import PartyId
from gateway.operations.agreement_acts import load_unchecked_agreement
from gateway.pki import encode_key_pem, read_certificate
from gateway.store import deliveries, make_engine, parties, read_transaction, write_transaction
from gateway.wire import serialize_element
from gateway.xmlsec import sign_document
from gateway_conformance.pki import (
    CertificationAuthority,
    issue_certificate,
    make_revocation_list,
)
from tests.flows.craft import reference, without_applications
from tests.kit.agreement_keys import make_agreement_files, make_receiver_files
from tests.kit.gateway import RunningGateway
from tests.kit.house import AS4, PARTY_TYPE, authority, signer_named
from tests.kit.live import LiveHouse
from tests.kit.ports import find_free_port
from tests.kit.story import unsigned
from tests.kit.waiting import until
from tests.system.interop.phase4 import Phase4, make_key_stores

BEGAN = datetime.now(UTC) - timedelta(hours=1)
AGREEMENT = "urn:example:agreement:broker1-hub:as4:2026"
PARTIES = (
    *("--initiator", "broker1", "--initiator-type", PARTY_TYPE, "--initiator-role", "Applicant"),
    *("--responder", "hub", "--responder-type", PARTY_TYPE, "--responder-role", "Hub"),
)
SUBMIT = ("--service", "urn:single-window:services:declaration", "--action", "Submit")
#: Each kind of key of a hub, with what phase4 calls its signatures.
SIGNATURES = {
    "p-256": "ecdsa-sha-256",
    "p-384": "ecdsa-sha-384",
    "p-521": "ecdsa-sha-512",
    "rsa-3072": "rsa-sha-256",
    "ed25519": "eddsa-ed25519",
}


@dataclass(frozen=True)
class VariantKeys:
    """The kind of the keys that sign, of those that decrypt, and phase4's names of how keys are agreed."""

    signing: str
    decryption: str | None = None
    key_agreement: str = "none"
    derivation: str | None = None
    has_key_id: bool = True

    @property
    def has_results(self) -> bool:
        """Return whether the hub can sign the documents that it sends."""
        return self.signing != "ed25519"


def write_agreement(name: str, port: int, *lines: str) -> bytes:
    """Return the agreement of the tests under another name, with phase4 at a port, and with more lines."""
    text = AS4.decode().replace(f"agreement: {AGREEMENT} ", f"agreement: {AGREEMENT}:{name} ")
    assert name in text
    text = text.replace("{id: broker1-", f"{{id: {name}-").replace("id: broker1-", f"id: {name}-")
    text = text.replace("http://127.0.0.1:8901/msh/as4", f"http://127.0.0.1:{port}/as4")
    # phase4 takes no RefToMessageId but in an exchange of its own.
    text = re.sub(r"action: (Result|Notice)}", r"action: \1, mep: one-way}", text)
    return "\n".join([*lines, text]).encode()


@dataclass(frozen=True)
class Exchange:
    """Whether phase4 verified the receipt of a submission, and what it said of it.

    `result` is the state of the delivery of the Result, None where the hub can send none.
    """

    is_verified: bool
    errors: list[Any]
    result: str | None


READ = Exchange(is_verified=True, errors=[], result="DELIVERED")


class VariantScene:
    """A hub that signs by one kind of key, its partner phase4, and an agreement for each variant."""

    def __init__(
        self,
        folder: Path,
        database_url: str,
        program: Path,
        keys: VariantKeys,
        issuer: CertificationAuthority | None = None,
    ) -> None:
        self.folder, self.keys, self.port = folder, keys, find_free_port()
        settings = "[delivery]\npoll = '50ms'\n"
        if keys.decryption is not None:
            settings += "[decryption.live]\nkey = { file = 'pki/secret.key.pem' }\n"
            settings += "certificate = 'pki/secret.cert.pem'\n"
        self.live = LiveHouse(folder, database_url, write_agreement("first", self.port), settings)
        self.url = self.live.url.replace("/msh/ebms2", "/msh/as4")
        self.engine = make_engine(database_url)
        self.sending: list[str | Path] = []
        self.serving = ["--encrypt", "no"]
        hub = signer_named("hub", keys.signing)
        if issuer is not None:
            hub = issue_certificate(issuer, "CN=hub", BEGAN).signer
            self._trust(issuer)
        self._write_key("hub", encode_key_pem(hub.key), hub.certificate.pem)
        broker = signer_named("broker1", keys.signing)
        with write_transaction(self.engine) as conn:
            parties.add_identifier(conn, "broker1", PartyId("6N001", "urn:example:customs-id"))
            for party, signer in (("hub", hub), ("broker1", broker)):
                if signer != signer_named(party):
                    register_certificate(conn, party, signer.certificate.der, datetime.now(UTC))
        (folder / "keys").mkdir()
        issuers = () if issuer is None else (issuer.certificate,)
        stores = make_key_stores(folder / "keys", keys.signing, [hub.certificate, *issuers])
        self.peer = Phase4(program, stores, SIGNATURES[keys.signing])
        if keys.decryption is not None:
            self._make_secret_keys(keys, keys.decryption)

    def _trust(self, issuer: CertificationAuthority) -> None:
        """Let the hub trust another authority, too."""
        pki = self.live.home / "pki"
        revocation_list = x509.load_der_x509_crl(
            make_revocation_list(issuer, [], BEGAN, BEGAN + timedelta(days=9))
        )
        for name, pem in (
            ("ca.pem", issuer.certificate.pem),
            ("crl.pem", revocation_list.public_bytes(Encoding.PEM)),
        ):
            (pki / name).write_bytes((pki / name).read_bytes() + pem)

    def _write_key(self, name: str, key_pem: bytes, certificate_pem: bytes) -> None:
        (self.live.home / "pki" / f"{name}.key.pem").write_bytes(key_pem)
        (self.live.home / "pki" / f"{name}.cert.pem").write_bytes(certificate_pem)

    def _make_secret_keys(self, keys: VariantKeys, kind: str) -> None:
        """Give the hub and phase4 a key each that decrypts, and register the certificate of phase4."""
        self._write_key("secret", *make_receiver_files(authority(), "hub decrypts", BEGAN, kind))
        key, certificate = make_receiver_files(authority(), "broker1 decrypts", BEGAN, kind)
        if not keys.has_key_id:
            key, certificate = make_agreement_files(
                authority(), "broker1 decrypts", BEGAN, kind, has_key_id=False
            )
        pem, store = self.folder / "crypt.pem", self.folder / "crypt.p12"
        pem.write_bytes(key + certificate + authority().certificate.pem)
        command = ["openssl", "pkcs12", "-export", "-in", pem, "-out", store, "-name", "broker1-crypt"]
        subprocess.run([*command, "-passout", "pass:secret"], check=True, capture_output=True)
        with write_transaction(self.engine) as conn:
            row = make_certificate_row(read_certificate(certificate), "encryption")
            parties.add_certificate(conn, "broker1", row, datetime.now(UTC))
        hub_certificate = self.live.home / "pki" / "secret.cert.pem"
        self.sending += ["--encrypt", "yes", "--key-agreement", keys.key_agreement, "--crypt-key-id", "ski"]
        self.sending += ["--peer-cert", hub_certificate]
        if keys.derivation is not None:
            self.sending += ["--key-derivation", keys.derivation]
        own = ["--crypt-alias", "broker1-crypt", "--crypt-keystore", str(store)]
        self.serving = ["--encrypt", "yes", "--key-agreement", keys.key_agreement, *own]

    @contextmanager
    def run(self) -> Iterator[None]:
        """Run the hub and phase4, each a process of its own."""
        with (
            RunningGateway(self.live.home, "both"),
            self.peer.serve(self.folder, self.port, *self.serving) as self.inbox,
        ):
            yield
        self.engine.dispose()

    def agree(self, name: str, *lines: str, changes: dict[str, str] | None = None) -> None:
        """Load an agreement of a name with more lines and some texts changed."""
        text = write_agreement(name, self.port, *lines).decode()
        for old, new in (changes or {}).items():
            assert old in text
            text = text.replace(old, new)
        with write_transaction(self.engine) as conn:
            load_unchecked_agreement(conn, text.encode(), "agreement.yaml", datetime.now(UTC))

    def file_submission(self, name: str) -> dict[str, Any]:
        """Let phase4 file a submission under the agreement of a name; return its report of the receipt."""
        root = unsigned()
        without_applications(root)
        reference(f"V-{name}")(root)
        path = self.folder / f"{name}.xml"
        signed = sign_document(root, signer_named("broker1"), now=datetime.now(UTC))
        path.write_bytes(serialize_element(signed))
        return self.send(name, *SUBMIT, "--payload", path, "--mime", "application/xml")

    def send(self, name: str, *words: str | Path) -> dict[str, Any]:
        """Let phase4 send a message under the agreement of a name; return its report of the receipt."""
        agreed = ("--agreement", f"{AGREEMENT}:{name}", *PARTIES, *self.sending, "--compress", "yes")
        return self.peer.send(self.url, *agreed, *words)

    def exchange(self, name: str) -> Exchange:
        """Let phase4 file a submission under an agreement; return how it took the receipt and the Result."""
        with read_transaction(self.engine) as conn:
            earlier_ids = {row.id for row in deliveries.list_deliveries(conn, agent="msh")}
        report = self.file_submission(name)

        def find_new_delivery() -> Any:
            with read_transaction(self.engine) as conn:
                rows = deliveries.list_deliveries(conn, agent="msh")
            return next((row for row in rows if row.id not in earlier_ids and is_tried(row)), None)

        if not self.keys.has_results:
            return Exchange(report["receipt_verified"], report["errors"], None)
        delivery = until(find_new_delivery, every=0.1, problem=lambda: report)
        return Exchange(report["receipt_verified"], report["errors"], delivery.state)


def is_tried(row: Any) -> bool:
    """Return whether a message was posted to phase4, and answered."""
    return row.state in ("DELIVERED", "FAILED") or row.problem is not None
