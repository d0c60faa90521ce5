"""A party reads the evidence of its case without the inside of an agency or of the hub."""

from __future__ import annotations

import io
import json
import zipfile
from collections import Counter
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import Engine, select

from gateway.cases import AgencyCallback, Money, NamedFee, Notice
from gateway.errors import EVIDENCE_BROKEN, GatewayError
from gateway.evidence import (
    OPERATOR,
    EvidenceReader,
    encode_leaf,
    hash_leaf,
    list_subject_leaves,
    make_proof,
    record_evidence,
    select_visible_fields,
    tree_heads,
    verify_proof,
)
from gateway.evidence.evidence_readers import PARTY_FIELDS
from gateway.hub import apply_call_back
from gateway.hub.fees.agency_payment_notes import waive_fee
from gateway.store import fee_searches, read_transaction, write_transaction
from gateway.store.transitions import evidence
from gateway.web.case_bundle import make_case_bundle
from gateway.web.officers import SESSION_ONLY
from tests.kit import facts
from tests.kit.api import Api
from tests.kit.console import Console
from tests.kit.databases import BOTH_AT_LANDING, in_turn
from tests.kit.officers import ConsoleStory
from tests.kit.story import Story

#: What the officers and the operator wrote and were called.
INSIDE = (
    "kimofficer",
    "Kimofficer",
    "leeofficer",
    "Leeofficer",
    "parkoperator",
    "quantity-is-wrong",
    "by-mistake",
)


@dataclass(frozen=True)
class Inside:
    """A decided case with everything that an agency and an operator do inside."""

    story: ConsoleStory
    number: str

    def list_leaves(self) -> list[Any]:
        with read_transaction(self.story.house.engine) as conn:
            return list(conn.execute(select(evidence).order_by(evidence.c.id)).all())

    def list_hidden(self) -> set[str]:
        return {row.leaf_hash for row in self.list_leaves() if row.kind in ("act", "claim", "operator")}


@pytest.fixture
def inside(engine: Engine) -> Inside:
    story = ConsoleStory(engine, four_eyes=True)
    kim, lee = story.officer("kimofficer", "approver"), story.officer("leeofficer", "approver")
    seen = story.arrive()
    story.desk.claim_application(kim, seen.number, 0)
    story.desk.propose_act(kim, seen.number, story.decision(), seen.shown_digest)
    proposal = story.look().proposal
    assert proposal is not None
    story.desk.return_proposal(lee, proposal.row.id, proposal.row.content, "quantity-is-wrong")
    story.desk.propose_act(kim, seen.number, story.decision(), seen.shown_digest)
    proposal = story.look().proposal
    assert proposal is not None
    story.desk.approve_proposal(lee, proposal.row.id, proposal.row.content, seen.shown_digest, SESSION_ONLY)
    levied = Notice("KFDA-Y", story.clock(), "Y05", fee=NamedFee(Money(Decimal("12.50"), "EUR")))
    apply_call_back(story.hub, "KFDA", AgencyCallback(levied, story.request("KFDA").number))
    with write_transaction(story.house.engine) as conn:
        (fee,) = fee_searches.list_by_case(conn, story.case().id)
        waive_fee(conn, fee.id, story.clock(), "parkoperator", "by-mistake")
    story.decide_others()
    story.tick()
    with write_transaction(story.house.engine) as conn:
        head = tree_heads.make_next_head(conn, "hub", story.clock())
        assert head is not None
        assert tree_heads.store_head(conn, head.add_signature(story.hub.signer))
    return Inside(story, str(story.case().number))


def check_bundle(inside: Inside, octets: bytes) -> None:
    """Hold that a bundle has nothing of the inside, and that its proofs hold for every leaf."""
    bundle = zipfile.ZipFile(io.BytesIO(octets))
    for name in bundle.namelist():
        words = bundle.read(name).decode("utf-8", errors="replace")
        assert [one for one in INSIDE if one in words] == [], name
    proofs = [json.loads(bundle.read(name)) for name in bundle.namelist() if name.startswith("proofs/")]
    found = [verify_proof(one) for one in proofs]
    assert inside.list_hidden() <= {digest for one in found for digest in one.withheld}
    assert {"admitted", "reply", "notice", "decided"} <= {
        leaf["kind"] for one in found for leaf in one.leaves
    }


