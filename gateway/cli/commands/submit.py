"""``gateway submit|listen|pull``: a broker's client, for any hub that supports ebMS 2.0 or AS4."""

from __future__ import annotations

import shlex
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import click

from gateway.cli.arrival_printer import ArrivalPrinter
from gateway.cli.named_files import add_file_name_to_problem, read_file, split_named_file
from gateway.cli.result_output import (
    print_json,
    print_line,
    print_problem,
    print_sentence,
    write_error,
)
from gateway.cli.shared_options import (
    FILE,
    SECONDS,
    TIME_OUT,
    Decorator,
    join_options,
    json_option,
    make_tls_context,
    tls_options,
)
from gateway.cli.verb_groups import Arguments, verb
from gateway.client import (
    BrokerClient,
    EndpointListener,
    FileBody,
    Membership,
    MessageFolder,
    MessageHandler,
    MessagePuller,
    ResendPolicy,
    SealedSubmission,
    SendingError,
    SendingState,
    SplitSubmission,
    get_current_time,
    is_stored_submission,
    read_membership,
    read_split_submission,
    read_stored_submission,
    seal_submission,
    sign_submission,
    split_submission,
    store_submission,
    summarize_notices,
)
from gateway.errors import MISUSE, GatewayError, make_path_problem
from gateway.message_model import Body
from gateway.operations import format_count
from gateway.stop_signals import catch_stop_signals


def make_repeat_command(arguments: Arguments, kept_file: Path) -> str:
    """Return the command that sends the octets in `kept_file` again, unchanged."""
    return shlex.join(
        ["gateway", "submit", str(kept_file), *_list_partner_words(arguments), "--to", arguments.to]
    )


def make_listen_command(arguments: Arguments, folder: str = "results") -> str:
    """Return the command that goes on waiting, and stores the messages that come in a folder."""
    return shlex.join(["gateway", "listen", *_list_partner_words(arguments), "--folder", folder])


def make_pull_command(arguments: Arguments, folder: str = "results") -> str:
    """Return the command that pulls the waiting messages, and stores them in a folder."""
    pull_words = [*_list_partner_words(arguments), "--to", arguments.to, "--folder", folder]
    return shlex.join(["gateway", "pull", *pull_words])


def _list_partner_words(arguments: Arguments) -> Iterator[str]:
    """Yield the options of a command line that name the partner, and the files for TLS, as `arguments` do."""
    yield from ("--as", arguments.party)
    if arguments.partner != Path():
        yield from ("--partner", str(arguments.partner))
    if arguments.agreement is not None:
        yield from ("--agreement", str(arguments.agreement))
    for path in arguments.hub_certificate:
        yield from ("--hub-certificate", str(path))
    tls_paths = {
        "--ca": arguments.ca,
        "--client-certificate": arguments.client_certificate,
        "--client-key": arguments.client_key,
    }
    for option, tls_path in tls_paths.items():
        if tls_path is not None:
            yield from (option, str(tls_path))


