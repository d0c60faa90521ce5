"""Acts of officers on the pages: forms, preview, confirmation, four eyes, batches, claims."""

from __future__ import annotations

import re
from html import unescape

import pytest
from sqlalchemy import Engine, select

from gateway.hub.fees.agency_payment_notes import waive_fee
from gateway.store import accounts, fees, read_transaction, write_transaction
from gateway.store.requirement_quantities import requirements
from gateway.web.server import CERTIFICATE_KEY
from tests.flows.craft import reference, withdrawal
from tests.kit.authenticator import Authenticator
from tests.kit.console import Browser, Console
from tests.kit.databases import BOTH
from tests.kit.officers import ConsoleStory
from tests.kit.story import asked
from tests.web.console.test_certificate_sign_in import bind, issue, revoke
from tests.web.console.test_passkeys import register

FIELD = re.compile(r'<input type="hidden" name="([\w-]+)" value="([^"]*)">')
FUTURE = "2027-01-31T18:00"


class Desk:
    """One agency at the console, with its officers."""

    def __init__(self, engine: Engine, **options: object) -> None:
        self.story = ConsoleStory(engine, "KFDA", **options)
        self.console = Console(self.story.hub, desk=self.story.desk, agency={})
        self.story.submit()
        self.story.tick()

    @property
    def number(self) -> str:
        return str(self.story.look().number)

    def officer(self, name: str, *roles: str) -> Browser:
        self.console.add_account(name, ("agency", "KFDA"), *(roles or ("officer",)))
        return self.console.sign_in(name)


@pytest.fixture
def desk(engine: Engine) -> Desk:
    return Desk(engine)


def hidden(page: str, step: str = "confirm") -> dict[str, list[str]]:
    """Return the hidden fields of the first form of a page, as its buttons send them."""
    form = page[page.index('<form method="post" action="/console/', page.index("<main")) :]
    form = form[: form.index("</form>")]
    found: dict[str, list[str]] = {}
    for name, value in FIELD.findall(form):
        found.setdefault(name, []).append(unescape(value))
    del found["form_token"]
    return found


def fill(browser: Browser, desk: Desk, act: str, **fields: object) -> object:
    """Open a form, fill it in, and press Preview."""
    page = browser.get(f"/console/applications/{desk.number}/acts/{act}")
    assert page.status_code == 200, page.text
    values = {name: one[0] for name, one in hidden(page.text).items()} | {"step": "preview"} | fields
    return browser.post(f"/console/applications/{desk.number}/acts/{act}", **values)


def confirm(browser: Browser, desk: Desk, kind: str, preview: str, **more: object) -> object:
    return browser.post(
        f"/console/applications/{desk.number}/acts/{kind}",
        **({"confirm": "session"} | hidden(preview) | more),
    )


def decide(browser: Browser, desk: Desk, kind: str = "decide", **fields: object) -> object:
    preview = fill(browser, desk, kind, **({"d0-decision": "APPROVED", "d0-number": "P-7"} | fields))
    assert preview.status_code == 200, preview.text
    return confirm(browser, desk, kind, preview.text)


@pytest.mark.story("an officer decides what the preview has shown")
@BOTH
def test_an_officer_decides_after_a_preview_with_its_digest(desk):
    kim = desk.officer("kim")
    preview = fill(
        kim,
        desk,
        "decide",
        **{"d0-decision": "APPROVED", "d0-number": "P-7", "d0-quantity": "1,950", "d0-unit": "NMB"},
    ).text
    digest = hidden(preview)["digest"][0]
    assert digest in preview
    assert desk.story.look().state == "ACKNOWLEDGED", "a preview sends nothing"
    done = confirm(kim, desk, "decide", preview)
    assert done.status_code == 302, done.text
    seen = desk.story.look()
    assert (seen.state, seen.decisions[0].number, str(seen.decisions[0].quantity)) == (
        "DECIDED",
        "P-7",
        "1950",
    )
    assert "This was sent." in kim.get(done.location).text


@pytest.mark.refusal("an officer sends what was not previewed")
def test_what_was_not_previewed_is_not_sent(desk):
    kim = desk.officer("kim")
    preview = fill(kim, desk, "decide", **{"d0-decision": "APPROVED"}).text
    changed = confirm(kim, desk, "decide", preview, **{"d0-decision": "REJECTED", "d0-conditions": "no"})
    assert changed.status_code == 409
    assert desk.story.look().state == "ACKNOWLEDGED"


@pytest.mark.refusal("an officer decides on an old page")
def test_an_application_that_changed_meanwhile_is_shown_again(desk):
    kim = desk.officer("kim")
    preview = fill(kim, desk, "decide", **{"d0-decision": "APPROVED"}).text
    asked = fill(kim, desk, "ask", text="Which lot?", pointer="42A/D026", deadline=FUTURE)
    assert confirm(kim, desk, "ask", asked.text).status_code == 302
    late = confirm(kim, desk, "decide", preview)
    assert (late.status_code, "GW706" in late.text) == (409, True)


