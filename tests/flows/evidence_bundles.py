"""Bundles of the evidence of cases of several kinds, and what the gateway's own readers think of one."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from gateway.cases import SignedReply
from gateway.cli.commands.verify import make_context
from gateway.errors import GatewayError
from gateway.evidence import (
    OPERATOR,
    EvidenceReader,
    TimeStampAuthorities,
    tree_heads,
    verify_proof,
)
from gateway.hub import FiledSubmission, file_submission
from gateway.message_model import MemoryBody, Payload, UserMessage, iterate_octets
from gateway.protocols import OpenedMessage, Parcel, as4, ebms2
from gateway.store import read_transaction, write_transaction
from gateway.web.case_bundle import clean_file_name, make_case_bundle
from gateway.web.officers import SESSION_ONLY
from gateway.wire import parse_xml, read_http_message, serialize_element
from gateway.xmlsec import verify_document
from gateway_conformance.foreign_verifier import find_signature_fault
from tests.flows.craft import all_of, text, withdrawal, without_applications
from tests.flows.test_time_stamps import Place
from tests.kit.house import AS4, START, authority, signer_named
from tests.kit.officers import ConsoleStory
from tests.kit.soap import agency_answer, signer
from tests.kit.story import LABEL, Story

Files = dict[str, bytes]


def seal_evidence(story: Story) -> None:
    with write_transaction(story.house.engine) as conn:
        head = tree_heads.make_next_head(conn, "hub", story.clock())
        assert head is not None
        tree_heads.store_head(conn, head.add_signature(story.hub.signer))


def sign_answers(story: Story) -> Story:
    """Let what agencies answer be signed."""
    reply = SignedReply(agency_answer("urn:uuid:m"), signer("agency").certificate.sha256)
    story.soap.read_answer = lambda posted: (posted, reply)  # type: ignore[method-assign]
    return story


def tell_all(story: Story) -> Story:
    """Let every agency approve, and what follows be done and sealed."""
    story.tick(seconds=1)
    story.decide_all()
    story.tick(seconds=1)
    seal_evidence(story)
    return story


def run_ebms2(engine: Engine) -> Story:
    story = sign_answers(Story(engine))
    story.submit()
    return tell_all(story)


def run_as4(engine: Engine) -> Story:
    story = sign_answers(Story(engine, agreement=AS4))
    story.submit(sync_reply=True)
    return tell_all(story)


def run_api(engine: Engine) -> Story:
    story = sign_answers(Story(engine))
    label = Payload("korean-label@sample", "application/pdf", LABEL)
    content = serialize_element(story.submission())
    filed = FiledSubmission(content, (label,), "api", "broker1", {"client": "a"}, "filed-1")
    file_submission(story.hub, filed)
    return tell_all(story)


def run_refused(engine: Engine) -> Story:
    story = Story(engine)
    story.submit(story.submission(text(".//Declarant/ID", "HUB-1")))
    story.tick(seconds=1)
    seal_evidence(story)
    return story


def run_withdrawn(engine: Engine) -> Story:
    story = sign_answers(Story(engine))
    story.submit(story.submission(without_applications), attach=False)
    story.tick(seconds=1)
    story.submit(story.submission(all_of(without_applications, withdrawal)), action="Withdraw", attach=False)
    story.tick(seconds=1)
    seal_evidence(story)
    return story


def run_console(engine: Engine) -> Story:
    """Let officers decide: what they do is in the bundle by hash alone."""
    story = ConsoleStory(engine, four_eyes=True)
    sign_answers(story)
    kim, lee = story.officer("kimofficer", "approver"), story.officer("leeofficer", "approver")
    seen = story.arrive()
    story.desk.claim_application(kim, seen.number, 0)
    story.desk.propose_act(kim, seen.number, story.decision(), seen.shown_digest)
    proposal = story.look().proposal
    assert proposal is not None
    story.desk.approve_proposal(lee, proposal.row.id, proposal.row.content, seen.shown_digest, SESSION_ONLY)
    story.decide_others()
    story.tick()
    seal_evidence(story)
    return story


def run_stamped(engine: Engine) -> Story:
    place = Place.make(engine)
    sign_answers(place.story).submit()
    place.tick()
    place.story.decide_all()
    place.tick()
    place.tick(hours=2)
    place.tsa.down()
    return place.story


KINDS: Mapping[str, Callable[[Engine], Story]] = {
    "ebms2": run_ebms2,
    "as4": run_as4,
    "api": run_api,
    "refused": run_refused,
    "withdrawn": run_withdrawn,
    "console": run_console,
    "stamped": run_stamped,
}


def make_bundle(story: Story, reader: EvidenceReader) -> Files:
    """Return the files of the bundle of the newest case."""
    with read_transaction(story.house.engine) as conn:
        octets = b"".join(iterate_octets(make_case_bundle(conn, story.case(), reader)))
    with zipfile.ZipFile(io.BytesIO(octets)) as bundle:
        return {name: bundle.read(name) for name in bundle.namelist()}


def write_bundle(files: Files, path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as bundle:
        for name, content in files.items():
            bundle.writestr(name, content)
    return path


READERS = {"party": EvidenceReader("broker1"), "operator": OPERATOR}


def find_fault(files: Files, *, stamped: bool) -> str | None:
    """Return what the readers of the gateway refuse in a bundle, None where everything holds.

    They are those behind `gateway evidence verify`, `gateway verify` and `gateway signature verify`, and the
    digests that README.txt tells to compare.
    """
    try:
        _verify_files(files, stamped)
    except (GatewayError, ValueError, AssertionError) as problem:
        return str(problem) or type(problem).__name__
    return None


def _verify_files(files: Files, stamped: bool) -> None:
    anchors = (authority().certificate.der,) if stamped else ()
    proofs = [
        verify_proof(json.loads(content), TimeStampAuthorities(anchors))
        for name, content in files.items()
        if name.startswith("proofs/")
    ]
    for proof in proofs:
        assert proof.signer == signer_named("hub").certificate, "signed by somebody else"
        assert proof.stamps or not stamped, "no time stamp"
    leaves = [leaf for proof in proofs for leaf in proof.leaves]
    for name, content in files.items():
        kind = name.partition("/")[0]
        if kind == "agencies":
            digest = hashlib.sha256(content).hexdigest()
            assert digest in {leaf["digest"] for leaf in leaves if leaf["kind"] == "reply"}, name
        elif name.endswith("/message.bin"):
            _verify_message(files, name.removesuffix("message.bin"), leaves)


def _verify_message(files: Files, folder: str, leaves: list[Mapping[str, Any]]) -> None:
    number, content = folder.split("/")[1].partition("-")[0], files[f"{folder}message.bin"]
    own = [leaf for leaf in leaves if (leaf["subject_type"], leaf["subject_id"]) == ("message", number)]
    kinds = {leaf["kind"]: leaf for leaf in own}
    if "NRO" not in kinds and "filed" not in kinds:
        sent = {leaf["digest"] for leaf in leaves if leaf["kind"] == "NRS"}
        assert hashlib.sha256(content).hexdigest() in sent, folder
        return
    if "filed" in kinds:
        assert content == files[f"{folder}document.xml"], folder
        # A file has the name of its part as far as a file may have it; the document says the whole.
        listed = [one.get("cid", "") for one in parse_xml(content).iter("{*}Attachment")]
        names = {"document.xml": "submission"}
        names |= {f"{place}-{clean_file_name(cid)}": cid for place, cid in enumerate(listed, 1)}
        parts = {
            names[name]: hashlib.sha256(files[folder + name]).hexdigest()
            for name in _list_parts(files, folder)
        }
        identity = hashlib.sha256(json.dumps(sorted(parts.items())).encode()).hexdigest()
        receipt = files[f"{folder}receipt.xml"]
        hub = verify_document(parse_xml(receipt)).certificate
        assert find_signature_fault(receipt, hub, hub.not_before) is None
    else:
        opened = _open_message(files[f"{folder}headers.txt"] + content)
        identity = opened.identity
        assert opened.verified_signature is not None
        assert opened.verified_signature.certificate.sha256 == kinds["NRO"]["data"]["signer"], folder
        assert isinstance(opened.unit, UserMessage)
        carried = [b"".join(iterate_octets(part.octets)) for part in opened.unit.payloads]
        for name in _list_parts(files, folder):
            assert files[folder + name] in carried, name
        _open_message(_describe_body(files[f"{folder}receipt.xml"]))
    assert identity == (kinds.get("NRO") or kinds["filed"])["digest"], folder


def _open_message(raw: bytes) -> OpenedMessage:
    """Verify a message as `gateway verify` does."""
    context = make_context([authority().certificate.pem], START)
    stored = read_http_message(raw, context.limits)
    core = as4 if b"soap+xml" in raw[:600] else ebms2
    return core.verify_parcel(Parcel(stored.headers, MemoryBody(stored.body)), "strict", context)


def _describe_body(octets: bytes) -> bytes:
    """Return a receipt with the header of HTTP that it had."""
    kind = b"application/soap+xml" if b"soap-envelope" in octets[:400] else b"text/xml"
    return b"Content-Type: " + kind + b"; charset=UTF-8\r\n\r\n" + octets


def _list_parts(files: Files, folder: str) -> list[str]:
    names = (name.removeprefix(folder) for name in files if name.startswith(folder))
    return [name for name in names if name == "document.xml" or name[:1].isdigit()]
