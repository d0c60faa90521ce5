"""The path from a stored submission to a case with its calls, beside its floor."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from lxml import etree
from sqlalchemy import Connection, Engine, Row

from gateway.delivery import build_partners
from gateway.delivery.partner_directory import PartnerDirectory
from gateway.hub import Hub, RejectingComposer, admit_submission, build_hub
from gateway.message_model import Payload
from gateway.store import cases, deliveries, messages, payloads, read_transaction
from gateway.wire import DS, SUB, SUBMISSION, load_shipped_schemas, prescan_xml, serialize_element
from gateway.xmlsec import sign_document
from gateway_conformance import DATA_FOLDER
from tests.load.durable import DurableFile
from tests.load.place import Broker, Place
from tests.load.receiving import hub_takes
from tests.load.stopwatch import Laps, by_turns, say

_SAMPLES = DATA_FOLDER.joinpath("samples")
LABEL = Payload("korean-label@sample", "application/pdf", _SAMPLES.joinpath("korean-label.pdf").read_bytes())
_PKCS1 = padding.PKCS1v15()
_SHA256 = hashes.SHA256()
_WARM_UP = 5


def submission(broker: Broker, number: int) -> bytes:
    """Return the sample submission under a reference of its own, signed by the broker."""
    root = etree.fromstring(_SAMPLES.joinpath("import-three-items.xml").read_bytes())
    name = f"LOAD-{number:06d}"
    for place in (f"{{{SUB}}}Reference", ".//{*}Declaration/{*}FunctionalReferenceID"):
        found = root.find(place)
        assert found is not None
        found.text = name
    return serialize_element(sign_document(root, broker.signer, now=datetime.now(UTC)))


@dataclass(frozen=True)
class Floor:
    """What nobody can leave out to admit a submission, done bare: nothing is split and nothing worded."""

    public: Any
    file: DurableFile

    def __call__(self, document: bytes, written: Sequence[bytes]) -> None:
        """Pre-scan, parse, judge by the schema, canonicalise, digest, verify; commit what was written."""
        prescan_xml(document)
        root = etree.fromstring(document)
        assert load_shipped_schemas(SUBMISSION).is_valid(root)
        signature = root.find(f"{{{DS}}}Signature")
        assert signature is not None
        signed_info = etree.tostring(signature[0], method="c14n", exclusive=True, with_tail=False)
        value = base64.b64decode(signature.findtext(f"{{{DS}}}SignatureValue") or "")
        root.remove(signature)
        hashlib.sha256(etree.tostring(root, method="c14n")).digest()
        self.public.verify(value, signed_info, _PKCS1, _SHA256)
        self.file.commit(written)


def calling_hub(place: Place) -> Hub:
    """Return a hub that words calls to the partners of the settings."""
    settings = place.settings
    hub = build_hub(settings, RejectingComposer())
    hub.composer = PartnerDirectory(lambda: build_partners(settings), hub.judge, _party_of(hub))
    return hub


def _party_of(hub: Hub) -> Callable[[str], str | None]:
    return lambda sha256: hub.get_snapshot().find_certificate_party(sha256, hub.clock())


def measure(place: Place, submissions: int) -> Mapping[str, Any]:
    """Time floor and admission on alternating submissions; every one must become a case with its calls."""
    say(f"admit: {submissions} submissions beside their floor")
    broker, hub = Broker(place.home), calling_hub(place)
    file = DurableFile(place.home / "admit-floor.sqlite3")
    floor = Floor(broker.signer.certificate.public_key, file)
    bare, ours = Laps(), Laps()
    written: Sequence[bytes] = ()
    for number in range(submissions + _WARM_UP):
        document = submission(broker, number)
        row = _stored(hub, broker, document)
        if number == _WARM_UP:
            written, bare, ours = _written(hub.engine), Laps(), Laps()
        by_turns(
            number,
            partial(bare.time, partial(floor, document, written)),
            partial(ours.time, partial(admit_submission, hub, row, lambda _conn: None)),
        )
    file.close()
    _check(hub.engine, submissions + _WARM_UP)
    hub.close()
    return {
        "admit_floor_ms": bare.wall_ms,
        "admit_ms": ours.wall_ms,
        "admit_floor_cpu_ms": bare.cpu_ms,
        "admit_cpu_ms": ours.cpu_ms,
        "admit_calls_octets": sum(map(len, written)),
    }


def _stored(hub: Hub, broker: Broker, document: bytes) -> int:
    """Hand a submission in as a signed message; return its row."""
    hub_takes(hub, broker.seal("Submit", Payload("submission@load", "application/xml", document), LABEL))
    with read_transaction(hub.engine) as conn:
        return int(messages.list_messages(conn, limit=1)[0].id)


def _written(engine: Engine) -> list[bytes]:
    """Return the calls that the newest case put in the queue."""
    with read_transaction(engine) as conn:
        return [payloads.get_payload_octets(conn, row.payload_sha256) for row in _list_calls(conn)]


def _list_calls(conn: Connection) -> list[Row[Any]]:
    """Return the queued calls of the newest case; a task that only waits for its time has no octets."""
    case = cases.list_cases(conn, limit=1)[0]
    return [row for row in deliveries.list_by_case(conn, case.id) if row.payload_sha256 is not None]


def _check(engine: Engine, number: int) -> None:
    with read_transaction(engine) as conn:
        states = [row.state for row in cases.list_cases(conn, limit=number + 1)]
        calls = len(_list_calls(conn))
    assert states == ["IN_PROGRESS"] * number, set(states)
    assert calls == 5, f"{calls} calls where three agencies and customs twice were expected"