def describe_open_questions(news: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines about a case without a result: number, state, each application and open question."""
    if news["case_number"] is None:
        yield "no notice has come: the hub has the submission, and its case number is not known here yet"
        return
    yield f"case {news['case_number']}: {news['state']}, as far as the notices say"
    for application in news["applications"]:
        yield (
            f"  {application['organisation']} {application['document']}, "
            f"application {application['application']}: {application['state']}"
        )
    for question in news["questions"]:
        until = f", answer until {question['deadline']}" if question["deadline"] else ", no deadline given"
        text = question["text"] or "(no text)"
        yield f"  {question['organisation']} asks about application {question['application']}{until}: {text}"
        yield from (f"    {pointer}" for pointer in question["pointers"])
    held = news.get("held")
    if held:
        yield f"the case is held until {held['until']}:"
        yield from (f"  {need['text']}" for need in held["missing"])
        yield "to file it: `gateway submit` with the whole submission again, the same Reference, Function 35"
    if news["questions"]:
        yield "to answer: `gateway submit` with the same Reference, Function 35 and these applications"


def print_result_report(result: Mapping[str, Any]) -> None:
    """Print a Result: outcome, decisions, problems and warnings."""
    if not result["verified"]:
        print("result: not verified")
        return
    heading = f"case {result['case_number']}, reference {result['reference']}"
    print_line(f"result: {result['outcome']}, {heading}, verified")
    for entry in result["decisions"]:
        subject = f"item {entry['item']} {entry['organisation']} law {entry['law']}"
        print_line(f"  {subject}: {entry['decision']} {entry['number'] or ''}")
        for condition in entry["conditions"]:
            print_line(f"    on condition: {condition}")
    for entry in result["problems"]:
        print_line(f"  {entry['id']} {entry['text']} {entry['pointer'] or ''}")
    for entry in result["warnings"]:
        print_line(f"  warning {entry['id']} {entry['text']} {entry['pointer'] or ''}")


_PARTNER_WORDS: Final = (
    "the folder with PARTY.key.pem, PARTY.cert.pem, ca.pem, crl.pem, agreement.yaml (default: .)"
)
_AGREEMENT_WORDS: Final = (
    "the agreement: YAML, a CPA, or a P-Mode of Holodeck B2B or phase4 (default: agreement.yaml or "
    "agreement.xml in that folder)"
)
_HUB_WORDS: Final = "the hub's certificates, if not hub.cert.pem or those that the agreement names"


def _partner_options() -> Decorator:
    """Return ``--partner``, ``--agreement`` and ``--hub-certificate``: who we are, and who the hub is."""
    return join_options(
        click.option("--partner", type=FILE, default=Path(), metavar="DIR", help=_PARTNER_WORDS),
        click.option("--agreement", type=FILE, help=_AGREEMENT_WORDS),
        click.option("--hub-certificate", type=FILE, multiple=True, help=_HUB_WORDS),
    )


def _read_own_membership(arguments: Arguments) -> Membership:
    return read_membership(
        arguments.partner, arguments.party, arguments.agreement, tuple(arguments.hub_certificate)
    )


_WAIT = 60.0
#: The largest size, in octets, of an attachment that is held in memory.
_MAX_MEMORY_OCTETS = 1024**2
_SUBMIT_TO_WORDS = "the hub's endpoint, for example http://…/msh/ebms2 (default: that of the agreement)"
_BUSY_HINT = "where `gateway listen` receives at that address: --wait 0 sends, and the result comes to it"
_FILE_WORDS = (
    "the submission; it is signed if it has no signature. Or what this verb kept, a message or the folder of "
    "one in fragments: it is sent again unchanged"
)
_SUBMIT_WAIT_WORDS = "seconds to wait for the result; 0: do not wait"
_TIME_OUT_WORDS = "time limit for an answer in seconds"


@verb("submit")
@click.argument("file", type=FILE, help=_FILE_WORDS)
@click.option(
    "--as", "party", required=True, metavar="PARTY", help="the sending party: its key is PARTY.key.pem"
)
@click.option("--to", default="", metavar="URL", help=_SUBMIT_TO_WORDS)
@_partner_options()
@click.option("--attach", multiple=True, metavar="cid=FILE", help="an attachment; repeatable")
@click.option("--wait", type=SECONDS, default=_WAIT, metavar="S", help=_SUBMIT_WAIT_WORDS)
@click.option(
    "--retries", type=click.IntRange(0, 10_000), help="attempts after the first one, if not as agreed"
)
@click.option("--retry-interval", type=SECONDS, default=1.0, metavar="S", help="seconds between attempts")
@click.option("--time-out", type=TIME_OUT, default=30.0, metavar="S", help=_TIME_OUT_WORDS)
@tls_options()
@click.option("--folder", type=FILE, help="keep the message sent and the messages of the hub in this folder")
@json_option()
def submit_file(arguments: Arguments) -> int:
    """Send a signed submission, check its receipt, wait for its result; return 1 when one of them fails."""
    if arguments.to:
        _check_address(arguments.to)
    member = _read_own_membership(arguments)
    arguments.to = arguments.to or _require_hub_endpoint(member)
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="gateway-submit-"))
    exchange: _Exchange | None = None
    try:
        exchange = _Exchange(arguments, member, _open_message(arguments, member, folder), folder)
        problem = exchange.run_exchange()
        exchange.print_report(problem)
    finally:
        # A folder is kept if its files, the octets to send or an acknowledged message, may be needed again.
        if arguments.folder is None:
            if exchange is None or exchange.may_discard_folder:
                shutil.rmtree(folder, ignore_errors=True)
            elif not exchange.has_ended:
                print_problem(f"what has come is in {folder}")
    return 0 if problem is None else 1


def _require_hub_endpoint(member: Membership) -> str:
    """Return the address of the hub; raise GW808 if the agreement has none."""
    if member.hub_endpoint is None:
        detail = (
            "the agreement has no endpoint of the hub: name it by --to (in a CPA it is the Endpoint of the "
            "transport of the hub's delivery channel)"
        )
        raise GatewayError(MISUSE, detail, "--to")
    return member.hub_endpoint


def _check_address(address: str) -> None:
    """Raise GW808 for an address that is no URL of HTTP, before anything is signed or opened."""
    try:
        parts = urlsplit(address)
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_url = False
    if not is_url:
        raise GatewayError(MISUSE, f"{address[:80]!r} is no URL as https://hub.example/msh/ebms2", "--to")


def _open_message(
    arguments: Arguments, member: Membership, folder: Path
) -> SealedSubmission | SplitSubmission:
    """Return the message to send: a stored one as it is, or a new one around the submission."""
    attachments = (split_named_file(text, "--attach") for text in arguments.attach)
    files = {cid.removeprefix("cid:"): _open_attachment(path) for cid, path in attachments}
    if arguments.file.is_dir():
        _refuse_attachments(files)
        return read_split_submission(arguments.file, member, arguments.to)
    content = read_file(arguments.file)
    if not is_stored_submission(content):
        with add_file_name_to_problem(arguments.file):
            signed = sign_submission(content, member)
        split = split_submission(signed, files, member, arguments.to, folder / "sent")
        return seal_submission(signed, files, member, arguments.to) if split is None else split
    _refuse_attachments(files)
    with add_file_name_to_problem(arguments.file):
        return read_stored_submission(content, arguments.to, member)


def _open_attachment(path: Path) -> bytes | Body:
    """Return the octets of a file; a large one is read in pieces, whenever its octets are needed."""
    try:
        body = FileBody(path)
    except (OSError, ValueError) as mistake:
        raise make_path_problem(path, "read", mistake) from None
    return read_file(path) if body.octet_count <= _MAX_MEMORY_OCTETS else body


def _refuse_attachments(files: Mapping[str, bytes | Body]) -> None:
    if files:
        raise GatewayError(MISUSE, "a kept message contains its attachments", "--attach")


class _Exchange:
    """One submission from its sending to its result; `report` is the report, `hints` say how to go on."""

    def __init__(
        self,
        arguments: Arguments,
        member: Membership,
        message: SealedSubmission | SplitSubmission,
        folder: Path,
    ) -> None:
        self._arguments = arguments
        self._split = message if isinstance(message, SplitSubmission) else None
        self._message = message = message.whole if isinstance(message, SplitSubmission) else message
        self._folder = folder
        self._client = BrokerClient(
            member,
            folder,
            _read_resend_policy(arguments, member, message),
            self._report_progress,
            make_tls_context(arguments),
        )
        self.keeps_files = False
        self._waited = 0.0
        self.has_ended = False
        self.hints: list[str] = []
        self.report: dict[str, Any] = {
            "message_id": message.unit.message_id,
            "sent": SendingState.NOT_SENT.value,
            "receipt_verified": False,
            "case_number": None,
            "state": None,
            "questions": [],
            "result": None,
            "progress": [],
        }

    @property
    def may_discard_folder(self) -> bool:
        """Return whether nothing in the folder is needed again, also where this was interrupted."""
        return not self.keeps_files and (self.has_ended or not self._client.handler.list_rows())

    def run_exchange(self) -> str | None:
        """Send, and wait for the result; return the problem, if any."""
        self._print_progress_line(f"message: {self._message.unit.message_id}")
        try:
            problem = self._send_message()
            if problem is None and self._arguments.wait > 0:
                problem = self._await_result()
            return problem
        finally:
            self._client.close()

    def print_report(self, problem: str | None) -> None:
        """Print the report, or the problem with its hints; then the received messages are needed no more."""
        if self._arguments.json:
            advice = {"problem": problem, "advice": self.hints} if problem is not None else {}
            print_json(self.report | advice)
        # If an acknowledged result cannot be printed, only its file in the folder has it.
        sys.stdout.flush()
        self.has_ended = True
        if problem is not None and not self._arguments.json:
            print_problem(problem)
            for line in self.hints:
                write_error(f"gateway: {line}")

    def _send_message(self) -> str | None:
        """Keep the octets, and send them until their receipt; return the problem, if any."""
        try:
            if self._arguments.wait > 0:
                self._client.start_receiving(self._arguments.to)
            if self._split is None:
                kept_path = store_submission(self._folder / "sent", self._message)
                # After an interruption here, these octets may have to be sent again.
                self.keeps_files = True
                self._client.send_submission(self._message)
                self.keeps_files = False
            else:
                kept_path = self._split.folder
                self._send_fragments(self._split)
        except SendingError as failure:
            self.keeps_files = self.keeps_files and self._split is not None
            return self._report_failure(failure, kept_path)
        except GatewayError as problem:
            self.keeps_files = self.keeps_files and self._split is not None
            if self._arguments.wait > 0 and problem.problem is MISUSE:
                self.hints.append(_BUSY_HINT)
            return f"not sent: {problem}"
        is_receipt_verified = self._message.unit.ack_requested is not None
        self.report |= {"sent": "sent", "receipt_verified": is_receipt_verified}
        self._print_progress_line(
            f"receipt: {'verified' if is_receipt_verified else 'none, the agreement asks for none'}"
        )
        return None

    def _send_fragments(self, split: SplitSubmission) -> None:
        """Send the fragments, and wait for the receipt of the message that they are joined to."""
        open_count = len(split.list_unreceipted_numbers())
        self.report |= {"fragments": split.fragment_count, "joined": None}
        receipted = split.fragment_count - open_count
        again = f", {receipted} of them have their receipts" if receipted else ""
        self._print_progress_line(f"fragments: {split.fragment_count}{again}; kept in {split.folder}")
        # After an interruption here, the sending can be continued from the folder.
        self.keeps_files = True
        try:
            self._client.send_fragments(split)
        finally:
            self.keeps_files = bool(split.list_unreceipted_numbers())
        if self._arguments.wait > 0:
            began = time.monotonic()
            self.report["joined"] = self._client.wait_for_join(split, self._arguments.wait)
            self._waited = time.monotonic() - began
            self._print_progress_line(
                f"joined: {'receipt verified' if self.report['joined'] else 'no receipt yet'}"
            )

    def _print_progress_line(self, line: str) -> None:
        print_sentence(line, as_json=self._arguments.json)
        sys.stdout.flush()

    def _report_progress(self, sentence: str) -> None:
        """Print a sentence on an event while the verb waits; with JSON, only add it to the report."""
        if self._arguments.json:
            self.report["progress"].append(sentence)
        else:
            print_problem(sentence)

    def _report_failure(self, failure: SendingError, kept_path: Path) -> str:
        """Add a failed sending to the report and the hints; return the sentence for the user.

        If it may be repeated, the files are kept in `kept_path`.
        """
        state = failure.state
        self.report["sent"] = state.value
        self._print_progress_line("receipt: none")
        self.hints.append(state.advice)
        if state.repeatable:
            self.keeps_files = True
            self.report["kept"] = str(kept_path)
            self.hints.append(f"to repeat: {make_repeat_command(self._arguments, kept_path)}")
        return f"{state.sentence}: {failure}"

    def _await_result(self) -> str | None:
        """Wait for the result of the hub and report it; return None if it is good, else the reason."""
        try:
            seconds_left = max(self._arguments.wait - self._waited, 0.0)
            row = self._client.wait_for_result(self._message, seconds_left)
        except GatewayError as problem:
            self.keeps_files = True
            self.hints.append(f"what has come is in {self._folder}")
            self.hints.append(f"to go on waiting: {self._make_waiting_command()}")
            return f"the result is not there: {problem}"
        finally:
            self._keep_other_messages()
        news = summarize_notices(self._client.list_notices(self._message))
        self.report |= {name: news[name] for name in ("case_number", "state", "questions")}
        if row is None:
            return self._report_time_out(news)
        self.report["result"] = row["said"] | {"message_id": row["message_id"]}
        if not self._arguments.json:
            print_result_report(row["said"])
        if not row["said"]["verified"]:
            return f"the result is not verified: {row['said']['problem']}"
        is_refused = row["said"]["outcome"] == "REFUSED"
        state = "REFUSED" if is_refused else "DECIDED"
        self.report |= {"case_number": row["said"]["case_number"], "state": state, "questions": []}
        return "the hub refused the submission" if is_refused else None

    def _report_time_out(self, news: dict[str, Any]) -> str:
        """Report the notices that came in place of a result (`news`); return the sentence for the user."""
        for line in describe_open_questions(news):
            self._print_progress_line(line)
        if "held" in news:
            self.report["held"] = news["held"]
        if news["applications"] or "held" in news:
            self.keeps_files = True
            self.hints.append(f"the notices are in {self._folder}")
        self.hints.append(f"to go on waiting: {self._make_waiting_command()}")
        return f"no result within {self._arguments.wait:g} s"

    def _make_waiting_command(self) -> str:
        make = make_listen_command if self._client.awaits_posts else make_pull_command
        return make(self._arguments)

    def _keep_other_messages(self) -> None:
        """Keep the folder where messages about other submissions have come: they are acknowledged."""
        count = self._client.count_others(self._message)
        if count:
            self.keeps_files = True
            self.report |= {"others": count, "folder": str(self._folder)}
            self._print_progress_line(
                f"{format_count(count, 'message')} about other submissions: in {self._folder}"
            )


def _read_resend_policy(arguments: Arguments, member: Membership, message: SealedSubmission) -> ResendPolicy:
    pmode = member.get_outgoing_pmode(message.unit.action, get_current_time())
    agreed = pmode.reliability.retries
    retries = agreed if arguments.retries is None else arguments.retries
    return ResendPolicy(retries, arguments.retry_interval, arguments.time_out)


_AT_WORDS = "listen here, if not at the endpoint of the agreement (behind a proxy, which ends TLS)"


@verb("listen")
@click.option("--as", "party", required=True, metavar="PARTY", help="the receiving party")
@click.option("--folder", type=FILE, required=True, metavar="DIR", help="where each message is stored")
@_partner_options()
@click.option("--at", metavar="HOST:PORT", help=_AT_WORDS)
@tls_options()
@json_option("print one JSON object for each message")
def receive_messages(arguments: Arguments) -> int:
    """Receive until stopped: verify, store durably, acknowledge; return 1 where not all was printed."""
    member = _read_own_membership(arguments)
    printer = ArrivalPrinter(as_json=arguments.json)
    store = MessageFolder(arguments.folder, printer.report_problem)
    tls = make_tls_context(arguments)
    handler = MessageHandler(
        member, arguments.folder, listener=printer.announce_message, store=store, tls=tls
    )
    with catch_stop_signals() as stop:
        listener = EndpointListener(member.listening_endpoint, handler, arguments.at)
        listener.start()
        handler.join_groups()
        stored_count = format_count(len(handler.list_rows()), "message")
        printer.print_line(
            f"ready: {listener.endpoint}, listening at {listener.address}, {stored_count} stored before"
        )
        try:
            stop.wait()
        finally:
            listener.close()
            handler.finish_posts()
        printer.print_line(f"stopped: {format_count(printer.count, 'message')} received")
        return printer.close(stop)


_PULL_TO_WORDS = "the hub's endpoint, if not that of the agreement"
_PULL_WAIT_WORDS = "end when nothing has come for so many seconds; 0: when nothing waits any more"


@verb("pull")
@click.option("--as", "party", required=True, metavar="PARTY", help="the party that pulls")
@click.option("--folder", type=FILE, required=True, metavar="DIR", help="where each message is stored")
@click.option("--to", default="", metavar="URL", help=_PULL_TO_WORDS)
@_partner_options()
@click.option("--wait", type=SECONDS, default=0.0, metavar="S", help=_PULL_WAIT_WORDS)
@click.option("--every", type=TIME_OUT, default=1.0, metavar="S", help="ask so often meanwhile")
@click.option("--time-out", type=TIME_OUT, default=30.0, metavar="S", help=_TIME_OUT_WORDS)
@tls_options()
@json_option("print one JSON object for each message")
def pull_messages(arguments: Arguments) -> int:
    """Pull, verify, store and acknowledge what waits; return 1 where not all was printed."""
    if arguments.to:
        _check_address(arguments.to)
    member = _read_own_membership(arguments)
    printer = ArrivalPrinter(as_json=arguments.json)
    store = MessageFolder(arguments.folder, printer.report_problem)
    tls = make_tls_context(arguments)
    handler = MessageHandler(
        member,
        arguments.folder,
        listener=printer.announce_message,
        store=store,
        tls=tls,
    )
    puller = MessagePuller(member, handler, arguments.to, arguments.time_out, tls)
    handler.join_groups()
    with catch_stop_signals() as stop:
        try:
            _pull_until_quiet(puller, arguments, stop)
        finally:
            puller.close()
            handler.finish_posts()
            printer.print_line(f"pulled: {format_count(printer.count, 'message')}")
            status = printer.close(stop)
        return status


def _pull_until_quiet(puller: MessagePuller, arguments: Arguments, stop: threading.Event) -> None:
    """Pull until nothing has come for the time of ``--wait``, or until stopped."""
    last_arrival = time.monotonic()
    while True:
        if puller.pull_messages():
            last_arrival = time.monotonic()
        if time.monotonic() - last_arrival >= arguments.wait or stop.wait(arguments.every):
            return
