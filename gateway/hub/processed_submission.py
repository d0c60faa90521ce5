"""A submission at three moments: stored, divided into applications that are ready to send, and whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lxml import etree
from sqlalchemy import Row

from gateway.cases import (
    Application,
    ClaimedRequirements,
    ReleasableItem,
    ReleaseClaim,
    ReportedProblem,
    Submission,
)
from gateway.harmonize import AgencyRequest, UnitTable
from gateway.hub.amended_places import AmendedItems
from gateway.hub.document_needs import NO_NEEDS, WeighedNeeds
from gateway.hub.register import RegisterSnapshot
from gateway.hub.trust import SignerAdmission
from gateway.message_model import Payload

__all__ = ["PreparedApplication", "PreparedRelease", "ProcessedSubmission", "StoredSubmission"]


@dataclass(frozen=True, slots=True)
class StoredSubmission:
    """A stored business message with its payloads, and the register snapshot to process it by."""

    row: Row[Any]
    payloads: tuple[Payload, ...]
    knowledge: RegisterSnapshot


@dataclass(frozen=True, slots=True)
class PreparedApplication:
    """One application that is ready to send: its request document, its number, the laws to decide under."""

    application: Application
    number: str
    request: AgencyRequest
    laws: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PreparedRelease:
    """A child's claim with what its parent declared; `message` has that declaration."""

    claim: ReleaseClaim
    parent: int
    message: int
    goods: tuple[ReleasableItem, ...]


@dataclass(frozen=True, slots=True)
class ProcessedSubmission:
    """A submission that may open, supplement or withdraw a case; `bundle` is the digest of the mappings.

    `root` has the unique fields of an amendment; those of another one are spent for its requests.
    """

    submission: Submission
    declarant: str
    signing: SignerAdmission
    case_number: str
    bundle: str
    prepared: tuple[PreparedApplication, ...]
    attachments: Mapping[str, Payload]
    root: etree._Element = field(repr=False)
    warnings: tuple[ReportedProblem, ...] = ()
    needs: WeighedNeeds = NO_NEEDS
    requirements: ClaimedRequirements = field(default_factory=ClaimedRequirements)
    units: UnitTable = field(default_factory=UnitTable)
    #: What a child declaration takes of its parent case.
    release: PreparedRelease | None = None
    #: Whether the case of this supplement or amendment is held, so that nobody has heard of it.
    held: bool = False
    #: What an amendment, or what is filed for a held case, changes in the declaration of the case.
    amended: AmendedItems | None = None
    #: The numbers of the applications that an amendment adds.
    new: frozenset[str] = frozenset()
