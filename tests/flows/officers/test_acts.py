"""An agency without a system: its officers decide at the console, and nobody downstream sees a difference."""

from __future__ import annotations

import json
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from lxml import etree
from sqlalchemy import Connection, Engine, insert, select, update

from gateway.cases import (
    Decision,
    DecisionAct,
    DecisionCode,
    DecisionPurpose,
    InformationAct,
    InspectionAct,
    Notice,
    ReceiveAct,
    encode_act,
    list_agency_only_values,
    restore_act,
)
from gateway.errors import EVIDENCE_BROKEN, REVOCATION_UNKNOWN, GatewayError, Problem
from gateway.evidence import list_subject_leaves
from gateway.hub import apply_call_back
from gateway.operations import list_waiting_acts
from gateway.pki import KeySigner
from gateway.process_log import format_text
from gateway.state_machines import DELIVERY, REQUEST
from gateway.store import (
    OfficerActRow,
    officer_work,
    parties,
    payloads,
    read_transaction,
    write_transaction,
)
from gateway.store.officer_work import officer_acts as acts
from gateway.web.officers import SESSION_ONLY, OfficerDesk
from gateway.xmlsec import STRICT, verify_soap_envelope
from tests.flows.craft import all_of, reference, supplement, text
from tests.kit.audited import list_actions
from tests.kit.databases import BOTH
from tests.kit.house import Away, signer_named
from tests.kit.officers import ConsoleStory, KeptKeys


def acts_of(story: ConsoleStory, request: int) -> list[dict[str, Any]]:
    """Return what the evidence says of the acts about a request."""
    with read_transaction(story.house.engine) as conn:
        leaves = list_subject_leaves(conn, "request", request)
    return [json.loads(row.data) | {"digest": row.digest} for row in leaves if row.kind == "act"]


def octets_of(story: ConsoleStory, digest: str) -> bytes:
    with read_transaction(story.house.engine) as conn:
        return payloads.get_payload_octets(conn, digest)


def signer_of(story: ConsoleStory, envelope: etree._Element) -> Any:
    return verify_soap_envelope(envelope, STRICT, now=story.clock()).certificate


def refused(problem: str) -> Any:
    return pytest.raises(GatewayError, match=problem)


@BOTH
def test_a_call_to_an_agency_at_the_console_rests_in_its_mailbox(engine: Engine) -> None:
    story = ConsoleStory(engine, "KFDA")
    seen = story.arrive()
    assert [call.destination for call in story.soap.calls].count("KFDA") == 0
    assert (seen.state, seen.request.receipt_number) == ("ACKNOWLEDGED", f"C-{seen.number}")
    row = story.delivery(destination="KFDA")
    assert row.state == "DELIVERED"
    assert [event for event, _ in story.steps(DELIVERY, row.id)] == ["lease", "delivered"]
    # What downstream sees is what an agency's own system causes.
    other = story.request("NPQS").id
    assert story.evidence("request", seen.request.id) == story.evidence("request", other)
    assert story.steps(REQUEST, seen.request.id) == story.steps(REQUEST, other)
    (call,) = story.rested()
    assert call.operation == "SubmitApplication"
    stored = etree.fromstring(octets_of(story, call.call_sha256))
    assert signer_of(story, stored) == signer_named("hub").certificate
    reply = etree.fromstring(octets_of(story, story.request("KFDA").reply_sha256))
    assert signer_of(story, reply) == signer_named("kfda").certificate
    assert reply.findtext(".//{*}ReceiptNumber") == seen.request.receipt_number
    assert seen.number in stored.xpath("//*[local-name()='Document']/*/*/text()")
    assert stored.xpath("//*[local-name()='Attachment']/@mediaType") == ["application/pdf"]


