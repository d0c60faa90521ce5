"""``gateway demo``: one declaration through the whole system, with every partner in its own process."""

from __future__ import annotations

import re
import secrets
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import click
from lxml import etree
from sqlalchemy import Connection

from gateway.cli.home_folder import keep_files_private
from gateway.cli.result_output import print_json
from gateway.cli.shared_options import FILE, json_option
from gateway.cli.verb_groups import Arguments, verb
from gateway.client import (
    BrokerClient,
    Membership,
    MessageHandler,
    MessagePuller,
    SealedSubmission,
    get_current_time,
    read_journal,
    read_membership,
    seal_submission,
    sign_submission,
)
from gateway.errors import GatewayError
from gateway.harmonize import load_bundle, make_placeholder_numbers, split_submission
from gateway.hub import build_engine
from gateway.pki import read_certificate
from gateway.share import get_data_folder
from gateway.stop_signals import set_from_handler
from gateway.store import agency_requests, cases, read_transaction
from gateway.wire import parse_xml
from gateway_conformance.foreign_verifier import find_signature_fault
from gateway_conformance.partners import make_supplement
from gateway_conformance.verbs.demo_settings import describe_sign_in, pay_fee
from gateway_conformance.verbs.demo_stage import Cast, Stage, check_home, read_cast
from gateway_conformance.verbs.demo_stories import (
    USUAL,
    StoryPlan,
    apply_story,
    make_first_document,
    make_step_document,
    read_story,
    report_step_result,
)

_PATIENCE: Final = 60.0
#: A person who decides at the console takes time.
_PATIENCE_WITH_PEOPLE: Final = 3600.0
#: Octets of the password of the people at the console.
_PASSWORD: Final = 15
_PAUSE: Final = 0.05
_BETWEEN_PULLS: Final = 0.5
_QUESTION_STATE: Final = "INFORMATION_REQUIRED"
#: Outcomes after which customs may release goods.
_RELEASED: Final = ("APPROVED", "PARTIAL")
_ENDED: Final = ("CLOSED", "REFUSED", "WITHDRAWN")
#: The operation that brings an application to its agency.
_APPLIES: Final = "SubmitApplication"
_STATUS: Final = re.compile(r"<StatusCode>([A-Z0-9]+)</StatusCode>")
_INTERRUPTED: Final = threading.Event()

Say = Callable[[str], None]


@dataclass(slots=True)
class _Report:
    """The result of the demo; its fields are the keys of the JSON output."""

    outcome: str | None = None
    decisions: list[dict[str, Any]] = field(default_factory=list)
    receipt_verified: bool = False
    result_verified: bool = False
    customs_codes: list[str] = field(default_factory=list)
    ledger: dict[str, int] = field(default_factory=dict)
    messages: int = 0
    processes: int = 0
    seconds: float = 0.0
    case_number: str | None = None
    reference: str | None = None
    supplements: int = 0
    problems: list[str] = field(default_factory=list)
    result_problems: list[str] = field(default_factory=list)
    #: Whether every step was played to its end.
    finished: bool = False

    def list_values(self) -> dict[str, Any]:
        """Return the report in its printed form."""
        return {name: getattr(self, name) for name in self.__slots__ if name != "finished"}


@verb("demo")
@json_option("print JSON; progress goes to standard error")
@click.option("--home", type=FILE, help="make the home folder here and keep it; the folder must be empty")
@click.option("--keep", is_flag=True, help="keep the home folder and print its path")
@click.option(
    "--console",
    is_flag=True,
    help="serve the console; one agency has no system, and a person decides there in the browser",
)
@click.option("--story", metavar="NAME", help="play another story, as amendment; a wrong name lists them")
def play_demo(arguments: Arguments) -> int:
    """Run the demo and print its result; return 1 when a check fails."""
    output = sys.stderr if arguments.json else sys.stdout
    began = time.monotonic()

    def tell_progress(sentence: str) -> None:
        output.write(f"{time.monotonic() - began:6.2f} s  {sentence}\n")
        output.flush()

    plan = read_story(arguments.story) if arguments.story is not None else USUAL
    report = _Report()
    with keep_files_private(), _make_demo_home(arguments) as home, _catch_end_signals():
        try:
            password = secrets.token_urlsafe(_PASSWORD) if arguments.console else ""
            stage = Stage(home, apply_story(read_cast(), plan), password=password)
            _play_whole_story(
                stage, plan, report, tell_progress, stays=arguments.console and not arguments.json
            )
        except GatewayError as problem:
            report.problems.append(str(problem))
        except KeyboardInterrupt:
            _INTERRUPTED.set()
        if _INTERRUPTED.is_set() and not report.finished:
            report.problems.append("interrupted")
        report.seconds = round(time.monotonic() - began, 2)
    keeps_home = arguments.home or arguments.keep
    if arguments.json:
        print_json(report.list_values() | ({"home": str(home)} if keeps_home else {}))
    else:
        _print_demo_report(report)
    if keeps_home:
        output.write(f"the home folder is kept: {home}\n")
    return 1 if report.problems else 0