@pytest.mark.story("an officer asks for information")
def test_information_is_asked_by_ticking_fields(desk):
    kim = desk.officer("kim")
    pointer = "APP[2]/KFDA-FOOD-IMP/ITEM[2]/FoodClass[1]"
    page = kim.get(f"/console/applications/{desk.number}/acts/ask").text
    assert f'value="{pointer}"' in page
    preview = fill(kim, desk, "ask", text="Which class?", pointer=[pointer, "42A/D026"], deadline=FUTURE).text
    assert "Food class" in preview
    assert confirm(kim, desk, "ask", preview).status_code == 302
    seen = desk.story.look()
    assert (seen.state, seen.request.due_at.isoformat()) == (
        "INFORMATION_REQUIRED",
        "2027-01-31T09:00:00+00:00",
    )
    desk.story.tick()
    notice = desk.story.inbox.documents("Notice")[-1]
    assert [one.text for one in notice.iter("{*}Pointer")] == [pointer, "42A/D026"]
    shown = kim.get(f"/console/applications/{desk.number}").text
    assert "Which class?" in shown


WRONG = [
    ("ask", {"pointer": "42A/D026", "deadline": FUTURE}, "text"),
    ("ask", {"text": "What?", "deadline": FUTURE}, "pointer"),
    ("ask", {"text": "What?", "pointer": "42A/D026"}, "deadline"),
    ("ask", {"text": "What?", "pointer": "42A/D026", "deadline": "2020-01-01T00:00"}, "deadline"),
    ("ask", {"text": "What?", "pointer": "/etc/passwd", "deadline": FUTURE}, "pointer"),
    ("decide", {}, "d0-decision"),
    ("decide", {"d0-decision": "MAYBE"}, "d0-decision"),
    ("decide", {"d0-decision": "REJECTED"}, "d0-conditions"),
    ("decide", {"d0-decision": "APPROVED_WITH_CONDITIONS"}, "d0-conditions"),
    ("decide", {"d0-decision": "APPROVED", "d0-quantity": "-1", "d0-unit": "KGM"}, "d0-quantity"),
    ("decide", {"d0-decision": "APPROVED", "d0-quantity": "NaN", "d0-unit": "KGM"}, "d0-quantity"),
    ("decide", {"d0-decision": "APPROVED", "d0-quantity": "1"}, "d0-unit"),
    ("decide", {"d0-decision": "APPROVED", "d0-quantity": "5000", "d0-unit": "pieces"}, "d0-unit"),
    ("decide", {"d0-decision": "APPROVED", "d0-quantity": "5000", "d0-unit": "NMB"}, "text"),
    ("decide", {"d0-decision": "APPROVED", "d0-quantity": "0.601", "d0-unit": "TNE"}, "text"),
    ("decide", {"d0-decision": "APPROVED", "d0-quantity": "5", "d0-unit": "LTR", "reason": "x"}, "text"),
    ("decide", {"d0-decision": "APPROVED", "d0-quantity": "0,5", "d0-unit": "NMB"}, "d0-quantity"),
    ("decide", {"d0-decision": "APPROVED", "d0-date": "tomorrow"}, "d0-date"),
    ("decide", {"d0-decision": "APPROVED", "d0-number": "x" * 129}, "d0-number"),
    ("decide", {"d0-decision": "APPROVED", "valid_until": "2027-02-28"}, "valid_until"),
    (
        "decide",
        {"d0-decision": "NOT_CONCERNED", "d0-number": "P-7", "valid_until": "2027-02-28"},
        "valid_until",
    ),
    ("decide", {"d0-decision": "APPROVED", "d0-number": "P-7", "valid_until": "2026-11-19"}, "valid_until"),
    ("decide", {"d0-decision": "APPROVED", "d0-number": "P-7", "valid_until": "soon"}, "valid_until"),
    ("decide", {"d0-decision": "APPROVED", "d0-conditions": "a\x0bb"}, "d0-conditions"),
    ("inspect", {"status_code": "R01"}, "status_code"),
    ("receive", {"status_code": ""}, "status_code"),
    ("receive", {"status_code": "C04", "text": "x" * 4001}, "text"),
    ("inspect", {"status_code": "E01", "kind": "k" * 200, "text": "x" * 3990}, "text"),
    ("fee", {"status_code": "Y01", "amount": "12.5", "currency": "KRW"}, "amount"),
    ("fee", {"status_code": "Y01", "amount": "0", "currency": "KRW"}, "amount"),
    ("fee", {"status_code": "Y01", "amount": "12,000 won", "currency": "KRW"}, "amount"),
    ("fee", {"status_code": "Y01", "amount": "12,50", "currency": "EUR"}, "amount"),
    ("fee", {"status_code": "Y01", "amount": "12000", "currency": ""}, "amount"),
    ("fee", {"status_code": "Y01", "amount": "12000", "currency": "WON"}, "amount"),
    ("fee", {"status_code": "Y01", "until": "2026-11-19"}, "until"),
]


