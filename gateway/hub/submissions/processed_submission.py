"""A submission at three moments: stored, divided into applications that are ready to send, and whole.

Its case keeps the mappings that it is decided by: a later version of the program reads the case by them.
The mappings that operators load are stored already. The shipped ones are stored by the first case that they
decide, in the transaction of this case. They are packed before it, once in a process.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from lxml import etree
from sqlalchemy import Connection

from gateway.cases import (
    Application,
    DeclaredRelease,
    DeclaredUses,
    NumberOrigin,
    ReleasableItem,
    ReportedProblem,
    Submission,
)
from gateway.harmonize import AgencyRequest, UnitTable
from gateway.hub.amendments.former_items import AmendedItems
from gateway.hub.hub import Hub
from gateway.hub.register.trusted_register import RegisterSnapshot
from gateway.hub.submissions.document_needs import NO_NEEDS, NeedsAssessment
from gateway.hub.trust.message_senders import SignerAdmission
from gateway.message_model import Payload
from gateway.store import (
    CaseRow,
    MessageRow,
    RequestWithFeesRow,
    find_number_shift,
    mapping_bundles,
)


@dataclass(frozen=True, slots=True)
class StoredSubmission:
    """A stored business message with its payloads, and the register snapshot to process it by."""

    message_row: MessageRow
    payloads: tuple[Payload, ...]
    register_snapshot: RegisterSnapshot

    @property
    def origin(self) -> NumberOrigin:
        """The serial and the year of which the numbers of its case and applications are made.

        After a restore of the database the row of a message may be one that was used before: its
        generation moves the serial on.
        """
        message: int = self.message_row.id
        serial = message + find_number_shift(self.register_snapshot.generations, message)
        return NumberOrigin(serial, self.message_row.received_at.year)


@dataclass(frozen=True, slots=True)
class PreparedApplication:
    """One application that is ready to send: its request document, its number, the laws to decide under."""

    application: Application
    application_number: str
    request: AgencyRequest
    laws: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PreparedRelease:
    """The release that a child declares, and its parent's goods; `message` has the parent's declaration."""

    declared_release: DeclaredRelease
    parent_case_id: int
    parent_message_row_id: int
    releasable_items: tuple[ReleasableItem, ...]


@dataclass(frozen=True, slots=True)
class ProcessedSubmission:
    """A submission that may open, supplement or withdraw a case; `bundle` is the digest of the mappings.

    `root` has the unique fields of an amendment; those of another one are spent for its requests.
    """

    #: The stored message that has brought it.
    message: MessageRow
    submission: Submission
    declarant: str
    signer_admission: SignerAdmission
    case_number: str
    bundle_digest: str
    prepared_applications: tuple[PreparedApplication, ...]
    attachments: Mapping[str, Payload]
    root: etree._Element = field(repr=False)
    warnings: tuple[ReportedProblem, ...] = ()
    needs: NeedsAssessment = NO_NEEDS
    declared_uses: DeclaredUses = field(default_factory=DeclaredUses)
    units: UnitTable = field(default_factory=UnitTable)
    #: The items that a child declaration takes from its parent case.
    release: PreparedRelease | None = None
    #: Whether the case of this supplement or amendment is held, so that no agency has an application of it.
    is_held: bool = False
    #: The changes of an amendment, or of a submission for a held case, in the declaration of the case.
    amended_items: AmendedItems | None = None
    #: The numbers of the applications that an amendment adds.
    new_application_numbers: frozenset[str] = frozenset()


#: Where the row of a case has the digest of the mappings that decided about its submission.
BUNDLE_KEY: Final = "bundle"


@dataclass(frozen=True, slots=True)
class PreparedBundle:
    """The mappings of a case; `packed_files` are their packed files where these are not stored yet."""

    digest: str | None
    packed_files: bytes | None = None

    def store_files(self, conn: Connection, at: datetime) -> None:
        """Store the files unless they are stored already.

        Call it first in a transaction: it may wait for another process that stores the same files.
        """
        if self.digest is not None and self.packed_files is not None:
            mapping_bundles.store_bundle(conn, self.digest, self.packed_files, at)

    def describe_for_case(self) -> dict[str, str]:
        """Return the values that the row of the case keeps; empty if no mappings were applied."""
        return {} if self.digest is None else {BUNDLE_KEY: self.digest}


def prepare_bundle(hub: Hub, digest: str | None) -> PreparedBundle:
    """Return the mappings that a case pins; `digest` is None where none were applied."""
    return PreparedBundle(digest, None if digest is None else hub.register.find_unstored_bundle(digest))


def find_case_bundle(case: CaseRow, requests: Iterable[RequestWithFeesRow]) -> str | None:
    """Return the digest of the mappings that decided about the submission of a case.

    `requests` are its requests, which alone name them where the case is an old one. None for a case that
    was refused before any mappings were applied.
    """
    digest = next((row.mapping_sha256 for row in requests), None) or (case.detail or {}).get(BUNDLE_KEY)
    return str(digest) if digest else None