@contextmanager
def _make_demo_home(arguments: Arguments) -> Iterator[Path]:
    if arguments.home is not None:
        home = arguments.home.absolute()
        check_home(home)
        home.mkdir(parents=True, exist_ok=True)
        yield home
        return
    home = Path(tempfile.mkdtemp(prefix="gateway-demo-"))
    try:
        yield home
    finally:
        if not arguments.keep:
            shutil.rmtree(home, ignore_errors=True)


@contextmanager
def _catch_end_signals() -> Iterator[None]:
    """Make SIGTERM and SIGHUP end the demo like Ctrl-C: with every process that it started.

    Python may drop the exception (in a destructor or in a callback of an import); the event
    records the signal in that case.
    """

    def interrupt_demo(*_: object) -> None:
        set_from_handler(_INTERRUPTED)
        raise KeyboardInterrupt

    _INTERRUPTED.clear()
    kinds = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {kind: signal.signal(kind, interrupt_demo) for kind in kinds}
    try:
        yield
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)


def _play_whole_story(stage: Stage, plan: StoryPlan, report: _Report, say: Say, *, stays: bool) -> None:
    try:
        if plan.title:
            say(f"story: {plan.title}")
        say("keys, certificates, settings, database, register")
        stage.build()
        say(f"starting hub, {len(stage.cast.agencies)} agencies, customs and broker")
        stage.start()
        report.processes = stage.count_processes()
        say(f"{report.processes} processes are ready")
        people = stage.cast.console["person"]
        for line in describe_sign_in(stage.console_url, people, stage.password) if stage.password else ():
            say(line)
        with closing(_Story(stage, plan, report, say)) as story:
            story.play_all_steps()
        report.finished = True
        if stays:
            say(f"{report.outcome}; the console stays open, Ctrl-C ends the demo")
            _INTERRUPTED.wait()
    finally:
        # A second Ctrl-C must not leave processes running.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        try:
            stage.close()
        finally:
            signal.signal(signal.SIGINT, signal.default_int_handler)