@pytest.mark.long
def test_a_wrong_field_has_its_sentence_beside_it(desk):
    kim = desk.officer("kim")
    for kind, fields, wrong in WRONG:
        answer = fill(kim, desk, kind, **fields)
        assert (answer.status_code, f'id="e-{wrong}"' in answer.text) == (422, True), (kind, fields)
    assert desk.story.look().state == "ACKNOWLEDGED"


def test_a_preview_says_what_only_the_agency_reads(desk):
    kim = desk.officer("kim")
    seen = {"status_code": "E01", "kind": "field", "place": "Incheon", "findings": "wet"}
    preview = fill(kim, desk, "inspect", **seen).text
    mark = '<span class="hint">for the file: only your agency reads it</span>'
    assert f'<dt>Findings {mark}</dt><dd class="written">wet</dd>' in preview
    assert preview.count(mark) == 1
    assert confirm(kim, desk, "inspect", preview).status_code == 302
    assert desk.story.look().state == "INSPECTION"


def test_what_officers_have_written_is_shown_to_their_agency_again(desk):
    kim, lee = desk.officer("kim"), desk.officer("lee", "reader")
    seen = {
        "status_code": "E01",
        "kind": "field",
        "on": "2026-11-23",
        "place": "Incheon <b>",
        "findings": "wet",
    }
    assert confirm(kim, desk, "inspect", fill(kim, desk, "inspect", **seen).text).status_code == 302
    page = lee.get(f"/console/applications/{desk.number}").text
    written = page[page.index("Acts of officers") :]
    for words in ("Incheon &lt;b&gt;", "wet", "2026-11-23", "kim", "E01", "sent"):
        assert words in written


@pytest.mark.story("an officer levies a fee and cancels it")
def test_a_fee_is_levied_and_cancelled(desk):
    kim = desk.officer("kim")
    wrong = fill(kim, desk, "fee", status_code="E01", until="soon").text
    assert 'id="e-status_code"' in wrong
    assert 'id="e-until"' in wrong
    path = f"/console/applications/{desk.number}/acts/fee"
    assert 'name="currency" value="KRW"' in kim.get(path).text
    told = {"status_code": "Y01", "amount": "12,000", "until": "2026-12-01", "note": "at the desk"}
    preview = fill(kim, desk, "fee", currency="krw", **told).text
    assert "12000 KRW" in preview
    assert confirm(kim, desk, "fee", preview).status_code == 302
    assert (desk.story.look().state, desk.story.look().request.status_code) == ("FEE_DUE", "Y01")
    assert "12000 KRW" in kim.get(f"/console/applications/{desk.number}").text
    desk.story.tick()
    assert desk.story.inbox.documents("Notice")[-1].findtext(".//{*}StatusCode") == "Y01"
    cancelled = fill(kim, desk, "receive", status_code="Y02").text
    assert confirm(kim, desk, "receive", cancelled).status_code == 302
    assert desk.story.look().request.status_code == "Y02"


@BOTH
@pytest.mark.parametrize(("code", "state"), [("Y04", "CONFIRMED"), ("Y02", "CANCELLED")])
def test_an_approver_ends_a_fee_that_is_open_when_the_application_is_decided(desk, code, state):
    """Nobody else at the agency could say that it was paid at the desk: it would be overdue for good."""
    kim, lee = desk.officer("kim"), desk.officer("lee", "approver")
    path = f"/console/applications/{desk.number}"
    told = {"status_code": "Y01", "amount": "12,000", "currency": "KRW", "until": "2026-12-01"}
    assert confirm(kim, desk, "fee", fill(kim, desk, "fee", **told).text).status_code == 302
    desk.story.tick(seconds=1)
    decide(kim, desk)
    desk.story.tick(seconds=1)
    assert f"{path}/acts/receive" not in kim.get(path).text
    assert f"{path}/acts/receive" in lee.get(path).text
    form = lee.get(f"{path}/acts/receive").text
    assert re.findall(r'<option value="([A-Z][0-9]{2})"', form) == [
        "Y02", "Y04", "Y06", "Y08", "Y10", "Y12",
    ]  # fmt: skip
    preview = fill(lee, desk, "receive", status_code=code).text
    assert confirm(lee, desk, "receive", preview).status_code == 302
    with read_transaction(desk.story.house.engine) as conn:
        (fee,) = fees.list_by_request(conn, desk.story.request("KFDA").id)
    assert fee.state == state
    assert desk.story.look().state == "DECIDED"
    if code == "Y02":
        assert f"{path}/acts/receive" not in lee.get(path).text
    else:
        # What was paid at the desk can be given back there.
        form = lee.get(f"{path}/acts/receive").text
        assert re.findall(r'<option value="([A-Z][0-9]{2})"', form) == ["Y16"]


