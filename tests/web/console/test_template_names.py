"""Every template and macro of the console is rendered, and every attribute that one names is there.

One story fills the pages: applications with each kind of act, fees, failed deliveries, drafts, answers.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine
from werkzeug.test import TestResponse

from gateway.accounts import Right
from gateway.agreements import AgreementFinding
from gateway.cases import NamedFee, Notice, ProviderEvent, read_money
from gateway.errors import KEY_UNAVAILABLE, GatewayError
from gateway.hub import apply_provider_event
from gateway.hub.fees.payment_policy import PaymentPolicy
from gateway.message_model import MessageProperty
from gateway.operations.partner_status import AwayPartner, DisturbedAgency
from gateway.operations.replaced_decisions import Replacement
from gateway.store import (
    CaseRow,
    RefusalCount,
    StateEvent,
    accounts,
    cases,
    event_readers,
    fee_searches,
    fees,
    make_engine,
    messages,
    read_transaction,
    refusal_counts,
    write_transaction,
)
from gateway.store.exact_searches import ProblemMessageRow
from gateway.store.fees import FeeMovementRow
from gateway.store.mapping_bundles import MappingPeriod, MappingUseRow
from gateway.store.message_rows import ListedMessageRow
from gateway.store.officer_work import ConsoleSwitchRow
from gateway.store.parties import MandateRow
from gateway.web.console.filing.draft_service import DraftFinding
from gateway.web.console.following.case_signatures import StateWords
from gateway.web.console.following.case_view import RefundView
from gateway.web.console.page_guards import Visitor
from tests.flows.craft import reference
from tests.kit.authenticator import Authenticator
from tests.kit.console import PASSWORD, Browser, Console
from tests.kit.databases import Templates
from tests.kit.house import AGREEMENT
from tests.kit.officers import ConsoleStory
from tests.kit.openid_provider import CLIENT, SECRET, serve_provider
from tests.kit.releases import cancel_above, release
from tests.kit.story import Story, unreachable
from tests.kit.template_names import TemplateNames, has_attribute
from tests.web.console.test_filing import FOOD, begin, hand_in, send, sign
from tests.web.console.test_officers_acts import FUTURE, hidden
from tests.web.console.test_openid import sign_in as sign_in_by_openid
from tests.web.console.test_passkeys import register

HUB, KFDA, BROKER = ("operator", "hub"), ("agency", "KFDA"), ("party", "broker1")
REASON = "agreed with Ms Lee"
EXPIRY = "APP[2]/KFDA-FOOD-IMP/ITEM[2]/ExpiryDate"
REFUND = "each of each of each of view.applications.fees.refunds"
PARTS = "each of report.payloads|selectattr|list"
PROBLEM = GatewayError(KEY_UNAVAILABLE, "no key", "pki")
NOTICE = {"kind": "incident", "title_en": "Slow", "title_ko": "지연", "text_en": "Late.", "text_ko": "늦음"}


#: What a variable holds that no page of this test fills.
CLASSES: dict[tuple[str, str], Any] = {
    ("filing/section.html", "each of warnings"): DraftFinding,
    ("following/answer_return.html", "message"): ListedMessageRow,
    ("following/answer_return.html", "other"): CaseRow,
    ("following/case.html", REFUND): RefundView,
    ("following/case.html", "each of each of view.applications.decisions.replacement"): Replacement,
    ("following/case.html", f"{REFUND}.row"): FeeMovementRow,
    ("following/case.html", f"{REFUND}.state"): StateWords,
    ("following/no_answer.html", "problem"): PROBLEM,
    ("following/no_answer.html", "problem.problem"): PROBLEM.problem,
    ("operations/act_preview.html", "each of preview.findings"): AgreementFinding,
    ("operations/act_preview.html", "preview.problem"): PROBLEM,
    ("operations/act_preview.html", "preview.problem.problem"): PROBLEM.problem,
    ("operations/act_preview.html", "dict in line 25"): dict,
    ("operations/dashboard.html", "each of endings.problems"): PROBLEM,
    ("operations/dashboard.html", "each of endings.problems.problem"): PROBLEM.problem,
    ("operations/lane.html", "switch"): ConsoleSwitchRow,
    ("operations/mappings.html", "each of uses"): MappingUseRow,
    ("operations/mappings.html", "plan"): MappingPeriod,
    ("operations/message.html", "Right"): Right,
    ("operations/message.html", "visitor"): Visitor,
    ("operations/message.html", "each of report.properties"): MessageProperty,
    ("operations/message.html", f"each of {PARTS}.properties"): MessageProperty,
    ("operations/party.html", "each of mandates"): MandateRow,
    ("operations/problem.html", "each of messages"): ProblemMessageRow,
    ("operations/public_status.html", "each of status.agencies.away"): AwayPartner,
    ("operations/public_status.html", "each of status.agencies.disturbed"): DisturbedAgency,
}
#: Mappings of reports that no page of this test fills: their keys are in no class.
MAPPINGS = {
    ("operations/act_preview.html", "preview.changes"),
    ("operations/case.html", "each of or in line 18"),
    ("operations/case.html", "each of report.results"),
    ("operations/message.html", "report.fragments"),
    ("operations/message.html", "report.verdict"),
    ("operations/message.html", PARTS),
}


class Pages:
    """The consoles of one hub, whose templates say what they read."""

    def __init__(self, engine: Engine) -> None:
        self.story = ConsoleStory(engine, "KFDA", four_eyes=True)
        self.names = TemplateNames()
        self.console = self.open_console(console={"second_person": ["queue cancel", "account role"]})
        self.names.compile_all(self.console.application.jinja_env)

    def watch(self, console: Console) -> Console:
        self.names.watch(console.application.jinja_env)
        return console

    def open_console(self, **sections: Any) -> Console:
        return self.watch(Console(self.story.hub, desk=self.story.desk, **{"agency": {}} | sections))

    def add(self, name: str, kind: str, code: str, *roles: str) -> Browser:
        self.console.add_account(name, (kind, code), *roles)
        return self.enter(name)

    def enter(self, name: str) -> Browser:
        """Return a browser that has the form token of its session."""
        browser = self.console.enter(name)
        browser.get("/console/account")
        return browser

    def list_case_numbers(self) -> list[str]:
        with read_transaction(self.story.house.engine) as conn:
            return [str(row.number) for row in cases.list_cases(conn)]

    def find_message_id(self) -> str:
        with read_transaction(self.story.house.engine) as conn:
            return str(messages.list_messages(conn, direction="in")[0].message_id)


def show(browser: Browser, *paths: str, status: int = 200) -> str:
    """Return the last of these pages below `/console`."""
    for path in paths:
        page = browser.get(f"/console{path}")
        assert page.status_code == status, (path, page.status_code, page.text[-2000:])
    return page.text


def post(browser: Browser, path: str, *, status: int = 302, **fields: Any) -> TestResponse:
    answer = browser.post(f"/console{path}", **fields)
    assert answer.status_code == status, (path, answer.status_code, answer.text[-2000:])
    return answer


def fill_story(story: ConsoleStory) -> None:
    """Fill the hub: a fee that was paid, a failed call, a refused submission, counted refusals, a webhook."""
    story.submit()
    story.tick()
    unpaid, story.hub.payments = story.hub.payments, PaymentPolicy(True, {}, b"")
    fee = NamedFee(read_money("30000", "KRW"))
    story.hear("KPTA", Notice("KPTA-Y", story.clock(), "Y05", fee=fee))
    now = story.clock()
    with write_transaction(story.house.engine) as conn:
        (row,) = fee_searches.list_by_case(conn, story.case().id)
        fees.apply_event(conn, row.id, StateEvent("order", now, "test"), address="https://pay.example/1")
        refusal_counts.add_refusals(conn, [RefusalCount("broker1", "GW102", 7, now, now, "refused")])
        event_readers.insert_webhook(conn, "mine", "broker1", "https://mine.example/", now)
    paid = ProviderEvent("paid", row.number, "P-1", read_money("30000", "KRW"), now)
    assert apply_provider_event(story.hub, paid) == "counted"
    story.hub.payments = unpaid
    story.submit(b"<wrong/>", attach=False)
    story.tick(seconds=1)
    story.say("NPQS", *[unreachable()] * 4)
    story.submit(story.submission(reference("HB-2")))
    for _ in range(4):
        story.tick(minutes=2)


def act(browser: Browser, number: str, act_kind: str, **fields: Any) -> TestResponse:
    """Fill in the form of an act, look at its preview, and confirm it."""
    path = f"/applications/{number}/acts/{act_kind}"
    form = hidden(show(browser, path)) | {"step": "preview"} | fields
    preview = post(browser, path, status=200, **form)
    return post(browser, path, **{"confirm": "session"} | hidden(preview.text))


def visit_work(pages: Pages) -> None:
    """See the pages of officers, with each kind of act."""
    story = pages.story
    kim = pages.add("kim", *KFDA, "head")
    pages.add("lee", *KFDA, "approver", "head")
    number = story.look().number
    page = f"/applications/{number}"
    show(kim, "/work", "/work?q=x", "/work?tab=all", "/work/statistics", page)
    post(kim, "/work/claims", claim=f"open {number} 0")
    act(kim, number, "receive", status_code="C04", text="Kim has it.")
    act(kim, number, "inspect", status_code="E01", kind="field", on="2026-12-03", place="Incheon")
    act(kim, number, "fee", status_code="Y01", amount="12000", currency="KRW", until="2026-12-01")
    act(kim, number, "ask", text="Which class?", pointer=[EXPIRY, "42A/D026"], deadline=FUTURE)
    post(kim, f"{page}/acts/decide", status=422, step="preview", **hidden(show(kim, f"{page}/acts/decide")))


def decide(pages: Pages) -> None:
    """See how two officers decide."""
    kim, lee, story = pages.enter("kim"), pages.enter("lee"), pages.story
    number = story.look().number
    page = f"/applications/{number}"
    chosen = hidden(post(kim, "/work/batch", status=200, number=number).text)
    post(kim, "/work/batch", status=422, step="preview", **chosen)
    together = {"d0-decision": "APPROVED", f"number-{number}": "P-7", "valid_until": "2027-02-28"}
    preview = hidden(post(kim, "/work/batch", status=200, step="preview", **chosen | together).text)
    done = post(kim, "/work/batch", status=200, **preview | {"confirm": "session"})
    assert "Done" in done.text
    show(kim, page, f"{page}/proposal")
    withdrawn = hidden(show(kim, f"{page}/proposal")) | {"step": "withdraw"}
    post(kim, f"{page}/proposal", **withdrawn)
    decision = {"d0-decision": "APPROVED", "d0-number": "P-7", "d0-quantity": "5000", "d0-unit": "NMB"}
    act(kim, number, "decide", text="As lot 7.", reason="seen", valid_until="2027-02-28", **decision)
    approved = hidden(show(lee, f"{page}/proposal")) | {"step": "approve", "confirm": "session"}
    post(lee, f"{page}/proposal", **approved)
    story.tick()
    for _ in range(6):
        story.hub.statistics.count_new_steps()
    show(kim, page, f"{page}/acts/correct", f"{page}/acts/revoke", "/work/statistics")
    answer = f"/cases/{story.case().number}/answers/{number}"
    show(pages.enter("han"), f"/cases/{story.case().number}", "/cases/statistics")
    show(pages.enter("han"), answer, status=409)
    show(pages.enter("han"), "/cases/statistics?since=2026-11-20&until=2026-01-01", status=400)
    show(pages.enter("han"), "/account/certificates")


def follow_cases(pages: Pages) -> None:
    """See the pages of a trader who follows cases and answers a question."""
    story, han = pages.story, pages.add("han", *BROKER, "manager")
    form = f"/cases/{story.case().number}/answers/{story.request('KFDA').number}"
    case = f"/cases/{story.case().number}"
    show(han, "/cases", "/cases?state=ended", case, form, "/cases/statistics")
    show(han, f"{form}?all=1")
    post(han, form, status=422, all="1", **{"a#1/i#2/expiry_date": "31.1.2028"})
    made = post(han, form, status=303, all="1", **{"a#1/i#2/expiry_date": "2028-01-31"})
    show(han, made.location.removeprefix("/console"), form)
    post(han, made.location.removeprefix("/console"), status=422, signed=(io.BytesIO(b"x"), "x.xml"))


def follow_release(pages: Pages, engine: Engine) -> None:
    """See the case of which a part has left, and the case of that part, as the trader and as operators."""
    story = Story(engine)
    parent, child = release(story)
    console = pages.watch(Console(story.hub))
    console.add_account("han", BROKER, "filer")
    console.add_account("root", HUB, "observer")
    show(console.enter("han"), "/cases", f"/cases/{parent}", f"/cases/{child}")
    show(console.enter("root"), f"/operations/cases/{parent}", f"/operations/cases/{child}")
    cancel_above(story, parent, "KPTA")
    show(console.enter("han"), f"/cases/{child}")


def file_drafts(pages: Pages) -> None:
    """See the pages of a trader who fills in forms."""
    han = pages.enter("han")
    show(han, "/submissions", "/submissions/new", "/submissions/earlier")
    post(han, "/submissions/new", status=422)
    draft = begin(han, FOOD)
    send(han, f"{draft}/items", act="add", concerns=["1|1"])
    send(han, f"{draft}/items/1", act="add|a#1/i#1|ingredient")
    path = draft.removeprefix("/console")
    names = ("", "?check=1", "/declaration?check=1", "/items", "/items/1?check=1", "/documents/1", "/sign")
    show(han, "/submissions", *(f"{path}{name}" for name in names))
    table = (io.BytesIO(b"no column\n1\n"), "items.csv")
    post(han, f"{path}/items/import", status=422, version="1", table=table)
    earlier = re.findall(r"/console(/submissions/earlier/[0-9]+)", show(han, "/submissions/earlier"))
    copy = post(han, earlier[-1]).location
    send(han, f"{copy}/declaration", typed={"h/declaration.reference": "OWN-9"})
    show(han, f"{copy.removeprefix('/console')}/items/2", f"{copy.removeprefix('/console')}/sign")
    hand_in(han, copy, sign(han, copy, pages.story))
    pages.story.tick()
    show(han, copy.removeprefix("/console"), "/submissions")


def operate(pages: Pages) -> None:
    """See the pages of operators."""
    story, root = pages.story, pages.add("root", *HUB, "administrator", "supervisor")
    failed = story.delivery(destination="NPQS", state="FAILED").id
    base = "/operations"
    lists = ("", "/deliveries", "/messages", "/cases", "/parties", "/agreements", "/mappings", "/acts")
    single = (f"/deliveries/{failed}", "/lanes/NPQS", "/messages/1", "/parties/broker1", "/audit/1")
    case_pages = [f"/cases/{number}" for number in pages.list_case_numbers()]
    more = (
        "/audit",
        "/problems",
        "/problems/GW601",
        "/problems/GW102",
        "/search?q=HB-2",
        "/search?q=refused",
    )
    show(root, *(base + path for path in (*lists, *single, *case_pages, *more, "/status")))
    for order in (f"delivery={failed}", "message=1", "lane=NPQS", "party=broker1", "agency=KPTA"):
        show(root, f"{base}/act?act=queue+hold&{order}")
    (agreement,) = re.findall(r"/act[?](act=agreement[^\"]+)", show(root, f"{base}/agreements"))
    show(root, f"{base}/act?{unescape(agreement)}")
    show(root, f"{base}/act?act=fees+waive&fee={story.number_of('KPTA')}-F01")
    show(root, f"{base}/search?q={pages.find_message_id()}", f"{base}/problems/GW101")
    show(root, f"{base}/search?q=GW601", f"{base}/search?q=broker1", f"{base}/search?q=KPTA")
    post(root, f"{base}/act", act="queue hold", lane="KPTA", reason=REASON)
    show(root, f"{base}/lanes/KPTA", f"{base}/lanes/local")
    post(root, f"{base}/act", act="party suspend", party="NPQS", reason=REASON)
    show(root, base, f"{base}/parties/NPQS")
    proposed = post(root, f"{base}/act", act="queue cancel", delivery=failed, reason=REASON)
    show(root, proposed.location.removeprefix("/console"), f"{base}/acts")
    post(root, f"{base}/status", status=422, kind="incident")
    post(root, f"{base}/status", **NOTICE, starts_at="2026-11-20T08:00", ends_at="")
    show(root, f"{base}/status", "/status")
    loaded = post(root, f"{base}/agreements", file=(io.BytesIO(AGREEMENT + b"# again\n"), "a.yaml"))
    show(root, loaded.location.removeprefix("/console"))
    post(root, f"{base}/agreements", status=422, file=(io.BytesIO(b"no"), "a.yaml"))
    show(root, f"{base}/cases/NONE", status=404)


def manage_people(pages: Pages) -> None:
    """See the pages of accounts: people, their roles and links, one's own ways to sign in."""
    root, kim = pages.enter("root"), pages.enter("kim")
    show(root, "/people", "/people?q=kim", "/people?q=nobody", "/people/add", "/people/1")
    show(kim, "/people", "/people/add", "/account", "/account/passkeys", "/account/certificates")
    choi = {"name": "choi", "display_name": "Choi", "language": "ko", "role": "officer"}
    added = post(kim, "/people/add", status=200, **choi)
    link = re.search(r"/console(/welcome/[\w-]{43})", added.text)
    assert link is not None
    show(pages.console.visit(), link[1])
    show(pages.console.visit(), "/welcome/x", status=404)
    roles = {"organisation": "agency/KFDA", "role": "officer", "reason": REASON}
    changed = post(root, "/people/1/roles", **roles)
    show(root, changed.location.removeprefix("/console"))
    proposed = post(root, "/people/add", status=200, **choi | roles | {"name": "choi2"})
    link, act = (
        re.search(pattern, proposed.text) for pattern in (r"/welcome/[\w-]{43}/code", r"/operations/acts/\d+")
    )
    assert link is not None
    assert act is not None
    show(pages.console.visit(), link[0])
    han = pages.add("han2", *HUB, "supervisor")
    show(han, act[0])
    post(han, f"{act[0]}/approve", status=200, reason=REASON)
    invited = post(root, "/people/1/link", status=200, reason=REASON)
    show(han, *re.findall(r"/operations/acts/\d+", invited.text))
    four_eyes = {"KFDA": {"endpoint": "http://127.0.0.1:9/", "four_eyes": True}}
    same = pages.open_console(agency=four_eyes).enter("kim")
    show(same, "/account")
    for name in ("choi3", "choi4"):
        post(same, "/people/add", status=200, **choi | {"name": name, "reason": REASON})
    waiting = max(int(number) for number in re.findall(r"acts/(\d+)/withdraw", show(same, "/people")))
    post(pages.enter("root"), f"/operations/acts/{waiting}/reject", reason=REASON)
    show(same, "/people")
    register(kim, Authenticator())
    show(kim, "/account/passkeys")
    show(root, *(f"/people/{number}" for number in range(1, 5)))