class _Story:
    """Sends the broker's messages, reads the journals of the partners, and checks the final result."""

    def __init__(self, stage: Stage, plan: StoryPlan, report: _Report, say: Say) -> None:
        self._stage = stage
        self._plan = plan
        self._steps = list(plan.steps)
        self._cast: Cast = stage.cast
        self._report = report
        self._say = say
        folder = stage.get_partner_folder("broker")
        self._member: Membership = read_membership(folder, "broker")
        self._client = BrokerClient(self._member, folder / "sent", report=say)
        self._puller: MessagePuller | None = None
        if self._member.list_pulled_pmodes(get_current_time()):
            handler = MessageHandler(self._member, folder / "log")
            self._puller = MessagePuller(self._member, handler, self._endpoint)
        self._pull_at = 0.0
        self._seen: dict[Path, int] = {}
        self._received: list[dict[str, Any]] = []
        self._sent: list[SealedSubmission] = []
        self._answered: set[str] = set()

    @property
    def _endpoint(self) -> str:
        return f"{self._stage.hub_url}/msh/{self._member.protocol}"

    def close(self) -> None:
        """Close the connections of a broker that pulls."""
        if self._puller is not None:
            self._puller.close()

    def play_all_steps(self) -> None:
        """Run all steps from the submission to the closed case."""
        root = sign_submission(make_first_document(self._plan, self._cast.sample), self._member)
        self._report.ledger = _count_leaf_fates(self._cast.sample)
        first = self._send_submission(root)
        self._report.reference = first.reference
        self._report.receipt_verified = True
        patience = _PATIENCE_WITH_PEOPLE if self._stage.desk else _PATIENCE
        end = time.monotonic() + patience
        while not self._is_story_over():
            if _INTERRUPTED.is_set():
                raise KeyboardInterrupt
            if time.monotonic() > end:
                self._report.problems.append(f"not finished within {patience:.0f} s")
                break
            self._stage.check_alive()
            self._pull_messages()
            self._read_journals()
            self._play_due_step()
            time.sleep(_PAUSE)
        self._read_journals()
        self._judge_final_outcome()

    def _pull_messages(self) -> None:
        """Pull the messages that wait, where the broker runs no server."""
        if self._puller is None or time.monotonic() < self._pull_at:
            return
        count = self._puller.pull_messages()
        self._pull_at = time.monotonic() + _BETWEEN_PULLS
        if count:
            self._say(f"broker -> hub: PullRequest: {count} messages")

    def _play_due_step(self) -> None:
        """Send the next step of the story, if the applications are in the states that the step demands."""
        if self._steps and self._steps[0].when.items() <= self._read_request_states().items():
            step = self._steps.pop(0)
            if report_step_result(step, self._stage):
                return
            # The messages that led to these states may have come after the journals were read.
            self._read_journals()
            number = self._received[0]["said"].get("case_number") if self._received else None
            content = make_step_document(step, self._cast.sample, number or "")
            self._send_submission(sign_submission(content, self._member))

    def _send_submission(self, root: etree._Element) -> SealedSubmission:
        cids = {attachment.get("cid") for attachment in root.iter("{*}Attachment")}
        files = {cid: content for cid, content in self._cast.attachments.items() if cid in cids}
        conversation = self._sent[0].unit.conversation_id if self._sent else None
        message = seal_submission(root, files, self._member, self._endpoint, conversation)
        size = len(message.body_octets)
        summary = f"{message.unit.action} {message.reference}, signed, {size} octets, {len(files)} files"
        self._say(f"broker -> hub: {summary}")
        name = f"{len(self._sent) + 1:04d}-{message.unit.action}.xml"
        (self._stage.get_partner_folder("broker") / "sent" / name).write_bytes(
            message.unit.payloads[0].content
        )
        self._client.send_submission(message)
        self._say("broker <- hub: receipt, signed, of every octet: verified")
        self._sent.append(message)
        return message

    def _read_journals(self) -> None:
        """Read the partners' journal rows since the last call, and answer requests for information."""
        for agency in self._cast.agencies:
            self._report_agency_news(agency)
        for row in self._read_journal_news(
            self._stage.get_partner_folder("customs") / "log" / "effects.jsonl"
        ):
            self._say(f"hub -> customs: {row['effect']}{_describe_customs_effect(row)}")
        for row in self._read_journal_news(
            self._stage.get_partner_folder("broker") / "log" / "messages.jsonl"
        ):
            self._received.append(row)
            self._report_broker_message(row)

    def _report_agency_news(self, agency: dict[str, Any]) -> None:
        log_folder, code = self._stage.get_partner_folder(agency["code"]) / "log", agency["code"]
        for row in self._read_journal_news(log_folder / "effects.jsonl"):
            items = ", ".join(str(item) for item in row["items"])
            subject = f"{row['document']} {row['application']}, item {items}" if items else row["application"]
            # The plan of an agency is about an application; to every other call the agency only answers.
            plan = f"{code} {agency['says']}" if row["effect"] == _APPLIES else code
            self._say(f"hub -> {code}: {row['effect']} {subject}; {plan}: {_describe_answer(row['answer'])}")
        for row in self._read_journal_news(log_folder / "calls.jsonl"):
            self._say(
                f"{code} -> hub: {row['operation']}: HTTP {row['status']}, answer verified: {row['verified']}"
            )

    def _report_broker_message(self, row: dict[str, Any]) -> None:
        news = row["said"]
        if not news["verified"]:
            self._say(f"broker <- hub: {row['action']} NOT VERIFIED: {news['problem']}")
        elif row["action"] == "Result":
            self._say(f"broker <- hub: Result {news['case_number']}: {news['outcome']}, signatures verified")
            for line in _list_result_lines(news) if self._plan.title else ():
                self._say(f"  {line}")
        elif "missing" in news:
            documents = ", ".join(" or ".join(entry["documents"]) for entry in news["missing"])
            summary = f"the case is held until {news['until']}, {documents} is missing"
            self._say(f"broker <- hub: Notice: {summary}: signatures verified")
        else:
            summary = f"{news['organisation']} {news['document']} is {news['state']} ({news['status_code']})"
            self._say(f"broker <- hub: Notice: {summary}: signatures verified")
            if news.get("fee_address"):
                self._pay_fee(news)
            if news["state"] == _QUESTION_STATE and news["notice_number"] not in self._answered:
                self._answered.add(news["notice_number"])
                self._send_asked_supplement(news)

    def _pay_fee(self, notice: dict[str, Any]) -> None:
        status = pay_fee(notice["fee_address"])
        self._say(f"broker -> payment provider: pays {notice['fee']}: HTTP {status}")

    def _send_asked_supplement(self, notice: dict[str, Any]) -> None:
        agency = next(
            candidate for candidate in self._cast.agencies if candidate["code"] == notice["organisation"]
        )
        self._say(f"{notice['organisation']} asks about {', '.join(notice['pointers'])}: {notice['text']}")
        content = make_supplement(self._cast.sample, notice["application"], agency.get("supplement", {}))
        self._send_submission(sign_submission(content, self._member))
        self._report.supplements += 1

    def _read_journal_news(self, path: Path) -> Iterator[dict[str, Any]]:
        rows = list(read_journal(path))
        already_read = self._seen.get(path, 0)
        self._seen[path] = len(rows)
        yield from rows[already_read:]

    def _is_story_over(self) -> bool:
        results = [row["said"] for row in self._received if row["action"] == "Result"]
        if not results or self._steps:
            return False
        codes = self._read_customs_codes()
        # After the last step the case may still be in the state of before it.
        if len(codes) < len(self._plan.customs_codes or ()):
            return False
        if "19" not in codes and results[-1].get("outcome") in _RELEASED:
            return False
        return self._read_case_state() in _ENDED

    def _read_case_state(self) -> str | None:
        with self._read_database() as conn:
            case_rows = cases.list_cases(conn, limit=1)
            return str(case_rows[0].state) if case_rows else None

    def _read_request_states(self) -> dict[str, str]:
        with self._read_database() as conn:
            case_rows = cases.list_cases(conn, limit=1)
            requests = agency_requests.list_by_case(conn, case_rows[0].id) if case_rows else ()
            states = {row.agency: str(row.state) for row in requests}
            case = str(case_rows[0].state) if case_rows else ""
            # The broker files the missing applications after the hub has notified it of the hold.
            return states | ({"case": case} if case and (case != "HELD" or self._is_told_of_hold()) else {})

    def _is_told_of_hold(self) -> bool:
        return any("missing" in row["said"] for row in self._received)

    @contextmanager
    def _read_database(self) -> Iterator[Connection]:
        engine = build_engine(self._stage.settings())
        try:
            with read_transaction(engine) as conn:
                yield conn
        finally:
            engine.dispose()

    def _read_customs_codes(self) -> list[str]:
        path = self._stage.get_partner_folder("customs") / "log" / "effects.jsonl"
        return [row["code"] for row in read_journal(path) if row["code"]]

    def _judge_final_outcome(self) -> None:
        """Fill in the report, and add a problem for each failed check."""
        report = self._report
        result: dict[str, Any] = next(
            (row["said"] for row in reversed(self._received) if row["action"] == "Result"), {}
        )
        report.result_verified = bool(result.get("verified"))
        report.outcome, report.case_number = result.get("outcome"), result.get("case_number")
        # The last result may be that of a child declaration, which has a reference of its own.
        report.reference = result.get("reference", report.reference)
        report.decisions = result.get("decisions", [])
        report.customs_codes = self._read_customs_codes()
        report.messages = len(self._sent) + len(self._received)
        report.result_problems = sorted({problem["id"] for problem in result.get("problems", [])})
        every = (agency["code"] for agency in self._cast.agencies)
        deciding = set(every if self._plan.deciding_agencies is None else self._plan.deciding_agencies)
        checks = {
            "the result is not verified": report.result_verified,
            f"the outcome is not {self._cast.outcome}": self._is_outcome_expected(report.outcome),
            "the result does not contain the decision of every agency": {
                decision["organisation"] for decision in report.decisions
            }
            == deciding,
            "customs did not get code 18 and then code 19": report.customs_codes
            == list(self._plan.customs_codes or (["18", "19"] if report.outcome in _RELEASED else ["18"])),
            f"the problems in the result are not {sorted(self._plan.problems)}": set(report.result_problems)
            == self._plan.problems,
            "the ledger does not account for all values of the submission": report.ledger["unaccounted"] == 0,
            "the broker was not told what is missing": self._is_told_of_hold() or not self._plan.needs,
            "a notice is not verified": all(row["said"]["verified"] for row in self._received),
            "the case has not ended": self._read_case_state()
            == ("WITHDRAWN" if report.outcome == "WITHDRAWN" else "CLOSED"),
        }
        report.problems += [complaint for complaint, good in checks.items() if not good]
        report.problems += list(self._find_partner_complaints())
        report.problems += list(self._find_signature_faults())

    def _is_outcome_expected(self, outcome: str | None) -> bool:
        """Return whether the case ended as it should; where a person decides, as the person decided."""
        return outcome == self._cast.outcome or bool(self._stage.desk and outcome in (*_RELEASED, "REJECTED"))

    def _find_partner_complaints(self) -> Iterator[str]:
        """Yield the refusals of the partners, and the hub's answers that the partners could not verify."""
        for name in ("broker", "customs", *(agency["code"] for agency in self._cast.agencies)):
            log_folder = self._stage.get_partner_folder(name) / "log"
            for row in read_journal(log_folder / "refusals.jsonl"):
                yield f"{name} refused: {row['problem']} {row['detail']} at {row['location']}"
            for row in read_journal(log_folder / "calls.jsonl"):
                if not row["verified"]:
                    yield f"{name} got a wrong answer: {row['problem']}"

    def _find_signature_faults(self) -> Iterator[str]:
        """Yield which documents of the hub signxml does not verify, and why."""
        folder = self._stage.get_partner_folder("broker")
        hub = read_certificate((folder / "hub.cert.pem").read_bytes())
        for row in self._received:
            document = (folder / "log" / row["file"]).read_bytes()
            fault = find_signature_fault(document, hub, datetime.now(UTC))
            if fault is not None:
                yield f"signxml does not verify {row['file']}: {fault}"