def test_the_history_tells_that_a_question_stands_again_in_words(desk):
    """When an operator waives the fee that was levied after it, the state goes back by itself."""
    kim = desk.officer("kim")
    asked = fill(kim, desk, "ask", text="Which class?", pointer=["42A/D026"], deadline=FUTURE).text
    assert confirm(kim, desk, "ask", asked).status_code == 302
    desk.story.tick(seconds=1)
    levied = fill(
        kim, desk, "fee", status_code="Y01", amount="12,000", currency="KRW", until="2026-12-01"
    ).text
    assert confirm(kim, desk, "fee", levied).status_code == 302
    with write_transaction(desk.story.house.engine) as conn:
        (levy,) = fees.list_by_request(conn, desk.story.request("KFDA").id)
        waive_fee(conn, levy.id, desk.story.clock(), "park", "by mistake")
    desk.story.tick(seconds=1)
    assert desk.story.look().state == "INFORMATION_REQUIRED"
    page = kim.get(f"/console/applications/{desk.number}").text
    assert "State: " in page[page.index("timeline") :]
    assert "_stands" not in page


@pytest.mark.story("an approver corrects and revokes a decision")
def test_a_decision_is_corrected_and_revoked_by_who_may(desk):
    kim, lee = desk.officer("kim"), desk.officer("lee", "approver")
    assert decide(kim, desk).status_code == 302
    assert kim.get(f"/console/applications/{desk.number}/acts/correct").status_code == 403
    no_reason = fill(lee, desk, "correct", **{"d0-decision": "REJECTED", "d0-conditions": "wrong lot"})
    assert (no_reason.status_code, 'id="e-text"' in no_reason.text) == (422, True)
    done = decide(
        lee, desk, "correct", **{"d0-decision": "APPROVED", "d0-number": "P-8", "text": "typing error"}
    )
    assert done.status_code == 302
    assert desk.story.look().decisions[0].number == "P-8"
    revoked = {"d0-decision": "REJECTED", "d0-conditions": "recalled", "d0-number": ""}
    assert decide(lee, desk, "revoke", **revoked).status_code == 302
    assert desk.story.look().request.status_code == "R03"


CERTIFICATE = {"d0-number": "P-7", "d0-quantity": "600", "d0-unit": "KGM", "valid_until": "2027-02-28"}


def test_an_approver_answers_whether_what_was_decided_is_cancelled(desk):
    kim, lee = desk.officer("kim"), desk.officer("lee", "approver")
    path = f"/console/applications/{desk.number}"
    decide(kim, desk)
    desk.story.decide_others()
    desk.story.tick(seconds=1)
    assert f"{path}/acts/receive" not in lee.get(path).text
    assert desk.number not in kim.get("/console/work?tab=cancel").text
    desk.story.submit(desk.story.submission(withdrawal), action="Withdraw", attach=False)
    desk.story.tick(seconds=1)
    for officer in (kim, lee):
        assert desk.number in officer.get("/console/work?tab=cancel").text
        assert "The applicant asks whether the agency cancels this application." in officer.get(path).text
    # Of what is decided an officer changes nothing.
    assert f"{path}/acts/receive" not in kim.get(path).text
    assert kim.get(f"{path}/acts/receive").status_code in (403, 404, 409)
    form = lee.get(f"{path}/acts/receive").text
    assert re.findall(r'<option value="([A-Z][0-9]{2})"', form) == ["G03", "G04"]
    preview = fill(lee, desk, "receive", status_code="G03").text
    assert confirm(lee, desk, "receive", preview).status_code == 302
    seen = desk.story.look()
    assert (seen.state, seen.request.cancellation) == ("CANCELLED", "ACCEPTED")
    assert desk.number not in lee.get("/console/work?tab=cancel").text


def last_days(desk: Desk) -> dict[str, str | None]:
    """Return the last day of each certificate in the ledger."""
    with read_transaction(desk.story.house.engine) as conn:
        rows = conn.execute(select(requirements).where(requirements.c.agency == "KFDA")).all()
    return {row.number: None if row.valid_until is None else row.valid_until.isoformat() for row in rows}


