"""The suite as a partner of the tested gateway: its key, its agreements, and its trust anchors.

A partner folder has ``suite.key.pem``, ``suite.cert.pem``, ``ca.pem``, ``hub.cert.pem`` and a folder
``agreements`` with one agreement of each kind, ``KIND.yaml`` or a CPA ``KIND.xml``.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from gateway.agreements import PMode, PModeIndex, convert_cpa, is_xml_document, read_cpa, read_pmodes
from gateway.client import Membership, get_current_time, read_file, read_identity
from gateway.errors import MISUSE, GatewayError
from gateway.message_model import PartyId
from gateway.pki import Signer, load_signer
from gateway.protocols import ProtocolContext

#: The kind of agreement that ``--agreement`` names, under which most requirements are played.
MAIN: Final = "main"
#: The kinds of agreements, and the required terms of each.
KINDS: Final[Mapping[str, str]] = {
    "sync": "answers on the connection (mshSignalsOnly), everything signed, acknowledged, no duplicates",
    "async": "the same, with answers by a POST of their own (none)",
    "choice": "acknowledgment, its signature and duplicate elimination per message, unsigned",
    "ended": "as sync, but over",
    "future": "as sync, but not begun",
    "patient": "as sync, with so many repeats that a message outlives a restart",
    "order": "as async, with MessageOrder",
    "response": "as sync, with responseOnly",
    "bundled": "as sync, with signalsAndResponse",
    "encrypted": "as sync, with payloads encrypted by XML Encryption",
    "enveloped": "as sync, with payloads in CMS envelopes (S/MIME)",
    "passing": "between the two parties of the suite; the gateway passes its messages on",
}
_NAME: Final = "suite"
#: The file name of the key of the party behind an intermediary.
BEHIND: Final = "behind"


@dataclass(frozen=True)
class SuiteAgreement:
    """One agreement between the suite and the gateway; `pmodes` are those that the suite may use."""

    kind: str
    pmodes: tuple[PMode, ...]
    membership: Membership

    @property
    def name(self) -> str:
        """Return the CPAId."""
        return self.pmodes[0].agreement

    def get_sending_pmode(self, action: str) -> PMode:
        """Return the P-Mode by which the suite sends an action; raise LookupError where there is none."""
        for pmode in self.pmodes:
            if pmode.from_party[0] in self.membership.own_identifiers and pmode.action == action:
                return pmode
        raise LookupError(f"agreement {self.name} has no action {action} that the suite may send")

    def find_receiving_pmodes(self) -> tuple[PMode, ...]:
        """Return the P-Modes by which the gateway sends."""
        return tuple(pmode for pmode in self.pmodes if pmode.from_party[0] in self.membership.hub_identifiers)

    def is_synchronous(self, action: str) -> bool:
        """Return whether signals about messages of the suite come back on the connection of the suite."""
        return self.get_sending_pmode(action).sync_reply_mode in (
            "mshSignalsOnly",
            "signalsOnly",
            "signalsAndResponse",
        )

    @property
    def endpoint(self) -> str | None:
        """Return where the gateway sends to the suite."""
        return self.membership.listening_endpoint


@dataclass(frozen=True)
class SuiteParty:
    """The suite's identity and its agreements by kind; `folder` is where they were read.

    `behind` is the key of the second party of the suite, to which an intermediary passes messages on.
    """

    folder: Path
    agreements: Mapping[str, SuiteAgreement]
    behind: Signer | None = None

    def make_message_id(self) -> str:
        """Return a new message id."""
        return f"{uuid.uuid4()}@suite.invalid"

    def get_current_time(self) -> datetime:
        """Return the time, to the millisecond."""
        at = get_current_time().astimezone(UTC)
        return at.replace(microsecond=at.microsecond // 1000 * 1000)

    def build_context(self, kind: str) -> ProtocolContext:
        """Return the context of the protocol core, to verify and to answer messages of the gateway."""
        return replace(self.agreements[kind].membership.build_context(), make_message_id=self.make_message_id)


def read_suite_party(folder: Path, agreement: str, action: str) -> SuiteParty:
    """Read a partner folder; `agreement` (a file, a kind, or a CPAId in the folder) is the main one.

    The suite is the party that may send `action`. Raises GW808 for an incomplete folder.
    """
    identity = read_identity(folder, _NAME)
    if not identity.hub_certificates:
        detail = "the folder has no certificate of the gateway, by which its signatures are verified"
        raise GatewayError(MISUSE, detail, str(folder / "hub.cert.pem"))
    agreements = {
        kind: _make_agreement(kind, pmodes, identity, action)
        for kind in KINDS
        if (pmodes := _read_agreement_pmodes(folder, kind))
    }
    main = _find_main_agreement(folder, agreement, agreements)
    if isinstance(main, Path):
        agreements[MAIN] = _make_agreement(MAIN, _read_agreement_file(main), identity, action)
    else:
        agreements[MAIN] = agreements[main]
    return SuiteParty(folder, agreements, _read_second_key(folder))


def _read_second_key(folder: Path) -> Signer | None:
    key, certificate = (folder / f"{BEHIND}.{suffix}.pem" for suffix in ("key", "cert"))
    return load_signer(read_file(key), read_file(certificate)) if key.is_file() else None


def _find_main_agreement(
    folder: Path, agreement: str, agreements: Mapping[str, SuiteAgreement]
) -> str | Path:
    for kind, candidate in agreements.items():
        if agreement in (kind, candidate.name):
            return kind
    for path in (Path(agreement), folder / agreement):
        if path.is_file():
            return path
    available = ", ".join(f"{kind} ({candidate.name})" for kind, candidate in agreements.items()) or "none"
    raise GatewayError(
        MISUSE,
        f"{agreement[:200]!r} is no file and no agreement of {folder}; it has {available}",
        "--agreement",
    )


def _read_agreement_pmodes(folder: Path, kind: str) -> tuple[PMode, ...]:
    for name in (f"{kind}.yaml", f"{kind}.xml"):
        path = folder / "agreements" / name
        if path.is_file():
            return _read_agreement_file(path)
    return ()


def _read_agreement_file(path: Path) -> tuple[PMode, ...]:
    octets = read_file(path)
    if is_xml_document(octets):
        return convert_cpa(read_cpa(octets, path.name))
    return tuple(read_pmodes(octets, path.name))


def _make_agreement(kind: str, pmodes: Sequence[PMode], identity: Any, action: str) -> SuiteAgreement:
    ours = next((pmode for pmode in pmodes if pmode.action == action), None)
    if ours is None:
        raise GatewayError(MISUSE, f"agreement {kind} has no action {action} for the suite to send", kind)
    parties: tuple[frozenset[PartyId], frozenset[PartyId]] = (
        frozenset(ours.from_party),
        frozenset(ours.to_party),
    )
    return SuiteAgreement(kind, tuple(pmodes), Membership(identity, PModeIndex(pmodes), *parties))
