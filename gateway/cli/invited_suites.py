"""What the suites have in common when they become parties of a home, or of a gateway of another make."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from sqlalchemy import Connection, Engine

from gateway.config import Settings
from gateway.conformance.standard import InvitedGateway
from gateway.errors import MISUSE, GatewayError
from gateway.hub import build_engine, get_current_time
from gateway.message_model import PartyId
from gateway.operations import Act, DatabaseChange
from gateway.pki import Certificate, CertificationAuthority, load_authority, make_authority, read_certificates
from gateway.store import parties, read_transaction, write_transaction

__all__ = ["HubCertificates", "InvitedSuite"]


class _Invitation(Protocol):
    @property
    def files(self) -> Mapping[str, bytes]: ...

    def write_files(self, out: Path) -> None: ...


_Made = TypeVar("_Made", bound=_Invitation)


@dataclass(frozen=True, slots=True)
class HubCertificates:
    """The certificates of a hub: those with which it signs, and that for which payloads are encrypted."""

    signing: Sequence[Certificate]
    receiver: Certificate | None


@dataclass(frozen=True, slots=True)
class InvitedSuite(Generic[_Made]):
    """A suite: its protocol, how it is invited, and how it is registered.

    `own_profile` is what this product declares about itself, `plain_profile` what can be said of a
    gateway about which nothing is known; both are texts for the partner folder. `register` stores the
    suite in a home and returns what the audit says of it. With `believes_receiver` the certificate for
    which payloads are encrypted is trusted beside the others of a gateway of another make.
    """

    protocol: str
    subject: str
    own_profile: str
    plain_profile: str
    make: Callable[[CertificationAuthority, InvitedGateway, str, datetime], _Made]
    register: Callable[[Connection, _Made, datetime], Mapping[str, Any]]
    believes_receiver: bool

    def invite_to_home(
        self, settings: Settings, out: Path, callback: str, certificates: HubCertificates, act: Act
    ) -> Iterable[str]:
        """Register the suite and its agreements in a sandbox home, and write its partner folder.

        `certificates` are those of the home's hub. A second call issues another certificate and
        leaves the agreements. Returns the names of the files.
        """
        at = get_current_time()
        authority = load_authority(settings.home_folder / "pki")
        engine = build_engine(settings)
        try:
            ids = _find_hub_ids(engine, settings)
            url = f"http://127.0.0.1:{settings.http.port}/msh/{self.protocol}"
            gateway = InvitedGateway(certificates.signing, ids, url, certificates.receiver)
            made = self.make(authority, gateway, callback, at)
            made.write_files(out)
            _write_profile(out, self.own_profile)
            with write_transaction(engine, "conformance.invite") as conn:
                after = self.register(conn, made, at)
                DatabaseChange(conn, settings, act, at).record_trust_change(self.subject, after=after)
        finally:
            engine.dispose()
        return made.files

    def invite_to_foreign(
        self, out: Path, gateway: tuple[Path, PartyId, str], callback: str, receiver: Path | None = None
    ) -> Iterable[str]:
        """Write a partner folder for a gateway of another make: its certificate, its party id, its URL.

        `receiver` is a file with the certificate for which its payloads are encrypted, if it decrypts.
        The folder gets an authority of its own; what the other gateway must load is in the folder and
        in ``ca.pem``. Returns the names of the files.
        """
        certificate, party, url = gateway
        found = _read_certificate_file(certificate, "--certificate")
        secret = None
        if receiver is not None:
            secret = _read_certificate_file(receiver, "--encryption-certificate")[0]
        at = get_current_time()
        authority = make_authority("CN=Conformance suite CA", at - timedelta(days=2))
        made = self.make(authority, InvitedGateway(found, [party], url, secret), callback, at)
        made.write_files(out)
        # The gateway's certificates are believed as they are.
        known = (*found, secret) if secret is not None and self.believes_receiver else found
        (out / "ca.pem").write_bytes(authority.certificate.pem + b"".join(one.pem for one in known))
        _write_profile(out, self.plain_profile)
        return made.files


def _find_hub_ids(engine: Engine, settings: Settings) -> Sequence[PartyId]:
    """Return the identifiers of the hub's own party; raise GW808 where it has none."""
    with read_transaction(engine) as conn:
        ids = parties.list_identifiers(conn, settings.hub.party)
    if not ids:
        own = settings.hub.party
        told = f"{own} has no party id: `gateway party add {own} --role hub --id …`"
        raise GatewayError(MISUSE, told, "hub.party")
    return ids


def _read_certificate_file(path: Path, option: str) -> tuple[Certificate, ...]:
    """Return the certificates in a file; raise GW808 that names the option when it cannot be read."""
    try:
        return tuple(read_certificates(path.read_bytes()))
    except OSError as error:
        raise GatewayError(MISUSE, f"{path} cannot be read: {error.strerror}", option) from None


def _write_profile(out: Path, text: str) -> None:
    """Write the profile of a tested gateway into a partner folder that has none."""
    path = out / "profile.yaml"
    if not path.exists():
        path.write_text(text, encoding="utf-8")