def test_a_decision_becomes_the_signed_call_of_an_agency_system(engine: Engine) -> None:
    story = ConsoleStory(engine)
    seen = story.arrive()
    kim = story.officer("kim")
    story.decide_others()
    act = story.decision(
        DecisionCode.APPROVED_WITH_CONDITIONS,
        quantity=Decimal("12.5"),
        unit="KGM",
        conditions=("표시 라벨을 붙일 것",),
    )
    done = story.desk.perform_act(kim, seen.number, act, seen.shown_digest)
    assert (done.state, done.problem) == ("PERFORMED", None)
    story.tick()
    assert story.outcome() == ("APPROVED", {1: "APPROVED_WITH_CONDITIONS", 2: "APPROVED", 3: "APPROVED"})
    assert story.customs_codes() == ["18", "19"]
    call = etree.fromstring(octets_of(story, story.request("KPTA").reply_sha256))
    assert signer_of(story, call) == signer_named("kpta").certificate
    said = call[-1][0]
    assert etree.QName(said).localname == "SubmitDecision"
    assert [said.findtext(f"{{*}}Decision/{{*}}{name}") for name in ("quantity", "unit", "condition")] == [
        "12.5", "KGM", "표시 라벨을 붙일 것",
    ]  # fmt: skip
    # Beside the officer's leaves, the evidence is that of an agency with a system.
    kinds = [kind for kind in story.evidence("request", seen.request.id) if kind != "act"]
    assert kinds == ["sent", "reply", "acknowledged", "reply", "notice"]
    assert story.steps(REQUEST, seen.request.id) == story.steps(REQUEST, story.request("KFDA").id)


def test_the_evidence_names_officer_and_what_was_shown(engine: Engine) -> None:
    story = ConsoleStory(engine)
    seen = story.arrive()
    kim = story.officer("kim")
    story.desk.perform_act(kim, seen.number, story.decision(), seen.shown_digest)
    intended, performed = acts_of(story, seen.request.id)
    assert [one["step"] for one in (intended, performed)] == ["intended", "performed"]
    assert performed["officer"] == {"account": kim.account, "name": "kim", "role": "officer"}
    assert performed["shown"] == seen.shown_digest
    assert performed["confirmed"] == {"method": "session"}
    decided = json.loads(octets_of(story, performed["digest"]))
    assert (decided["application"], decided["shown"], decided["act"]) == (
        seen.number,
        seen.shown_digest,
        "decide",
    )
    shown = json.loads(octets_of(story, seen.shown_digest))
    assert shown["document"] == story.request("KPTA").document_sha256
    assert performed["call"] == story.request("KPTA").reply_sha256
    with read_transaction(engine) as conn:
        rows = list_actions(conn, actor="kim")
    assert [(row.action, row.after["step"]) for row in reversed(rows)] == [
        ("officer decide", "intended"), ("officer decide", "performed"),
    ]  # fmt: skip


def test_receive_ask_and_inspect(engine: Engine) -> None:
    story = ConsoleStory(engine)
    seen = story.arrive()
    kim = story.officer("kim")
    assert story.desk.perform_act(kim, seen.number, ReceiveAct(), seen.shown_digest).state == "PERFORMED"
    seen = story.look()
    assert seen.request.status_code == "C04"
    pointers = ("42A/67A[1]/68A[1]/23A/138",)
    ask = InformationAct("Which lot?", pointers, story.clock() + timedelta(days=7))
    assert story.desk.perform_act(kim, seen.number, ask, seen.shown_digest).state == "PERFORMED"
    seen = story.look()
    assert (seen.state, seen.request.due_at) == ("INFORMATION_REQUIRED", ask.deadline)
    look = InspectionAct("E01", "field", story.clock().date(), "Incheon", "to be opened")
    assert list_agency_only_values(look) == ("findings",)
    assert story.desk.perform_act(kim, seen.number, look, seen.shown_digest).state == "PERFORMED"
    assert story.look().state == "INSPECTION"
    kept = json.loads(octets_of(story, acts_of(story, seen.request.id)[-1]["digest"]))
    assert (kept["place"], kept["findings"]) == ("Incheon", "to be opened")
    story.tick()
    notices = story.inbox.documents("Notice")
    assert [one.findtext(".//{*}StatusCode") for one in notices][-3:] == ["C04", "D01", "E01"]
    assert notices[-2].findtext(".//{*}Pointer") == pointers[0]