@pytest.mark.long
@in_turn
def test_the_inside_of_an_agency_is_no_evidence_for_a_party(inside: Inside) -> None:
    hidden = Counter(row.kind for row in inside.list_leaves() if row.leaf_hash in inside.list_hidden())
    assert hidden == {"act": 5, "claim": 1, "operator": 1}
    broker = Api(inside.story.hub).client("broker1")
    answer = broker.get(f"cases/{inside.number}/evidence")
    assert [one for one in INSIDE if one in answer.text] == []
    assert {one["leaf_hash"] for one in answer.json["withheld"]} == inside.list_hidden()
    assert {"filed", "act"} & {one["kind"] for one in answer.json["records"]} == set()
    leaves = {row.leaf_hash: row for row in inside.list_leaves()}
    for one in answer.json["records"]:
        row = leaves[one["leaf_hash"]]
        assert one["complete"] is (one["data"] == row.data)
        if one["complete"]:
            assert hash_leaf(encode_leaf(row._asdict())) == one["leaf_hash"]
    partial = {one["kind"] for one in answer.json["records"] if not one["complete"]}
    assert partial == {"fee"}
    check_bundle(inside, broker.get(f"cases/{inside.number}/evidence/bundle").data)


@pytest.mark.long
@in_turn
def test_a_viewer_gets_the_same_bundle_at_the_console(inside: Inside) -> None:
    console = Console(inside.story.hub)
    console.add_account("han", ("party", "broker1"), "viewer")
    console.add_account("choi", ("agency", "KPTA"), "head")
    viewer, officer = console.enter("han"), console.enter("choi")
    check_bundle(inside, viewer.get(f"/console/cases/{inside.number}/evidence").data)
    page = viewer.get(f"/console/cases/{inside.number}").text
    assert [one for one in INSIDE if one in page] == []
    assert officer.get(f"/console/cases/{inside.number}/evidence").status_code == 403


@pytest.mark.long
@in_turn
def test_nothing_else_that_a_party_reads_tells_the_inside(inside: Inside) -> None:
    broker = Api(inside.story.hub).client("broker1")
    case = f"cases/{inside.number}"
    for path in (
        "cases",
        case,
        f"{case}/applications",
        f"{case}/notices",
        f"results/{inside.number}",
        "events",
    ):
        words = broker.get(path).text
        assert [one for one in INSIDE if one in words] == [], path


@pytest.mark.long
@in_turn
def test_an_operator_reads_everything(inside: Inside) -> None:
    with read_transaction(inside.story.house.engine) as conn:
        proof = make_proof(conn, "request", str(inside.story.request("KPTA").id), OPERATOR)
    found = verify_proof(proof)
    assert found.withheld == ()
    assert {"act", "claim", "reply"} <= {leaf["kind"] for leaf in found.leaves}
    assert "quantity-is-wrong" in json.dumps(proof)


@BOTH_AT_LANDING
def test_what_is_not_sealed_yet_is_not_told_as_broken(engine: Engine) -> None:
    story = Story(engine)
    story.submit()
    story.tick()
    with read_transaction(engine) as conn, pytest.raises(GatewayError) as raised:
        make_proof(conn, "case", str(story.case().id), OPERATOR)
    assert (raised.value.problem.id, raised.value.problem.retry) == ("GW809", True)