def test_a_decision_says_the_last_day_of_its_document(desk):
    kim, lee = desk.officer("kim"), desk.officer("lee", "approver")
    preview = fill(kim, desk, "decide", **{"d0-decision": "APPROVED"} | CERTIFICATE).text
    assert '<dt>Last day of the document</dt><dd class="written">2027-02-28</dd>' in preview
    assert confirm(kim, desk, "decide", preview).status_code == 302
    assert last_days(desk) == {"P-7": "2027-02-28"}
    told = "유효기간: 2027-02-28 (valid until)"
    assert desk.story.look().decisions[0].conditions == (told,), "the applicant reads it"
    form = lee.get(f"/console/applications/{desk.number}/acts/correct").text
    assert 'name="valid_until" value="2027-02-28"' in form, "what stands is not lost by a correction"
    assert told not in form
    later = CERTIFICATE | {"d0-conditions": told, "valid_until": "2027-03-31", "text": "a typing error"}
    assert decide(lee, desk, "correct", **later).status_code == 302
    assert last_days(desk) == {"P-7": "2027-03-31"}
    assert desk.story.look().decisions[0].conditions == ("유효기간: 2027-03-31 (valid until)",)
    without = CERTIFICATE | {"valid_until": "", "text": "it has no end"}
    assert decide(lee, desk, "correct", **without).status_code == 302
    assert last_days(desk) == {"P-7": None}


def test_a_second_officer_approves_the_last_day_that_was_proposed(engine):
    desk = Desk(engine, four_eyes=True)
    kim, lee = desk.officer("kim", "approver"), desk.officer("lee", "approver")
    assert decide(kim, desk, **CERTIFICATE).status_code == 302
    path = f"/console/applications/{desk.number}/proposal"
    page = lee.get(path).text
    assert '<dd class="written">2027-02-28</dd>' in page
    assert lee.post(path, confirm="session", **hidden(page)).status_code == 302
    assert last_days(desk) == {"P-7": "2027-02-28"}


@pytest.mark.refusal("an approver approves an own proposal")
def test_four_eyes_on_the_pages(engine):
    desk = Desk(engine, four_eyes=True)
    kim, lee = desk.officer("kim", "approver"), desk.officer("lee", "approver")
    assert decide(kim, desk).status_code == 302
    assert desk.story.look().state == "ACKNOWLEDGED"
    path = f"/console/applications/{desk.number}/proposal"
    assert desk.number in kim.get("/console/work?tab=approve").text
    assert desk.number not in kim.get("/console/work").text
    own = kim.get(path)
    assert "Approve and send" not in own.text
    waiting = {"confirm": "session", "step": "approve"} | hidden(own.text)
    waiting["step"] = "approve"
    assert (kim.post(path, **waiting).status_code, desk.story.look().state) == (403, "ACKNOWLEDGED")
    page = lee.get(path).text
    assert "P-7" in page
    stale = hidden(page) | {"confirm": "session", "digest": "0" * 64}
    assert lee.post(path, **stale).status_code in (403, 409)
    assert lee.post(path, confirm="session", **hidden(page)).status_code == 302
    assert desk.story.look().state == "DECIDED"
    again = lee.post(path, confirm="session", **hidden(page))
    assert again.status_code == 302, "the second tab finds it done"


@pytest.mark.parametrize("kind", ["correct", "revoke"])
def test_what_is_decided_is_changed_by_two_officers_on_the_pages(engine, kind):
    desk = Desk(engine, four_eyes=True)
    kim, lee = desk.officer("kim", "approver"), desk.officer("lee", "approver")
    path = f"/console/applications/{desk.number}/proposal"
    assert decide(kim, desk).status_code == 302
    assert lee.post(path, confirm="session", **hidden(lee.get(path).text)).status_code == 302
    decided = desk.story.look().request.status_code
    changed = {"d0-decision": "REJECTED", "d0-conditions": "recalled", "d0-number": "", "text": "recalled"}
    assert decide(kim, desk, kind, **changed).status_code == 302
    assert desk.story.look().request.status_code == decided, "one officer has changed nothing"
    page = lee.get(path).text
    assert lee.post(path, confirm="session", **hidden(page)).status_code == 302
    assert desk.story.look().request.status_code == {"correct": "R04", "revoke": "R03"}[kind]


GOODS = ("1905320000", "Caramel wafers 320 g", "600 KGM")


def read_decision_row(page: str) -> str:
    """Return the first row of the table of decisions, as text."""
    rows = page[page.index("<caption>Decisions</caption>") :]
    return " ".join(
        re.sub(
            r"<[^>]*>", " ", rows[rows.index("<tbody>") : rows.index("</tr>", rows.index("<tbody>"))]
        ).split()
    )


