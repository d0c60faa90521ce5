"""A broker's side of an agreement: what it sends by which P-Mode, where it listens, whom it believes."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from pathlib import Path

from gateway.agreements import PMode, PModeIndex, read_pmodes
from gateway.conformance.partners.partner_identity import (
    PartnerIdentity,
    get_current_time,
    read_file,
    read_identity,
)
from gateway.errors import PMODE_UNKNOWN, SETTINGS_WRONG, GatewayError
from gateway.message_model import PartyId
from gateway.protocols import ProtocolContext

__all__ = ["HUB", "Membership", "read_membership"]

#: How this side calls the two parties; the names are its own and go nowhere.
HUB = "hub"
US = "us"
_APPLICANT = "Applicant"
_SUBMIT = "Submit"


@dataclass(frozen=True, slots=True)
class Membership:
    """Who we are, what was agreed with the hub, and which of its two parties we are."""

    identity: PartnerIdentity
    book: PModeIndex
    ours: frozenset[PartyId]
    theirs: frozenset[PartyId]

    @property
    def listening_endpoint(self) -> str | None:
        """Return the URL at which the agreement says that we listen."""
        urls = (one.endpoint for one in self.book.pmodes if one.to_party[0] in self.ours)
        back = (one.reply_endpoint for one in self.book.pmodes if one.from_party[0] in self.ours)
        return next((url for url in (*urls, *back) if url), None)

    def get_outgoing_pmode(self, action: str) -> PMode:
        """Return the P-Mode by which we send `action`; raises GW303."""
        at = get_current_time()
        for pmode in self.book.pmodes:
            if pmode.from_party[0] in self.ours and pmode.action == action and pmode.is_in_force(at):
                return pmode
        raise GatewayError(PMODE_UNKNOWN, f"no P-Mode in force lets us send {action[:40]!r}", "agreement")

    def build_context(self) -> ProtocolContext:
        """Return what a protocol may ask of the world, as of now."""
        host = f"{self.identity.name}.broker.invalid"
        return ProtocolContext(
            agreements=self.book,
            validate_certificate=self.identity.judge,
            keys={US: self.identity.signer},
            now=get_current_time(),
            make_message_id=lambda: f"{uuid.uuid4()}@{host}",
            find_certificate_party=self._find_certificate_party,
            find_party_name=self._find_party_by_id,
        )

    def _find_certificate_party(self, sha256: str) -> str | None:
        if self.identity.is_hub_certificate(sha256):
            return HUB
        return US if sha256 == self.identity.signer.certificate.sha256 else None

    def _find_party_by_id(self, one: PartyId) -> str | None:
        return US if one in self.ours else HUB if one in self.theirs else None


def read_membership(
    folder: Path,
    name: str,
    agreement: Path | None = None,
    hub: tuple[Path, ...] = (),
    *,
    sends: str = _SUBMIT,
) -> Membership:
    """Read a partner folder: keys, trust and ``agreement.yaml`` (or the file named).

    Ours is the side that `sends` that action, or the one whose role is Applicant.
    """
    identity = read_identity(folder, name, hub)
    path = agreement or folder / "agreement.yaml"
    pmodes = read_pmodes(read_file(path), path.name)
    ours = next((one for one in pmodes if one.action == sends or one.from_role == _APPLICANT), None)
    if ours is None:
        raise GatewayError(
            SETTINGS_WRONG, f"no P-Mode of the agreement lets an applicant send {sends}", path.name
        )
    return Membership(identity, PModeIndex(pmodes), frozenset(ours.from_party), frozenset(ours.to_party))