@pytest.mark.long
@in_turn
def test_a_broken_proof_of_a_bundle_is_not_told_as_not_yet_sealed(
    inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_proof(*_: object) -> object:
        raise GatewayError(EVIDENCE_BROKEN, "a leaf was changed", "evidence 1")

    monkeypatch.setattr("gateway.web.case_bundle.make_proof", break_proof)
    with (
        read_transaction(inside.story.house.engine) as conn,
        pytest.raises(GatewayError, match="GW805"),
    ):
        make_case_bundle(conn, inside.story.case(), EvidenceReader("broker1"))


@pytest.mark.parametrize("data", ["no JSON", "[1]", "7", '{"changed":1}'])
def test_of_a_broken_leaf_everybody_gets_the_hash_and_all_others(inside: Inside, data: str) -> None:
    engine = inside.story.house.engine
    broken = next(leaf for leaf in inside.list_leaves() if leaf.kind == "admitted")
    with write_transaction(engine) as conn:
        conn.execute(evidence.update().where(evidence.c.id == broken.id).values(data=data))
    broker = Api(inside.story.hub).client("broker1")
    answer = broker.get(f"cases/{inside.number}/evidence").json
    assert {one["leaf_hash"] for one in answer["withheld"]} == {broken.leaf_hash, *inside.list_hidden()}
    assert {"decided", "reply"} <= {one["kind"] for one in answer["records"]}
    with read_transaction(engine) as conn:
        proof = verify_proof(make_proof(conn, "case", broken.subject_id, OPERATOR))
    assert proof.withheld == (broken.leaf_hash,)
    assert "decided" in {leaf["kind"] for leaf in proof.leaves}
    assert broker.get(f"cases/{inside.number}/evidence/bundle").status_code == 200


@pytest.mark.long
@in_turn
def test_a_changed_hash_of_a_withheld_leaf_is_found(inside: Inside) -> None:
    with read_transaction(inside.story.house.engine) as conn:
        request = str(inside.story.request("KPTA").id)
        proof = make_proof(conn, "request", request, EvidenceReader("broker1"))
    first = proof["withheld"][0]
    changed = {**proof, "withheld": [{**first, "hash": "0" * 64}, *proof["withheld"][1:]]}
    with pytest.raises(Exception, match="GW805"):
        verify_proof(changed)


@pytest.mark.long
def test_every_kind_that_is_written_has_its_readers() -> None:
    assert {kind for kind, _ in facts.evidence_kinds()} == PARTY_FIELDS.keys()


@pytest.mark.long
@in_turn
def test_a_new_kind_and_a_new_field_are_shown_to_operators_alone(inside: Inside) -> None:
    story = inside.story
    number = story.case().id
    with write_transaction(story.house.engine) as conn:
        record_evidence(conn, "invented", "case", number, None, {"word": "secret"}, story.clock())
        data = {"outcome": "APPROVED", "conclusion": "x", "officer": "secret"}
        record_evidence(conn, "invented", "case", number, None, {}, story.clock())
        record_evidence(conn, "decided", "case", number, None, data, story.clock())
    answer = Api(story.hub).client("broker1").get(f"cases/{inside.number}/evidence")
    assert "secret" not in answer.text
    assert "invented" not in answer.text
    new, empty, changed = inside.list_leaves()[-3:]
    assert new.leaf_hash in {one["leaf_hash"] for one in answer.json["withheld"]}
    (record,) = [one for one in answer.json["records"] if one["leaf_hash"] == changed.leaf_hash]
    assert json.loads(record["data"]) == {"outcome": "APPROVED", "conclusion": "x"}
    assert record["complete"] is False
    # Names and times cannot be tried until one fits the hash.
    assert all(len(json.loads(row.data)["salt"]) == 32 for row in (new, empty, changed))


@BOTH_AT_LANDING
def test_only_the_party_that_filed_sees_who_of_its_people_did(engine: Engine) -> None:
    now = ConsoleStory(engine).clock()
    data = {
        "message_id": "m",
        "channel": "console",
        "party": "broker1",
        "way": {"account": "han"},
        "epoch": 1,
    }
    with write_transaction(engine) as conn:
        record_evidence(conn, "filed", "message", 7, None, data, now)
        (row,) = list_subject_leaves(conn, "message", 7)
    own = select_visible_fields(row, EvidenceReader("broker1"))
    assert own == json.loads(row.data)
    assert own["way"] == {"account": "han"}
    others = select_visible_fields(row, EvidenceReader("trader"))
    assert others == {name: field for name, field in data.items() if name != "way"}