def test_an_approver_sees_the_goods_of_a_proposal(engine):
    desk = Desk(engine, four_eyes=True)
    kim, lee = desk.officer("kim", "approver"), desk.officer("lee", "approver")
    form = kim.get(f"/console/applications/{desk.number}/acts/decide").text
    assert all(words in form for words in GOODS)
    assert decide(kim, desk).status_code == 302
    row = read_decision_row(lee.get(f"/console/applications/{desk.number}/proposal").text)
    assert row.startswith("2 1905320000 Caramel wafers 320 g"), row
    assert all(words in row for words in GOODS), row


def test_who_confirms_a_decision_sees_its_goods(desk):
    kim = desk.officer("kim")
    row = read_decision_row(fill(kim, desk, "decide", **{"d0-decision": "APPROVED"}).text)
    assert all(words in row for words in GOODS), row
    shown = hidden(kim.get(f"/console/applications/{desk.number}/acts/decide").text)["shown"][0]
    together = kim.post(
        "/console/work/batch",
        number=desk.number,
        shown=shown,
        step="preview",
        **{"d0-decision": "APPROVED", f"number-{desk.number}": "P-7"},
    )
    row = read_decision_row(together.text)
    assert all(words in row for words in GOODS), row


def list_units(form: str) -> list[str]:
    """Return the units of the first decision, as the form offers them."""
    choice = form[form.index('<select id="d0-unit"') :]
    return re.findall(r"<option(?: selected)?>(\w+)</option>", choice[: choice.index("</select>")])


def test_units_are_chosen_the_declared_ones_first(desk):
    kim, lee = desk.officer("kim"), desk.officer("lee", "approver")
    units = list_units(kim.get(f"/console/applications/{desk.number}/acts/decide").text)
    assert units[:2] == ["NMB", "KGM"]
    assert units.index("TNE") < units.index("LTR")
    assert len(units) == len({*units})
    wrong = fill(kim, desk, "decide", **{"d0-decision": "APPROVED", "d0-quantity": "5", "d0-unit": "pieces"})
    assert list_units(wrong.text)[0] == "pieces", "what was typed is shown beside its error"
    decide(kim, desk, **CERTIFICATE)
    form = lee.get(f"/console/applications/{desk.number}/acts/correct").text
    assert "<option selected>KGM</option>" in form


def test_more_than_declared_is_marked_for_the_approver_and_its_reason_told(engine):
    desk = Desk(engine, four_eyes=True)
    kim, lee = desk.officer("kim", "approver"), desk.officer("lee", "approver")
    many = {"d0-number": "P-7", "d0-quantity": "5000", "d0-unit": "NMB"}
    preview = fill(kim, desk, "decide", **{"d0-decision": "APPROVED", "text": "With samples."} | many).text
    assert "more than declared" in read_decision_row(preview)
    assert confirm(kim, desk, "decide", preview).status_code == 302
    page = lee.get(f"/console/applications/{desk.number}/proposal").text
    assert "more than declared" in read_decision_row(page)
    assert '<dt>Told to the applicant</dt><dd class="written">With samples.</dd>' in page
    approval = hidden(page) | {"confirm": "session"}
    assert lee.post(f"/console/applications/{desk.number}/proposal", **approval).status_code == 302
    desk.story.tick(seconds=1)
    notice = desk.story.inbox.documents("Notice")[-1]
    assert notice.findtext("{*}Request/{*}Text") == "With samples."
    desk.story.decide_others()
    desk.story.tick(seconds=1)
    decision = desk.story.result().find("{*}Decision[@item='2']")
    assert (decision.findtext("{*}Quantity"), decision.findtext("{*}Text")) == ("5000", "With samples.")


def test_a_batch_of_too_many_is_refused_and_not_cut(desk, monkeypatch):
    monkeypatch.setattr("gateway.web.console.work.proposal_pages._MOST", 0)
    kim = desk.officer("kim")
    kim.get("/console/work")
    assert kim.post("/console/work/batch", number=desk.number).headers["Location"] == "/console/work"
    assert "At most 50 applications are decided together." in kim.get("/console/work").text


def test_a_batch_grants_nothing_that_its_form_does_not_offer(desk):
    kim = desk.officer("kim")
    shown = hidden(kim.get(f"/console/applications/{desk.number}/acts/decide").text)["shown"][0]
    made_up = {"d0-decision": "APPROVED", "d0-quantity": "5000", "d0-unit": "pieces", "text": "Many."}
    fields = {"number": desk.number, "shown": shown, f"number-{desk.number}": "P-7"} | made_up
    preview = kim.post("/console/work/batch", step="preview", **fields)
    assert "unknown unit" in read_decision_row(preview.text)
    done = kim.post("/console/work/batch", confirm="session", **hidden(preview.text))
    assert "GW404" in done.text
    assert desk.story.look().state == "ACKNOWLEDGED"


