"""Partners that sign by other algorithms than agreed are named before the hub refuses them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import Engine

from gateway.agreements import PModeIndex, Security
from gateway.cli.hub_findings import find_algorithm_warnings
from gateway.config import Settings
from gateway.hub import RegisterSnapshot
from gateway.operations import load_unchecked_agreement
from gateway.store import write_transaction
from gateway.store.transitions import evidence
from gateway.xmlsec.algorithms import ECDSA_SHA256, RSA_SHA256
from tests.flows.craft import without_applications
from tests.kit.databases import BOTH
from tests.kit.house import AGREEMENT
from tests.kit.story import Story


def agree(known: RegisterSnapshot, security: Security) -> RegisterSnapshot:
    """Return a snapshot in which every P-Mode has these terms of security."""
    return replace(
        known, book=PModeIndex(tuple(replace(one, security=security) for one in known.book.pmodes))
    )


@BOTH
def test_a_partner_that_signs_by_another_algorithm_is_named(engine: Engine) -> None:
    story = Story(engine)
    known = story.hub.refresh_snapshot()
    other = agree(known, Security(signature_algorithms=("urn:other",)))
    assert list(find_algorithm_warnings(Settings(), story.hub, other)) == [], "it has sent nothing"
    story.submit()
    (words,) = find_algorithm_warnings(Settings(), story.hub, other)
    assert words.startswith("party broker1 signs messages by http://www.w3.org/2001/04/xmldsig-more#")
    assert "names urn:other: the next version refuses such messages" in words
    (words,) = find_algorithm_warnings(
        Settings(), story.hub, agree(known, Security(hash_function="urn:hash"))
    )
    assert "xmlenc#sha256" in words
    assert list(find_algorithm_warnings(Settings(), story.hub, agree(known, Security()))) == []


def agree_on(story: Story, algorithm: str) -> None:
    """Put an agreement in force by which messages are signed by an algorithm."""
    terms = f"    signature_algorithm: {algorithm}\n    sign: true".encode()
    with write_transaction(story.hub.engine) as conn:
        octets = AGREEMENT.replace(b"    sign: true", terms)
        load_unchecked_agreement(conn, octets, "agreement", story.clock())


@BOTH
@pytest.mark.parametrize("named", [RSA_SHA256, ECDSA_SHA256])
def test_a_message_is_compared_with_terms_that_came_into_force_before_it(engine: Engine, named: str) -> None:
    story = Story(engine)
    other = agree(story.hub.refresh_snapshot(), Security(signature_algorithms=("urn:other",)))
    agree_on(story, named)
    story.submit()
    found = list(find_algorithm_warnings(Settings(), story.hub, other))
    assert "urn:other" not in " ".join(found)
    assert len(found) == (named == RSA_SHA256), "the terms of now are not kept either"


@pytest.mark.long
@pytest.mark.parametrize("named", [RSA_SHA256, ECDSA_SHA256])
def test_a_partner_whose_receipts_are_by_another_algorithm_is_named(engine: Engine, named: str) -> None:
    """A receipt is read when it comes: what is not as agreed is kept with its evidence."""
    terms = f"    signature_algorithm: {named}\n    sign: true".encode()
    story = Story(engine, customs=False, agreement=AGREEMENT.replace(b"    sign: true", terms))
    story.submit(story.submission(without_applications), attach=False)
    story.tick()
    (row,) = story.deliveries(agent="msh")
    assert (row.state, story.evidence("delivery", row.id)) == ("DELIVERED", ["NRR"])
    found = sorted(find_algorithm_warnings(Settings(), story.hub, story.hub.refresh_snapshot()))
    if named == ECDSA_SHA256:
        assert found == []
        return
    signed = [words.partition(" by ")[0] for words in found]
    assert signed == ["party broker1 signs messages", "party broker1 signs receipts"]
    assert f"by {ECDSA_SHA256}, and P-Mode broker1-result names {RSA_SHA256}: the next version" in found[1]


def test_a_receipt_whose_evidence_is_broken_hides_no_other_finding(engine: Engine) -> None:
    terms = f"    signature_algorithm: {RSA_SHA256}\n    sign: true".encode()
    story = Story(engine, customs=False, agreement=AGREEMENT.replace(b"    sign: true", terms))
    story.submit(story.submission(without_applications), attach=False)
    story.tick()
    with write_transaction(engine) as conn:
        conn.execute(evidence.update().where(evidence.c.kind == "NRR").values(data="no JSON"))
    found = list(find_algorithm_warnings(Settings(), story.hub, story.hub.refresh_snapshot()))
    assert [words.partition(" by ")[0] for words in found] == ["party broker1 signs messages"]
