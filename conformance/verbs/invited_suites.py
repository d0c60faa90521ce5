"""The suites of ebMS 2.0 and AS4 as parties of a home, or of a gateway of another make."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, Generic, Protocol, TypeVar

from sqlalchemy import Connection

from gateway.agreements import ForwardingRule
from gateway.cli.registration import make_certificate_row, register_certificate
from gateway.config import Settings
from gateway.errors import MISUSE, GatewayError
from gateway.hub import build_engine, get_current_time, make_rule_columns
from gateway.message_model import PartyId
from gateway.operations import Act, DatabaseChange, load_unchecked_agreement
from gateway.pki import Certificate, read_certificates
from gateway.store import agreements, parties, write_transaction
from gateway_conformance import DATA_FOLDER
from gateway_conformance.as4 import AS4_PARTY, AS4_PARTY_ID, As4Invitation, make_as4_invitation
from gateway_conformance.pki import CertificationAuthority, load_authority, make_authority
from gateway_conformance.standard import (
    PASSING,
    SECOND_PARTY,
    SECOND_PARTY_ID,
    SUITE_PARTY,
    SUITE_PARTY_ID,
    Invitation,
    InvitedGateway,
    make_invitation,
)


class _Invitation(Protocol):
    @property
    def files(self) -> Mapping[str, bytes]: ...

    def write_files(self, out: Path) -> None: ...


_Invited = TypeVar("_Invited", bound=_Invitation)


@dataclass(frozen=True, slots=True)
class ForeignGateway:
    """A gateway of another make: the file of its certificate, its party id, and its URL."""

    certificate: Path
    party: PartyId
    url: str


@dataclass(frozen=True, slots=True)
class InvitedSuite(Generic[_Invited]):
    """A suite: its protocol, how it is invited, and how it is registered.

    `register` stores the suite in a home and returns the values for the audit log. With `believes_receiver`
    the certificate for which payloads are encrypted is trusted beside the others of a gateway of another
    make.
    """

    protocol: str
    subject: str
    make: Callable[[CertificationAuthority, InvitedGateway, str, datetime], _Invited]
    register: Callable[[Connection, _Invited, datetime], Mapping[str, Any]]
    believes_receiver: bool

    def invite_to_home(
        self, settings: Settings, out: Path, callback: str, gateway: InvitedGateway, act: Act
    ) -> Iterable[str]:
        """Register the suite and its agreements in a sandbox home, and write its partner folder.

        `gateway` is the home's hub. A second call issues another certificate and
        leaves the agreements. Returns the names of the files.
        """
        at = get_current_time()
        authority = load_authority(settings.home_folder / "pki")
        engine = build_engine(settings)
        try:
            invitation = self.make(authority, gateway, callback, at)
            invitation.write_files(out)
            self._write_profile(out, "own-profile.yaml")
            with write_transaction(engine, "conformance.invite") as conn:
                after = self.register(conn, invitation, at)
                DatabaseChange(conn, settings, act, at).record_trust_change(self.subject, after=after)
        finally:
            engine.dispose()
        return invitation.files

    def invite_to_foreign(
        self, out: Path, gateway: ForeignGateway, callback: str, receiver: Path | None = None
    ) -> Iterable[str]:
        """Write a partner folder for a gateway of another make.

        `receiver` is a file with the certificate for which its payloads are encrypted, if it decrypts. The
        folder gets an authority of its own. The other gateway must load files of the folder; one of them is
        ``ca.pem``. Returns the names of the files.
        """
        gateway_certificates = _read_certificate_file(gateway.certificate, "--certificate")
        encryption_certificate = None
        if receiver is not None:
            encryption_certificate = _read_certificate_file(receiver, "--encryption-certificate")[0]
        at = get_current_time()
        authority = make_authority("CN=Conformance suite CA", at - timedelta(days=2))
        invited = InvitedGateway(gateway_certificates, [gateway.party], gateway.url, encryption_certificate)
        invitation = self.make(authority, invited, callback, at)
        invitation.write_files(out)
        # The gateway's certificates are believed as they are.
        trusted = (
            (*gateway_certificates, encryption_certificate)
            if encryption_certificate is not None and self.believes_receiver
            else gateway_certificates
        )
        (out / "ca.pem").write_bytes(authority.certificate.pem + b"".join(anchor.pem for anchor in trusted))
        self._write_profile(out, "plain-profile.yaml")
        return invitation.files

    def _write_profile(self, out: Path, name: str) -> None:
        """Write the profile of a tested gateway into a partner folder that has none.

        ``own-profile.yaml`` has the declarations of this product, ``plain-profile.yaml`` those that fit a
        gateway of which no feature is known.
        """
        path = out / "profile.yaml"
        if not path.exists():
            path.write_bytes(DATA_FOLDER.joinpath("suites", self.protocol, name).read_bytes())


def _read_certificate_file(path: Path, option: str) -> tuple[Certificate, ...]:
    """Return the certificates in a file; raise GW808 that names the option when it cannot be read."""
    try:
        return tuple(read_certificates(path.read_bytes()))
    except OSError as error:
        raise GatewayError(MISUSE, f"{path} cannot be read: {error.strerror}", option) from None


def _register_keys(
    conn: Connection, party: str, invitation: Invitation | As4Invitation, at: datetime
) -> None:
    """Register both certificates of a suite for its party, and load its agreements with the hub."""
    register_certificate(conn, party, invitation.issued.certificate.der, at)
    row = make_certificate_row(invitation.decryption.certificate, "encryption")
    parties.add_certificate(conn, party, row, at)
    for kind, text in invitation.agreements.items():
        if kind != PASSING:
            load_unchecked_agreement(conn, text, f"{kind}.yaml", at)


def _register_standard_suite(conn: Connection, invitation: Invitation, at: datetime) -> Mapping[str, Any]:
    """Store the two parties of the suite; return the values for the audit log."""
    parties.register_party(conn, SUITE_PARTY, "ebMS 2.0 suite", "applicant", at, [SUITE_PARTY_ID])
    _register_keys(conn, SUITE_PARTY, invitation, at)
    _register_second_party(conn, invitation, at)
    digests = [
        issued.certificate.sha256 for issued in (invitation.issued, invitation.decryption, invitation.second)
    ]
    return {"parties": [SUITE_PARTY, SECOND_PARTY], "certificates": digests}


def _register_second_party(conn: Connection, invitation: Invitation, at: datetime) -> None:
    """Register the party behind the hub, and the routes by which messages go there and come back."""
    parties.register_party(conn, SECOND_PARTY, "ebMS 2.0 suite, behind", "applicant", at, [SECOND_PARTY_ID])
    register_certificate(conn, SECOND_PARTY, invitation.second.certificate.der, at)
    for receiver_id, party, path, sender in (
        (SECOND_PARTY_ID, SECOND_PARTY, "behind", SUITE_PARTY),
        (SUITE_PARTY_ID, SUITE_PARTY, PASSING, SECOND_PARTY),
    ):
        rule = ForwardingRule(
            receiver_id, party, f"{invitation.callback}/suite/{path}", (sender,), retries=1, retry_interval=2
        )
        agreements.insert_forwarding_rule(conn, make_rule_columns(rule), at)


_STANDARD_SUITE: Final = InvitedSuite(
    protocol="ebms2",
    subject="party of the ebMS 2.0 suite",
    make=make_invitation,
    register=_register_standard_suite,
    # The certificate in the agreements is believed: it is the signing one.
    believes_receiver=False,
)


def _invite_by_first_id(
    authority: CertificationAuthority, gateway: InvitedGateway, callback: str, at: datetime
) -> As4Invitation:
    """Return the invitation of a gateway by its first party id: a message of AS4 names one."""
    return make_as4_invitation(authority, replace(gateway, ids=gateway.ids[:1]), callback, at)


def _register_as4_suite(conn: Connection, invitation: As4Invitation, at: datetime) -> Mapping[str, Any]:
    """Store the party of the suite; return the values for the audit log."""
    parties.register_party(conn, AS4_PARTY, "AS4 suite", "applicant", at, [AS4_PARTY_ID])
    _register_keys(conn, AS4_PARTY, invitation, at)
    return {"parties": [AS4_PARTY], "certificates": list(invitation.digests)}


_AS4_SUITE: Final = InvitedSuite(
    protocol="as4",
    subject="party of the AS4 suite",
    make=_invite_by_first_id,
    register=_register_as4_suite,
    believes_receiver=True,
)

#: The suites by their names in the verb.
INVITED_SUITES: Final[Mapping[str, InvitedSuite[Any]]] = {
    suite.protocol: suite for suite in (_STANDARD_SUITE, _AS4_SUITE)
}