def test_a_proposal_is_returned_with_a_reason_or_withdrawn(engine):
    desk = Desk(engine, four_eyes=True)
    kim, lee = desk.officer("kim", "approver"), desk.officer("lee", "approver")
    path = f"/console/applications/{desk.number}/proposal"
    for browser, step in ((lee, "return"), (kim, "withdraw")):
        assert decide(kim, desk).status_code == 302
        fields = hidden(browser.get(path).text) | {"step": step, "reason": "look again"}
        assert browser.post(path, **fields).status_code == 302
        assert desk.story.look().proposal is None
        assert "look again" in lee.get(f"/console/applications/{desk.number}").text
    assert desk.story.look().state == "ACKNOWLEDGED"
    assert (
        '<span class="state idle">– returned</span>' in kim.get(f"/console/applications/{desk.number}").text
    )


def test_a_proposal_says_when_the_application_has_changed_and_when_it_is_sent(engine):
    desk = Desk(engine, four_eyes=True)
    kim, lee = desk.officer("kim", "approver"), desk.officer("lee", "approver")
    application = f"/console/applications/{desk.number}"
    path = f"{application}/proposal"
    assert decide(kim, desk).status_code == 302
    desk.story.hear_of(asked(desk.story, "KFDA", "Q9"))
    page = lee.get(path).text
    assert "The application has changed since this was proposed." in page
    assert "Approve and send" not in page
    returned = hidden(page) | {"step": "return", "reason": "it has changed"}
    assert lee.post(path, **returned).status_code == 302
    assert decide(kim, desk).status_code == 302
    meanwhile = []
    desk.story.keys.at_next_use = lambda: meanwhile.extend(kim.get(one).text for one in (path, application))
    assert lee.post(path, confirm="session", **hidden(lee.get(path).text)).status_code == 302
    assert "This is being sent." in meanwhile[0]
    assert '<span class="state warn">! being sent</span>' in meanwhile[1]


def test_work_is_taken_released_and_handed_over(desk):
    kim, lee = desk.officer("kim"), desk.officer("lee")
    number = desk.number
    kim.get("/console/work")
    assert kim.post("/console/work/claims", claim=f"take {number} 0").location == "/console/work"
    assert number in kim.get("/console/work?tab=mine").text
    assert number not in kim.get("/console/work").text
    lee.get("/console/work")
    lee.post("/console/work/claims", claim=f"take {number} 0")
    assert "GW708" in lee.get("/console/work").text
    page = kim.get(f"/console/applications/{number}").text
    to = re.search(r'<option value="(\d+)">Lee', page)
    kim.post("/console/work/claims", claim=f"give {number} 1", to=to[1])
    assert number in lee.get("/console/work?tab=mine").text
    lee.get(f"/console/applications/{number}")
    lee.post("/console/work/claims", claim=f"release {number} 2")
    assert number in kim.get("/console/work").text


def test_alike_applications_are_decided_together(desk):
    kim = desk.officer("kim")
    desk.story.submit(desk.story.submission(reference("HB-2")))
    desk.story.tick()
    page = kim.get("/console/work").text
    numbers = re.findall(r'name="number" value="(\w+)"', page)
    assert len(numbers) == 2
    form = kim.post("/console/work/batch", number=numbers)
    assert form.status_code == 200
    fields = hidden(form.text) | {"d0-decision": "APPROVED", f"number-{numbers[0]}": "P-1"}
    nameless = kim.post("/console/work/batch", **fields | {"step": "preview", "valid_until": "2027-02-28"})
    assert (nameless.status_code, 'id="e-valid_until"' in nameless.text) == (422, True)
    named = fields | {"step": "preview", "valid_until": "2027-02-28", f"number-{numbers[1]}": "P-2"}
    both = kim.post("/console/work/batch", **named).text
    assert both.count('<dt>Last day of the document</dt><dd class="written">2027-02-28</dd>') == 2
    preview = kim.post("/console/work/batch", step="preview", **fields).text
    digests = hidden(preview)["digest"]
    assert len(set(digests)) == 2
    done = kim.post("/console/work/batch", confirm="session", **hidden(preview))
    assert done.text.count("state good") == 2, done.text
    pages = [kim.get(f"/console/applications/{one}").text for one in numbers]
    assert ["P-1" in one for one in pages] == [True, False], "each has a document number of its own"
    assert not re.findall(r'name="number" value="(\w+)"', kim.get("/console/work").text)


