"""A hub of fixed keys on a database of its own: who files, one agency, and one case that waits for it."""

from __future__ import annotations

import atexit
import itertools
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from sqlalchemy import Connection, Engine, text

from gateway.cases import read_status_codes
from gateway.cli.registration import register_certificate
from gateway.hub import ActiveNeeds, Hub, RejectingComposer
from gateway.hub.hub import HubResources
from gateway.hub.register.active_rules import (
    ActiveRules,
)
from gateway.hub.register.decision_rules import (
    DecisionRules,
)
from gateway.hub.register.trusted_register import (
    TrustedRegister,
)
from gateway.message_model import PartyId
from gateway.operations import load_unchecked_agreement
from gateway.share import get_data_folder
from gateway.store import (
    NewAgencyRequest,
    NewCase,
    NewFee,
    NewMessage,
    StateEvent,
    agency_requests,
    cases,
    fees,
    make_engine,
    messages,
    migrate_schema,
    parties,
    payloads,
    read_transaction,
    write_transaction,
)
from tests.fuzz import samples
from tests.fuzz.identities import NOW, crl, judge, signer
from tests.kit.house import AGREEMENT, AS4, PARTY_TYPE

__all__ = ["APPLICATION", "CASE", "FEE", "Whole", "levy_fee", "whole"]

APPLICATION = "A-1"
CASE = "2026-0000001"
FEE = f"{APPLICATION}-F01"
_PARTIES = (("hub", "hub"), ("broker1", "applicant"), ("agency", "agency"), ("customs", "customs"))


@dataclass(frozen=True)
class Whole:
    """A hub, its database, and a copy of the database as it was in the beginning."""

    hub: Hub
    engine: Engine
    file: Path
    copy: Path

    @contextmanager
    def undone(self) -> Iterator[None]:
        """Put the database back as it was before the block is run."""
        self.engine.dispose()
        for path in self.file.parent.glob(f"{self.file.name}-*"):
            path.unlink()
        shutil.copyfile(self.copy, self.file)
        yield

    def known(self) -> list[object]:
        """Return how the case stands, and how many decisions are kept."""
        with read_transaction(self.engine) as conn:
            rows = [*conn.execute(text("SELECT state, outcome FROM cases")).all()]
            rows += conn.execute(text("SELECT state, decision FROM agency_requests")).all()
            rows += conn.execute(text("SELECT count(*) FROM decisions")).all()
        return [tuple(row) for row in rows]

    def read(self, question: str) -> list[tuple[object, ...]]:
        """Return the rows of a question to the database."""
        with read_transaction(self.engine) as conn:
            return [tuple(row) for row in conn.execute(text(question)).all()]


@cache
def whole() -> Whole:
    """Make the hub; its files lie in memory where the machine allows it, and go with the process."""
    quick = "/dev/shm" if Path("/dev/shm").is_dir() else None
    place = Path(tempfile.mkdtemp(prefix="gateway-fuzz-", dir=quick))
    atexit.register(shutil.rmtree, place, True)
    file = place / "hub.sqlite3"
    engine = make_engine(f"sqlite:///{file}")
    migrate_schema(engine)
    _register(engine)
    engine.dispose()  # the last connection writes the log of SQLite back: one file to copy
    shutil.copyfile(file, place / "beginning")
    numbers = itertools.count(1)
    world = HubResources(
        engine, lambda: NOW, lambda: str(uuid.UUID(int=next(numbers))), "hub.example", RejectingComposer()
    )
    table = (
        get_data_folder("mappings")
        .joinpath("codelists", "requirement-status.csv")
        .read_text(encoding="utf-8")
    )
    rules = DecisionRules(
        samples.bundle(),
        read_status_codes(table),
        ActiveNeeds(get_data_folder("mappings"), samples.bundle()),
    )
    hub = Hub(
        world, "hub", signer("hub"), TrustedRegister(engine, judge(), ActiveRules(rules), crls=(crl(),))
    )
    return Whole(hub, engine, file, place / "beginning")


def _register(engine: Engine) -> None:
    with write_transaction(engine) as conn:
        for party, role in _PARTIES:
            ids = [] if role in ("agency", "customs") else [PartyId(party, PARTY_TYPE)]
            parties.register_party(conn, party, party.title(), role, NOW, ids)
            register_certificate(conn, party, signer(party).certificate.der, NOW)
        load_unchecked_agreement(conn, AGREEMENT, "agreement", NOW)
        load_unchecked_agreement(conn, AS4, "as4", NOW)
        first = NewMessage(
            message_id="first@broker.example",
            protocol="ebms2",
            kind="UserMessage",
            conversation_id="c-1",
            from_party="broker1",
            to_party="hub",
            service="s",
            action="Submit",
            identity_sha256="0" * 64,
            parcel_headers={},
            parcel=b"<nothing/>",
            payloads=(),
        )
        message = messages.accept_message(conn, first, None, NOW).id
        items = {"items": [1, 2]}
        opened = NewCase(CASE, "Submission", "9", "broker1", "broker1", "R-1", message, detail=items)
        case = cases.open_case(conn, opened, NOW).id
        cases.apply_event(conn, case, StateEvent("dispatch", NOW, "test"))
        digest = payloads.store_payload(conn, b"<nothing/>", NOW)
        required = ((1, "01"), (2, "70"))
        asked = NewAgencyRequest(
            case, APPLICATION, "A1", "agency", "D", 1, "D", "1", digest, digest, required
        )
        agency_requests.insert_request(conn, asked)


def levy_fee(conn: Connection) -> None:
    """Store a fee of 12.50 EUR of the application."""
    row = agency_requests.find_by_number(conn, APPLICATION)
    assert row is not None
    new = NewFee(
        FEE, row.id, row.case_id, "agency", "general", "result", "12.50", "EUR", None, "", False, NOW
    )
    fees.insert_fee(conn, new)