def test_correct_and_revoke(engine: Engine) -> None:
    story = ConsoleStory(engine)
    seen = story.arrive()
    lee = story.officer("lee", "approver")
    correct = story.decision(DecisionCode.REJECTED, DecisionPurpose.CORRECT)
    with refused("GW705"):
        story.desk.perform_act(lee, seen.number, correct, seen.shown_digest)
    story.desk.perform_act(lee, seen.number, story.decision(), seen.shown_digest)
    story.decide_others()
    story.tick(seconds=1)
    assert story.outcome()[0] == "APPROVED"
    seen = story.look()
    with refused("GW705"):
        story.desk.perform_act(lee, seen.number, story.decision(), seen.shown_digest)
    story.desk.perform_act(lee, seen.number, correct, seen.shown_digest)
    story.tick(seconds=1)
    assert story.outcome()[1][1] == "REJECTED"
    seen = story.look()
    assert seen.request.status_code == "R04"
    again = story.decision(DecisionCode.APPROVED, DecisionPurpose.CORRECT)
    story.desk.perform_act(lee, seen.number, again, seen.shown_digest)
    story.tick(seconds=1)
    seen = story.look()
    assert seen.request.status_code == "R02"
    revoke = story.decision(DecisionCode.REJECTED, DecisionPurpose.REVOKE)
    story.desk.perform_act(lee, seen.number, revoke, seen.shown_digest)
    story.tick(seconds=1)
    assert (story.look().request.status_code, story.outcome()[1][1]) == ("R03", "REJECTED")


def test_what_was_not_shown_is_not_decided(engine: Engine) -> None:
    story = ConsoleStory(engine)
    seen = story.arrive()
    kim = story.officer("kim")
    ask = InformationAct("Which lot?")
    story.desk.perform_act(kim, seen.number, ask, seen.shown_digest)
    with refused("GW706"):
        story.desk.perform_act(kim, seen.number, story.decision(), seen.shown_digest)


def test_an_officer_of_another_agency_reaches_nothing(engine: Engine) -> None:
    story = ConsoleStory(engine)
    seen = story.arrive()
    stranger = story.officer("choi", "head", agency="KFDA")
    assert story.desk.read_application("KFDA", seen.number) is None
    with refused("GW701"):
        story.desk.perform_act(stranger, seen.number, ReceiveAct(), seen.shown_digest)
    with refused("GW701"):
        story.desk.claim_application(stranger, seen.number, 0)


def test_an_act_needs_its_right_and_its_confirmation(engine: Engine) -> None:
    story = ConsoleStory(engine, confirm=["passkey"])
    seen = story.arrive()
    with refused("GW707.*decisions.propose"):
        story.desk.perform_act(
            story.officer("han", "reader"), seen.number, story.decision(), seen.shown_digest
        )
    with refused("GW707.*confirmed by passkey"):
        story.desk.perform_act(story.officer("kim"), seen.number, story.decision(), seen.shown_digest)
    assert story.look().state == "ACKNOWLEDGED"


def test_an_act_that_the_service_refuses_is_told(engine: Engine) -> None:
    story = ConsoleStory(engine)
    seen = story.arrive()
    wrong = story.decision()
    wrong = type(wrong)(wrong.purpose, (type(wrong.decisions[0])(99, "01", DecisionCode.APPROVED),))
    done = story.desk.perform_act(story.officer("kim"), seen.number, wrong, seen.shown_digest)
    assert done.state == "REFUSED"
    assert done.problem is not None
    assert done.problem.problem.id == "GW404"
    assert "item 99" in str(done.problem)
    assert acts_of(story, seen.request.id)[-1]["step"] == "refused"
    # The application is free for the next act.
    good = story.desk.perform_act(story.officer("lee"), seen.number, story.decision(), seen.shown_digest)
    assert good.state == "PERFORMED"


def test_an_act_that_was_intended_is_performed_once_after_a_crash(engine: Engine) -> None:
    story = ConsoleStory(engine)
    seen = story.arrive()
    desk = story.new_desk()
    desk._performer.perform_act = lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)  # type: ignore[method-assign]
    act = replace(story.decision(), valid_until=date(2027, 2, 28))
    with pytest.raises(KeyboardInterrupt):
        desk.perform_act(story.officer("kim"), seen.number, act, seen.shown_digest)
    with read_transaction(engine) as conn:
        (intended,) = officer_work.list_acts(conn, seen.request.id)
    assert intended.state == "INTENDED"
    story.clock.forward(seconds=5)
    assert [story.new_desk().resume_acts() for _ in range(2)] == [1, 0]
    with read_transaction(engine) as conn:
        (performed,) = officer_work.list_acts(conn, seen.request.id)
    assert (performed.state, performed.message_id) == ("PERFORMED", intended.message_id)
    call = etree.fromstring(octets_of(story, performed.call_sha256))
    assert call.findtext(".//{*}MessageID") == intended.message_id
    assert call.findtext(".//{*}ValidUntil") == "2027-02-28"
    assert story.evidence("request", seen.request.id).count("notice") == 1