def _describe_customs_effect(row: Mapping[str, Any]) -> str:
    """Return the pending code that customs received in words, with 19 the number of met requirements too."""
    if not row["code"]:
        return ""
    count = len(row["requirements"])
    return f": pending code {row['code']}" + (f", {count} requirements" if count else "")


def _describe_answer(answer: str) -> str:
    """Return an agency's answer to a call in words: decision, notice with status code, or acknowledgment."""
    if "<Decision>" in answer:
        return "decision"
    status = _STATUS.search(answer)
    return f"notice {status[1]}" if status else "acknowledged"


def _list_result_lines(content: Mapping[str, Any]) -> Iterator[str]:
    """Yield the decisions and the problems of a Result."""
    for row in content.get("decisions", ()):
        yield f"item {row['item']}  {row['organisation']}  {row['decision']}  {row['number'] or ''}".rstrip()
    for row in content.get("problems", ()):
        yield f"{row['id']} {row['text']}"


def _count_leaf_fates(content: bytes) -> dict[str, int]:
    """Count the fates of the submission's leaves, as pairs of leaf and document."""
    root = parse_xml(content)
    split = split_submission(root, load_bundle(get_data_folder("mappings")), make_placeholder_numbers(root))
    counts = split.ledger.count_fates()
    return {name: int(counts[name]) for name in ("forwarded", "withheld", "consumed", "unaccounted")}


def _print_demo_report(report: _Report) -> None:
    print(f"\n{report.outcome or 'no outcome'}: case {report.case_number}, reference {report.reference}")
    for row in report.decisions:
        number = row["number"] or "-"
        print(f"  item {row['item']}  {row['organisation']:<6} {row['document']:<16} law {row['law']}  "
              f"{row['decision']:<25} {number}")  # fmt: skip
        for condition in row.get("conditions", ()):
            print(f"          on condition: {condition}")
    ledger = ", ".join(f"{number} {name}" for name, number in report.ledger.items())
    print(f"receipt verified: {report.receipt_verified}; result verified: {report.result_verified}")
    print(f"codes sent to customs: {', '.join(report.customs_codes) or 'none'}")
    print(f"ledger: {ledger}")
    print(f"{report.messages} messages, {report.processes} processes, {report.seconds:.1f} s")
    for problem in report.problems:
        print(f"WRONG: {problem}")