def sign_in(pages: Pages, folder: Path) -> None:
    """See the ways to sign in, and what is said of a form whose session has ended."""
    secret = folder / "secret"
    secret.write_text(SECRET + "\n")
    with serve_provider(pages.story.clock) as provider:
        oidc = {"issuer": provider.issuer, "client_id": CLIENT, "client_secret": {"file": str(secret)}}
        console = pages.open_console(console={"oidc": oidc | {"label": "Ministry"}})
        with write_transaction(pages.story.house.engine, "test") as conn:
            kim = accounts.find_by_name(conn, "kim")
            assert kim is not None
            accounts.update_account(conn, kim.id, oidc_issuer=provider.issuer, oidc_subject=provider.subject)
            accounts.set_password(conn, kim.id, None, pages.story.clock())
        show(console.visit(), "/sign-in")
        entered, answer = sign_in_by_openid(console)
        assert answer.status_code == 200
        pages.story.clock.forward(minutes=6)
        show(entered, "/account", "/account/passkeys")
        han = console.enter("han")
        show(han, "/submissions/new")
        pages.story.clock.forward(minutes=31)
        page = post(han, "/submissions/new", status=401, document=FOOD).text
        encrypted = re.search(r'name="kept" value="([^"]+)"', page)
        assert encrypted is not None
        kept_form = {"kept": encrypted[1], "next": "/console/"}
        post(han, "/sign-in/openid", status=200, **kept_form)
        post(han, "/sign-in", status=200, name="han", password=PASSWORD, kept=encrypted[1])


