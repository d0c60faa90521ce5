"""A home folder for real processes: keys, settings, register and agreement on a real database."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import update

from gateway.pki import encode_key_pem
from gateway.store import make_engine, write_transaction
from tests.kit import tables
from tests.kit.house import AGREEMENT, authority, crl, register_parties, signer_named
from tests.kit.ports import find_free_port
from tests.kit.stores import mark_store


class LiveHouse:
    """Home, address and time of a gateway that runs in processes of its own."""

    def __init__(self, folder: Path, database_url: str, agreement: bytes = AGREEMENT, more: str = "") -> None:
        self.home = folder / "home"
        self.port = find_free_port()
        self.url = f"http://127.0.0.1:{self.port}/msh/ebms2"
        self.now = datetime.now(UTC)
        self.agreement = agreement
        self.database_url = database_url
        self._write_keys()
        (self.home / "gateway.toml").write_text(
            f'[hub]\nhome = "."\n[database]\nurl = "{database_url}"\n[http]\nport = {self.port}\n{more}'
        )
        engine = make_engine(database_url)
        register_parties(engine, datetime.now(UTC), agreement)
        engine.dispose()
        mark_store(self.home)

    def let_leases_end(self) -> None:
        """Let what a killed worker had claimed be claimed again at once."""
        engine = make_engine(self.database_url)
        long_ago = datetime(2020, 1, 1, tzinfo=UTC)
        leased = update(tables.deliveries).where(tables.deliveries.c.state == "ACTIVE")
        with write_transaction(engine) as conn:
            conn.execute(leased.values(lease_until=long_ago))
        engine.dispose()

    def _write_keys(self) -> None:
        pki = self.home / "pki"
        pki.mkdir(parents=True)
        hub = signer_named("hub")
        (pki / "ca.pem").write_bytes(authority().certificate.pem)
        (pki / "crl.pem").write_bytes(x509.load_der_x509_crl(crl()).public_bytes(Encoding.PEM))
        (pki / "hub.cert.pem").write_bytes(hub.certificate.pem)
        (pki / "hub.key.pem").write_bytes(encode_key_pem(hub.key))


__all__ = ["LiveHouse"]
