"""Acts of operators: with reason and audit, as their verbs; by two persons where the settings say so."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from gateway.pki import encode_key_pem
from gateway.state_machines import DELIVERY
from gateway.store import deliveries, lanes, parties, read_transaction, transitions, write_transaction
from gateway_conformance.pki import CertificateOrder, issue_certificate
from tests.kit.audited import list_actions
from tests.kit.console import Browser, Console
from tests.kit.house import AGREEMENT, authority
from tests.kit.story import Story

OPERATOR = ("operator", "operator")
AGREEMENT_ID = "urn:example:agreement:broker1-hub:2026"
REASON = "the agency is back, said Ms Lee"
SECOND = {"console": {"second_person": ["queue cancel", "party suspend"]}}


def act(browser: Browser, act: str, reason: str = REASON, **about: Any) -> Any:
    browser.get("/console/account")
    return browser.post("/console/operations/act", act=act, reason=reason, **about)


def audit(console: Console) -> list[tuple[Any, ...]]:
    """Return actor, verb, object, outcome and reason of what operators did, the first one first."""
    with read_transaction(console.services.engine) as conn:
        rows = reversed(list_actions(conn, role="operator"))
        return [(row.actor, row.action, row.object, row.outcome, row.reason) for row in rows]


def state(console: Console, number: int) -> str:
    with read_transaction(console.services.engine) as conn:
        return str(deliveries.find_by_id(conn, number).state)  # type: ignore[union-attr]


@pytest.mark.story("an operator queues a failed delivery again")
def test_a_failed_delivery_is_queued_again_with_a_reason(
    story: Story, console: Console, failed: int, operator: Browser
) -> None:
    page = operator.get(f"/console/operations/deliveries/{failed}").text
    assert "connection refused" in page
    assert "act=queue%20requeue" in page or "act=queue+requeue" in page
    answer = act(operator, "queue requeue", delivery=failed)
    assert answer.location == f"/console/operations/deliveries/{failed}"
    assert "QUEUED" in operator.get(answer.location).text
    assert audit(console) == [("kim", "queue requeue", f"delivery {failed}", "done", REASON)]
    with read_transaction(console.services.engine) as conn:
        step = transitions.list_transitions(conn, DELIVERY, failed)[-1]
    assert (step.event, step.actor, step.detail) == ("requeue", "kim", REASON)
    story.tick()
    assert state(console, failed) == "DELIVERED"


@pytest.mark.refusal("an operator acts without a reason")
def test_an_act_without_a_reason_is_not_done(console: Console, failed: int, operator: Browser) -> None:
    for reason in ("", "  ", "x" * 501):
        answer = act(operator, "queue requeue", reason, delivery=failed)
        assert answer.status_code == 422
        assert "Give a reason" in answer.text
    assert state(console, failed) == "FAILED"
    assert audit(console) == []


def test_a_refused_act_says_what_is_possible(console: Console, failed: int, operator: Browser) -> None:
    answer = act(operator, "queue hold", delivery=failed)
    assert answer.status_code == 409
    assert "GW705" in answer.text
    assert f"gateway queue requeue {failed}" in answer.text
    assert audit(console) == []


def test_a_lane_is_held_tried_and_released(console: Console, operator: Browser, story: Story) -> None:
    story.submit()
    story.tick()
    assert act(operator, "queue hold", lane="KPTA").status_code == 302
    page = operator.get("/console/operations").text
    assert "Held by an operator" in page
    assert REASON in page
    assert act(operator, "queue try", lane="KPTA").status_code == 409
    assert act(operator, "queue release", lane="KPTA").status_code == 302
    assert [row[1] for row in audit(console)] == ["queue hold", "queue release"]
    with read_transaction(console.services.engine) as conn:
        assert lanes.find_lanes(conn, ["KPTA"])["KPTA"].held_at is None


def test_the_gateway_itself_is_not_suspended(console: Console, operator: Browser) -> None:
    assert "party suspend" not in operator.get("/console/operations/parties/hub").text.replace("%20", " ")
    refused = act(operator, "party suspend", party="hub")
    assert refused.status_code == 409
    assert "hub is the gateway itself" in refused.text
    assert "ACTIVE" in operator.get("/console/operations/parties/hub").text


def test_a_party_is_suspended_and_resumed(console: Console, operator: Browser) -> None:
    for verb, status in (("party suspend", "SUSPENDED"), ("party resume", "ACTIVE")):
        assert act(operator, verb, party="broker1").status_code == 302
        with read_transaction(console.services.engine) as conn:
            assert parties.find_party(conn, "broker1").status == status  # type: ignore[union-attr]
    assert [row[1:3] for row in audit(console)] == [
        ("party suspend", "party broker1"),
        ("party resume", "party broker1"),
    ]


@pytest.mark.parametrize(
    ("role", "path"),
    [
        ("observer", "/act?act=queue+hold&lane=KPTA"),
        ("operator", "/act?act=agreement+suspend&agreement=A"),
        ("administrator", "/act?act=queue+hold&lane=KPTA"),
    ],
)
def test_who_lacks_the_right_may_not(console: Console, role: str, path: str) -> None:
    console.add_account("lee", OPERATOR, role)
    lee = console.sign_in("lee")
    page = lee.get("/console/operations/parties/broker1").text
    assert ("party+suspend" in page.replace("%20", "+")) is (role == "operator")
    assert lee.get(f"/console/operations{path}").status_code == 403
    words = path.partition("=")[2].partition("&")[0].replace("+", " ")
    assert act(lee, words, lane="KPTA", agreement="A").status_code == 403


@pytest.mark.parametrize("organisation", [("agency", "KPTA", "head"), ("party", "broker1", "manager")])
def test_others_see_no_page_of_operators(console: Console, organisation: tuple[str, str, str]) -> None:
    console.add_account("lee", organisation[:2], organisation[2])
    lee = console.sign_in("lee")
    for path in ("", "/search?q=x", "/messages/1/octets", "/acts/1", "/audit", "/status"):
        assert lee.get(f"/console/operations{path}").status_code == 403, path
    assert act(lee, "queue hold", lane="KPTA").status_code == 403


@pytest.mark.refusal("an operator does a dangerous act alone")
def test_a_dangerous_act_is_done_by_a_second_person_only(two: Console, failed: int) -> None:
    kim, lee, han = (two.sign_in(name) for name in ("kim", "lee", "han"))
    answer = act(kim, "queue cancel", delivery=failed)
    place = answer.location
    assert place.startswith("/console/operations/acts/")
    assert state(two, failed) == "FAILED"
    assert "wait for a second person" in kim.get("/console/operations").text.replace("waits", "wait")
    assert "You proposed this act" in kim.get(place).text
    assert kim.post(f"{place}/approve", reason="me again").status_code == 409
    han.get("/console/account")
    assert han.post(f"{place}/approve", reason="no right").status_code == 403
    assert state(two, failed) == "FAILED"
    assert "Approve and do it" in lee.get(place).text
    assert lee.post(f"{place}/approve", reason="agreed").status_code == 302
    assert state(two, failed) == "CANCELLED"
    assert lee.post(f"{place}/approve", reason="twice").status_code == 409
    told = audit(two)
    assert [row[:4] for row in told] == [
        ("kim", "queue cancel", f"delivery {failed}", "proposed"),
        ("lee", "queue cancel", f"delivery {failed}", "done"),
    ]
    assert told[1][4] == f"{REASON}; agreed; proposed by kim as act {place.rpartition('/')[2]}"


def test_an_act_is_announced_and_listed_for_every_operator(two: Console, failed: int) -> None:
    kim, lee, han = (two.enter(name) for name in ("kim", "lee", "han"))
    form = kim.get(f"/console/operations/act?act=queue+cancel&delivery={failed}").text
    assert "This act is done when a second person approves it." in form
    place = act(kim, "queue cancel", delivery=failed).location
    assert "Somebody with the right to approve decides on it." in han.get(place).text
    lee.get(place)
    assert lee.post(f"{place}/approve", reason="agreed").status_code == 302
    page = han.get("/console/operations/acts").text
    decided = page[page.index("<h2>Decided</h2>") :]
    for words in (f'href="{place}">', "Cancel delivery", "✓ DONE", "<td>lee</td>"):
        assert words in decided, words


def test_an_act_is_rejected_or_withdrawn(two: Console, failed: int) -> None:
    kim, lee = two.sign_in("kim"), two.sign_in("lee")
    first, second = (act(kim, "queue cancel", delivery=failed).location for _ in range(2))
    assert kim.post(f"{first}/reject", reason="my own").status_code == 409
    lee.get(first)
    assert lee.post(f"{second}/withdraw").status_code == 409
    assert lee.post(f"{first}/reject", reason="it is needed").status_code == 302
    assert kim.post(f"{second}/withdraw").status_code == 302
    for place in (first, second):
        assert lee.post(f"{place}/approve", reason="too late").status_code == 409
    assert state(two, failed) == "FAILED"
    assert [row[3] for row in audit(two)] == ["proposed", "proposed", "rejected", "withdrawn"]


def test_an_act_that_fails_goes_on_waiting(two: Console, failed: int, story: Story) -> None:
    kim, lee = two.sign_in("kim"), two.sign_in("lee")
    place = act(kim, "queue cancel", delivery=failed).location
    act(kim, "queue requeue", delivery=failed)
    story.tick()
    lee.get(place)
    answer = lee.post(f"{place}/approve", reason="agreed")
    assert answer.status_code == 409
    assert "GW705" in answer.text
    assert "Approve and do it" in lee.get(place).text


@pytest.fixture
def administrator(console: Console) -> Browser:
    console.add_account("park", OPERATOR, "administrator")
    return console.sign_in("park")


def upload(browser: Browser, page: str, name: str, octets: bytes, **fields: str) -> Any:
    from io import BytesIO

    browser.get(f"/console/operations/{page}")
    return browser.post(f"/console/operations/{page}", file=(BytesIO(octets), name), **fields)


@pytest.mark.story("an administrator loads an agreement after a look at it")
def test_an_agreement_is_looked_at_before_it_is_loaded(console: Console, administrator: Browser) -> None:
    changed = AGREEMENT.replace(b"2026", b"2026") + b"\n# one more line\n"
    answer = upload(administrator, "agreements", "..\\x/agreement.yaml", changed)
    assert answer.status_code == 302, answer.text
    page = administrator.get(answer.location).text
    assert "# one more line" in page
    assert "DRAFT" in page
    assert audit(console) == []
    assert administrator.post(f"{answer.location}/confirm", reason=REASON).status_code == 302
    ((actor, verb, _, outcome, reason),) = audit(console)
    assert (actor, verb, outcome, reason) == ("park", "agreement load", "done", REASON)
    assert "DONE" in administrator.get(answer.location).text


def test_a_file_that_is_no_agreement_says_so(administrator: Browser) -> None:
    answer = upload(administrator, "agreements", "a.yaml", b"pmodes: 7")
    assert answer.status_code == 422
    assert "GW" in answer.text


@pytest.mark.story("an administrator suspends an agreement")
def test_an_agreement_is_suspended_by_its_button(console: Console, administrator: Browser) -> None:
    page = administrator.get("/console/operations/agreements").text
    (address,) = re.findall(r'href="([^"]+)">Suspend agreement</a>', page)
    form = administrator.get(unescape(address)).text
    assert f"Agreement <code>{AGREEMENT_ID}</code>" in form
    fields = dict(re.findall(r'<input type="hidden" name="(act|agreement)" value="([^"]*)"', form))
    assert fields == {"act": "agreement suspend", "agreement": AGREEMENT_ID}
    done = administrator.post("/console/operations/act", reason=REASON, **fields)
    assert done.location == "/console/operations/agreements"
    page = administrator.get(done.location).text
    assert "SUSPENDED" in page[page.index("<tbody>") :]
    assert ">Suspend agreement</a>" not in page
    party = administrator.get("/console/operations/parties/broker1").text
    assert f'<code>{AGREEMENT_ID}</code> <span class="state bad">✗ SUSPENDED</span>' in party
    unknown = administrator.get("/console/operations/act?act=agreement+suspend&agreement=urn:none").text
    assert "Nothing was chosen." in unknown


def test_the_findings_on_an_agreement_are_shown_before_it_is_loaded(
    story: Story, administrator: Browser
) -> None:
    place = upload(administrator, "agreements", "a.yaml", AGREEMENT.replace(b"broker1", b"broker9")).location
    page = administrator.get(place).text
    assert '<a href="/console/operations/problems/GW313">GW313</a> <span lang="en">not loaded' in page
    assert '<li class="bad"><span class="state bad" lang="en">✗ error</span>' in page
    assert "party-unknown: no party is registered as" in page
    assert "<code>a.yaml:11</code>" in page
    assert "/confirm" not in page
    with write_transaction(story.house.engine) as conn:
        parties.set_party_status(conn, "broker1", "SUSPENDED")
    page = administrator.get(upload(administrator, "agreements", "a.yaml", AGREEMENT).location).text
    assert '<li><span class="state warn" lang="en">! warning</span>' in page
    assert "No line differs." in page
    assert "/confirm" in page


def test_long_lists_of_parties_and_agreements_go_on(
    administrator: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.web.console.operations.act_pages.PAGE", 1)
    second = AGREEMENT.replace(b"broker1-hub:2026", b"broker1-hub:2027")
    place = upload(administrator, "agreements", "b.yaml", second).location
    assert administrator.post(f"{place}/confirm", reason=REASON).status_code == 302
    for path in ("/console/operations/parties", "/console/operations/agreements"):
        first = administrator.get(path).text
        (following,) = re.findall(r'<a href="([^"]+)">Next page</a>', first)
        second_page = administrator.get(path + unescape(following)).text
        rows = [re.findall(r'<tr><th scope="row">(.*?)</th>', page) for page in (first, second_page)]
        assert [len(row) for row in rows] == [1, 1]
        assert rows[0] != rows[1]
        assert "There are none." in administrator.get(f"{path}?text=nothing").text


def test_a_draft_is_seen_by_who_made_it_only(
    console: Console, administrator: Browser, operator: Browser
) -> None:
    place = upload(administrator, "agreements", "a.yaml", AGREEMENT).location
    assert operator.get(place).status_code == 404
    console.add_account("lee", OPERATOR, "administrator", "supervisor")
    lee = console.sign_in("lee")
    lee.get("/console/account")
    for decision in ("confirm", "approve", "withdraw"):
        assert lee.post(f"{place}/{decision}", reason=REASON).status_code in (404, 409), decision
    assert audit(console) == []


def test_an_agency_is_switched_to_the_console_and_back(story: Story, tmp_path: Path) -> None:
    issued = issue_certificate(authority(), "CN=KPTA", story.clock(), CertificateOrder(days=30))
    (tmp_path / "key.pem").write_bytes(encode_key_pem(issued.key))
    (tmp_path / "certificate.pem").write_bytes(issued.certificate.pem)
    key = {
        "signing_key": {"file": str(tmp_path / "key.pem")},
        "signing_certificate": str(tmp_path / "certificate.pem"),
    }
    section = {"endpoint": "https://kpta.example/soap", "pki": key}
    console = Console(story.house.hub, agency={"KPTA": section})
    console.add_account("kim", OPERATOR, "operator")
    kim = console.sign_in("kim")
    story.submit()
    story.tick()
    assert "Decide at the console" in kim.get("/console/operations/lanes/KPTA").text
    assert act(kim, "agency console", agency="KPTA").location == "/console/operations/lanes/KPTA"
    page = kim.get("/console/operations/lanes/KPTA").text
    assert REASON in page
    assert "Back to its own system" in page
    assert act(kim, "agency console", agency="KPTA").status_code == 409
    assert act(kim, "agency back", agency="KPTA").status_code == 302
    assert act(kim, "agency console", agency="NOBODY").status_code in (409, 422)
    assert [row[1] for row in audit(console)] == ["agency console", "agency console"]