def test_an_act_without_a_last_day_has_the_digest_that_it_always_had() -> None:
    said = Decision(1, "08", DecisionCode.APPROVED, "P-1")
    act = DecisionAct(DecisionPurpose.DECIDE, (said,))
    assert encode_act("A26000001001N", "s", act) == (
        b'{"act":"decide","application":"A26000001001N","decisions":[{"conditions":[],"date":null,'
        b'"decision":"APPROVED","item":1,"law":"08","number":"P-1","quantity":null,"unit":null}],'
        b'"reason":"","shown":"s"}'
    )
    stated = replace(act, valid_until=date(2027, 2, 28))
    assert restore_act(json.loads(encode_act("A26000001001N", "s", stated))) == stated


def test_an_act_counts_though_another_clock_was_ahead(engine: Engine) -> None:
    """The notices of one application are ordered by the time of issue, whatever clock gave it."""
    story = ConsoleStory(engine)
    seen = story.arrive()
    ahead = Notice("own-1", story.clock() + timedelta(hours=1), "C02")
    story.hear_of(ahead)
    lee = story.officer("lee", "approver")
    seen = story.look()
    story.desk.perform_act(lee, seen.number, story.decision(), seen.shown_digest)
    for code in (DecisionCode.REJECTED, DecisionCode.APPROVED, DecisionCode.REJECTED):
        seen = story.look()
        act = story.decision(code, DecisionPurpose.CORRECT)
        story.desk.perform_act(lee, seen.number, act, seen.shown_digest)
        assert story.look().decisions[0].decision == code
    assert story.look().request.status_code == "R04"


def test_an_act_counts_though_the_notice_ahead_was_not_the_last(engine: Engine) -> None:
    story = ConsoleStory(engine)
    seen, lee, now = story.arrive(), story.officer("lee", "approver"), story.clock()
    story.hear_of(Notice("own-1", now + timedelta(hours=1), "R02", story.decision().decisions))
    story.hear_of(Notice("own-2", now, "C04"))
    seen, act = story.look(), story.decision(DecisionCode.REJECTED, DecisionPurpose.CORRECT)
    story.desk.perform_act(lee, seen.number, act, seen.shown_digest)
    seen = story.look()
    assert (seen.decisions[0].decision, seen.request.status_code) == (DecisionCode.REJECTED, "R04")


def test_an_act_waits_for_a_key_that_is_away(engine: Engine) -> None:
    story = ConsoleStory(engine)
    seen = story.arrive()
    keys = KeptKeys(lambda: story.settings)
    keys.get_signer = lambda agency: Away(agency.lower())  # type: ignore[method-assign, return-value, assignment]
    desk = OfficerDesk(story.hub, story.settings, keys)
    done = desk.perform_act(story.officer("kim"), seen.number, story.decision(), seen.shown_digest)
    assert (done.state, done.problem and done.problem.problem.id) == ("INTENDED", "GW803")
    with refused("GW708.*under way"):
        seen = story.look()
        story.desk.perform_act(story.officer("lee"), seen.number, story.decision(), seen.shown_digest)
    with read_transaction(engine) as conn:
        assert list_waiting_acts(conn, story.clock()) == []
        (told,) = list_waiting_acts(conn, story.clock() + timedelta(minutes=2))
    assert "of kim (decide, agency KPTA) was intended at" in told
    assert story.desk.resume_acts() == 1
    assert story.look().state == "DECIDED"


@pytest.mark.parametrize("problem", [REVOCATION_UNKNOWN, EVIDENCE_BROKEN], ids=["passing", "of the hub"])
def test_an_act_stays_intended_by_a_problem_that_passes_or_is_of_the_hub(
    engine: Engine, problem: Problem
) -> None:
    """It is refused for good only where neither holds."""
    assert problem.retry is not problem.ours

    def refuse_signer(agency: str) -> KeySigner:
        raise GatewayError(problem, agency)

    story = ConsoleStory(engine)
    seen, keys = story.arrive(), KeptKeys(lambda: story.settings)
    keys.get_signer = refuse_signer  # type: ignore[method-assign]
    desk = OfficerDesk(story.hub, story.settings, keys)
    done = desk.perform_act(story.officer("kim"), seen.number, story.decision(), seen.shown_digest)
    assert (done.state, done.problem and done.problem.problem) == ("INTENDED", problem)