@pytest.mark.refusal("an officer of another agency opens an application")
def test_a_reader_sees_no_acts_and_another_agency_nothing(desk):
    reader = desk.officer("park", "reader")
    number = desk.number
    page = reader.get(f"/console/applications/{number}").text
    assert "/acts/" not in page
    assert reader.get(f"/console/applications/{number}/acts/decide").status_code == 403
    desk.console.add_account("choi", ("agency", "NPQS"), "head")
    other = desk.console.sign_in("choi")
    for path in ("", "/acts/decide", "/proposal", "/files/1"):
        assert other.get(f"/console/applications/{number}{path}").status_code == 404, path


OTHER_UNIT = {"d0-decision": "APPROVED", "d0-quantity": "5", "d0-unit": "LTR", "text": "Sold by volume."}


def test_each_preview_offers_the_ways_to_confirm_that_an_officer_has(engine):
    desk = Desk(engine, confirm=["passkey", "certificate"])
    kim = desk.officer("kim")
    page = fill(kim, desk, "decide", **OTHER_UNIT).text
    assert '<a href="/console/account/passkeys">Add a passkey</a>' in page
    assert "not comparable with what was declared" in page
    give_ways(desk, "kim", kim)
    form = hidden(kim.post("/console/work/batch", number=desk.number).text)
    chosen = form | {"step": "preview", "d0-decision": "APPROVED", f"number-{desk.number}": "P-7"}
    together = kim.post("/console/work/batch", **chosen).text
    for page in (fill(kim, desk, "decide", **OTHER_UNIT).text, together):
        assert count_ways(page, "Confirm and send") == [1, 1, 0]
        assert 'src="/console/static/passkeys.js"' in page
        assert " data-passkey-options=" in page
    wrong = hidden(together) | {"confirm": "passkey", "passkey_answer": "{}"}
    refused = kim.post("/console/work/batch", **wrong)
    assert (refused.status_code, "The passkey was not accepted." in refused.text) == (422, True)


def test_an_approver_is_offered_the_same_ways_to_confirm(engine):
    desk = Desk(engine, confirm=["passkey", "certificate"], four_eyes=True)
    kim, lee = desk.officer("kim"), desk.officer("lee", "approver")
    assert decide(kim, desk).status_code == 302
    give_ways(desk, "lee", lee)
    page = lee.get(f"/console/applications/{desk.number}/proposal").text
    assert count_ways(page, "Approve and send") == [1, 1, 0]
    assert " data-passkey-options=" in page


def give_ways(desk: Desk, name: str, officer: Browser) -> None:
    """Give an officer the ways to confirm: a passkey, and the certificate of the connection."""
    assert register(officer, Authenticator()).status_code == 302
    with write_transaction(desk.story.house.engine) as conn:
        account = accounts.find_by_name(conn, name)
        accounts.update_account(conn, account.id, certificate_sha256="c" * 64)
    officer.connection[CERTIFICATE_KEY] = "c" * 64


def count_ways(page: str, words: str) -> list[int]:
    """Return how many buttons confirm by passkey, by certificate, and by the session alone."""
    return [page.count(f">{words}{way}</button>") for way in (": by passkey", ": by certificate", "")]


def test_a_decision_is_confirmed_by_the_certificate_of_the_connection(engine):
    desk = Desk(engine, confirm=["certificate"])
    kim = desk.officer("kim")
    with write_transaction(engine) as conn:
        account = accounts.find_by_name(conn, "kim").id
    issued = issue()
    registered = bind(desk.console, account, issued)
    fields = {"d0-decision": "APPROVED", "d0-number": "P-7"}
    without = fill(kim, desk, "decide", **fields).text
    assert "you have none of these here" in without
    assert confirm(kim, desk, "decide", without).status_code == 403
    assert confirm(kim, desk, "decide", without, confirm="certificate").status_code == 403
    path = f"/console/applications/{desk.number}/acts/decide"
    for shown, status in (("d" * 64, 403), (registered, 302)):
        data = {"form_token": kim.token, "confirm": "certificate"} | hidden(without)
        answer = kim.client.post(path, data=data, environ_base={CERTIFICATE_KEY: shown})
        assert answer.status_code == status, answer.text
    assert desk.story.look().state == "DECIDED"


def test_the_page_says_that_the_certificate_which_is_to_confirm_is_revoked(engine):
    desk = Desk(engine, confirm=["certificate"])
    kim = desk.officer("kim")
    with read_transaction(engine) as conn:
        account = accounts.find_by_name(conn, "kim").id
    issued = issue()
    kim.connection[CERTIFICATE_KEY] = bind(desk.console, account, issued)
    preview = fill(kim, desk, "decide", **{"d0-decision": "APPROVED", "d0-number": "P-7"}).text
    revoke(desk.console, issued)
    answer = confirm(kim, desk, "decide", preview, confirm="certificate")
    assert answer.status_code == 403
    assert "GW707: the client certificate is not accepted: GW207" in answer.text
    assert desk.story.look().state == "ACKNOWLEDGED"