def meet_a_problem(pages: Pages, monkeypatch: pytest.MonkeyPatch) -> None:
    """See the page of a problem that no page expects."""

    def refuse() -> None:
        raise PROBLEM

    monkeypatch.setattr(pages.story.hub, "refresh_snapshot", refuse)
    show(pages.enter("root"), "/operations/mappings", status=503)


@pytest.fixture
def other_engine(templates: Templates) -> Iterator[Engine]:
    """Give an engine on a second database."""
    url = templates.fresh("sqlite")
    engine = make_engine(url)
    yield engine
    engine.dispose()
    templates.drop(url)


def test_what_templates_name_is_there(
    engine: Engine, other_engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = Pages(engine)
    fill_story(pages.story)
    visit_work(pages)
    follow_cases(pages)
    decide(pages)
    follow_release(pages, other_engine)
    file_drafts(pages)
    operate(pages)
    manage_people(pages)
    sign_in(pages, tmp_path)
    meet_a_problem(pages, monkeypatch)
    assert sorted(pages.names.parts - pages.names.rendered) == [], "rendered by no page of this test"
    assert list_absent(pages.names) == []
    unread = {(named.template, named.variable) for named, _ in pages.names.list_unread()}
    assert sorted({*CLASSES, *MAPPINGS} - unread) == [], "read by pages, or named by no template"


def list_absent(names: TemplateNames) -> list[str]:
    """Return the attributes that no page has read and that their objects, or their classes, do not have."""
    absent = []
    for named, objects in names.list_unread():
        variable = (named.template, named.variable)
        owners = [*objects.values(), *([CLASSES[variable]] if variable in CLASSES else [])]
        if variable not in MAPPINGS and not any(has_attribute(owner, named.attribute) for owner in owners):
            absent.append(str(named))
    return absent