def test_an_act_that_fails_stays_intended_and_the_log_names_it(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    story = ConsoleStory(engine)
    seen, keys = story.arrive(), KeptKeys(lambda: story.settings)
    keys.get_signer = lambda agency: {}[f"secret of {agency}"]  # type: ignore[method-assign]
    desk = OfficerDesk(story.hub, story.settings, keys)
    done = desk.perform_act(story.officer("kim"), seen.number, story.decision(), seen.shown_digest)
    assert (done.state, done.problem and done.problem.problem.id) == ("INTENDED", "GW901")
    (line,) = [format_text(record) for record in caplog.records if record.levelno == logging.ERROR]
    assert line == f"the act of an officer failed: KeyError partner=KPTA act={done.act}"


def leave_intended(story: ConsoleStory, officer: str, number: str) -> OfficerActRow:
    """Let an officer decide an application, and the process end before it is performed; return the act."""
    desk = story.new_desk()
    desk._performer.perform_act = lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)  # type: ignore[method-assign]
    seen = desk.read_application(story.agency, number)
    assert seen is not None
    with pytest.raises(KeyboardInterrupt):
        desk.perform_act(story.officer(officer), number, story.decision(), seen.shown_digest)
    with read_transaction(story.house.engine) as conn:
        (act,) = officer_work.list_acts(conn, seen.request.id)
    return act


def arrive_again(story: ConsoleStory) -> str:
    """Let another submission arrive, and return the number of its application."""
    story.submit(story.submission(reference("B-2")))
    story.tick()
    return story.look().number


def store_odd_content(conn: Connection, story: ConsoleStory) -> str:
    """Store the content of an act as another version of the program may write it; return its digest."""
    return payloads.store_payload(conn, b'{"act":"decide","in another form":[]}', story.clock())


@BOTH
def test_an_act_that_cannot_be_read_delays_no_other(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    """It stays intended, the log names it, and the act behind it is performed in the same round."""
    story = ConsoleStory(engine)
    odd = leave_intended(story, "kim", story.arrive().number)
    good = leave_intended(story, "lee", arrive_again(story))
    with write_transaction(engine) as conn:
        content = store_odd_content(conn, story)
        conn.execute(update(acts).where(acts.c.id == odd.id).values(content=content))
    assert story.new_desk().resume_acts() == 1
    with read_transaction(engine) as conn:
        states = [row.state for act in (odd, good) if (row := officer_work.find_act(conn, act.id))]
    assert states == ["INTENDED", "PERFORMED"]
    (line,) = [format_text(record) for record in caplog.records if record.levelno == logging.ERROR]
    assert line == (
        "the act of an officer cannot be read: GW805 the octets of an act of an officer are no act "
        f"at act {odd.id} act={odd.id}"
    )


def test_an_act_whose_octets_are_gone_delays_no_other(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    story = ConsoleStory(engine)
    odd = leave_intended(story, "kim", story.arrive().number)
    leave_intended(story, "lee", arrive_again(story))
    with write_transaction(engine) as conn:
        conn.exec_driver_sql(
            f"UPDATE payloads SET content = x'', purged_at = stored_at WHERE sha256 = '{odd.content}'"
        )
    assert story.new_desk().resume_acts() == 1
    assert f"act={odd.id}" in "".join(format_text(record) for record in caplog.records)


def test_a_hundred_acts_that_cannot_be_read_do_not_hide_the_next(engine: Engine) -> None:
    story = ConsoleStory(engine)
    good = leave_intended(story, "kim", story.arrive().number)
    with write_transaction(engine) as conn:
        conn.execute(update(acts).where(acts.c.id == good.id).values(under_way=1000))
        row = conn.execute(select(acts).where(acts.c.id == good.id)).one()
        odd = dict(row._mapping) | {"content": store_odd_content(conn, story)}
        del odd["id"]
        places = range(1, 101)
        copies = [odd | {"under_way": place, "message_id": f"odd-{place}@hub"} for place in places]
        conn.execute(insert(acts), copies)
    desk = story.new_desk()
    assert [desk.resume_acts() for _ in range(2)] == [0, 1]
    with read_transaction(engine) as conn:
        performed = officer_work.find_act(conn, good.id)
    assert performed is not None
    assert performed.state == "PERFORMED"


def test_an_act_crosses_no_connection_and_needs_no_client_certificate(engine: Engine) -> None:
    story = ConsoleStory(engine)
    story.hub.mutual_tls = frozenset({"KPTA"})
    seen = story.arrive()
    done = story.desk.perform_act(story.officer("kim"), seen.number, story.decision(), seen.shown_digest)
    assert done.state == "PERFORMED"


def test_a_suspended_agency_decides_nothing(engine: Engine) -> None:
    story = ConsoleStory(engine)
    seen = story.arrive()
    with write_transaction(engine) as conn:
        parties.set_party_status(conn, "KPTA", "SUSPENDED")
    done = story.desk.perform_act(story.officer("kim"), seen.number, story.decision(), seen.shown_digest)
    assert (done.state, done.problem and done.problem.problem.id) == ("REFUSED", "GW209")


def test_the_key_of_another_agency_decides_nothing(engine: Engine) -> None:
    story = ConsoleStory(engine)
    seen = story.arrive()
    keys = KeptKeys(lambda: story.settings)
    keys.get_signer = lambda agency: signer_named("kfda")  # type: ignore[method-assign]
    done = OfficerDesk(story.hub, story.settings, keys).perform_act(
        story.officer("kim"), seen.number, story.decision(), seen.shown_digest
    )
    assert (done.state, done.problem and done.problem.problem.id) == ("REFUSED", "GW209")
    assert story.look().decisions == ()


def test_a_supplement_rests_beside_its_application(engine: Engine) -> None:
    story = ConsoleStory(engine, "KFDA")
    seen = story.arrive()
    kim = story.officer("kim")
    story.desk.perform_act(kim, seen.number, InformationAct("Which name?"), seen.shown_digest)
    asked = story.look()
    product = "Application[@id='A2']/Fields/Item/ProductNameKo"
    more = story.submission(all_of(supplement, text(product, "카라멜 와플 320 g")))
    story.submit(more, action="Supplement")
    story.tick()
    seen = story.look()
    assert [call.operation for call in story.rested()] == ["SubmitApplication", "SubmitSupplement"]
    assert seen.state == "ACKNOWLEDGED"
    values = [octets_of(story, call.call_sha256).decode() for call in story.rested()]
    assert ["카라멜 와플 320 g" in value for value in values] == [False, True]
    with refused("GW706"):
        story.desk.perform_act(kim, seen.number, story.decision(), asked.shown_digest)
    assert story.desk.perform_act(kim, seen.number, story.decision(), seen.shown_digest).state == "PERFORMED"


def test_what_was_intended_is_not_done_to_another_state(engine: Engine) -> None:
    """Between the intention and the call the agency's own system asks: the officer has not seen that."""
    story = ConsoleStory(engine)
    seen = story.arrive()
    desk = story.new_desk()
    desk._performer.perform_act = lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        desk.perform_act(story.officer("kim"), seen.number, story.decision(), seen.shown_digest)
    story.hear_at_console(InformationAct("Which lot?"))
    assert story.new_desk().resume_acts() == 0
    with read_transaction(engine) as conn:
        (act,) = officer_work.list_acts(conn, seen.request.id)
    assert (act.state, act.problem, act.under_way) == ("REFUSED", "GW706", None)
    assert story.look().decisions == ()


@pytest.mark.parametrize("later", [timedelta(0), timedelta(seconds=2)], ids=["same-octets", "signed-anew"])
def test_an_act_that_is_performed_twice_at_once_is_not_refused(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, later: timedelta
) -> None:
    """A second process resumes the act while its call is under way: the call before it stands."""
    story = ConsoleStory(engine)
    kim, seen = story.officer("kim"), story.arrive()
    resumed: list[int] = []

    def apply_beside(*arguments: Any) -> None:
        monkeypatch.undo()
        story.clock.now += later
        with ThreadPoolExecutor(1) as pool:
            resumed.append(pool.submit(desk.resume_acts).result(60))
        apply_call_back(*arguments)

    desk = story.desk
    monkeypatch.setattr("gateway.web.officers.act_performance.apply_call_back", apply_beside)
    done = desk.perform_act(kim, seen.number, story.decision(), seen.shown_digest, SESSION_ONLY)
    assert len(resumed) == 1
    assert (done.state, done.problem) == ("PERFORMED", None)
    assert story.look().state == "DECIDED"
    assert [one["step"] for one in acts_of(story, seen.request.id)] == ["intended", "performed"]
