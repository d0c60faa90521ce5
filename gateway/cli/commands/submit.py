"""``gateway submit``: a reference client for brokers, usable with any hub that supports ebMS 2.0 or AS4."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from gateway.cli.arrival_printing import PARTNER_WORDS
from gateway.cli.named_files import name_file, read_file, split_named_file
from gateway.cli.result_output import count_things, print_json, print_problem, print_sentence
from gateway.cli.shared_options import FILE, json_option, open_tls, tls_options
from gateway.cli.submission_report import (
    describe_open_questions,
    make_listen_command,
    make_pull_command,
    make_repeat_command,
    print_result_report,
)
from gateway.cli.terminal_text import write_error
from gateway.cli.verb_groups import Arguments, verb
from gateway.conformance.partners import (
    BrokerClient,
    FileBody,
    Membership,
    ResendPolicy,
    SealedSubmission,
    SendingError,
    SendingState,
    SplitSubmission,
    is_kept_submission,
    keep_submission,
    read_kept_submission,
    read_membership,
    read_split_submission,
    seal_submission,
    sign_submission,
    split_submission,
    summarize_notices,
)
from gateway.errors import MISUSE, GatewayError, make_path_problem
from gateway.message_model import Body

__all__ = ["submit_file"]

_WAIT = 60.0
#: Attachments of at most so many octets are held in memory.
_MOST_HELD = 1024**2
_HUB_WORDS = "the hub's certificates, if not hub.cert.pem"
_BUSY_HINT = "where `gateway listen` receives at that address: --wait 0 sends, and the result comes to it"
_FILE_WORDS = (
    "the submission; it is signed if it has no signature. Or what this verb kept, a message or the folder of "
    "one in fragments: it is sent again unchanged"
)
_WAIT_WORDS = "seconds to wait for the result; 0: do not wait"


@verb
@click.argument("file", type=FILE, help=_FILE_WORDS)
@click.option(
    "--as", "party", required=True, metavar="PARTY", help="the sending party: its key is PARTY.key.pem"
)
@click.option("--to", required=True, metavar="URL", help="the hub's endpoint, for example http://…/msh/ebms2")
@click.option("--partner", type=FILE, default=Path(), metavar="DIR", help=PARTNER_WORDS)
@click.option("--agreement", type=FILE, help="the agreement, if not agreement.yaml in that folder")
@click.option("--hub-certificate", type=FILE, multiple=True, help=_HUB_WORDS)
@click.option("--attach", multiple=True, metavar="cid=FILE", help="an attachment; repeatable")
@click.option("--wait", type=float, default=_WAIT, metavar="S", help=_WAIT_WORDS)
@click.option(
    "--retries", type=click.IntRange(0, 10_000), help="attempts after the first one, if not as agreed"
)
@click.option("--retry-interval", type=float, default=1.0, metavar="S", help="seconds between attempts")
@click.option("--time-out", type=float, default=30.0, metavar="S", help="time limit for an answer in seconds")
@tls_options()
@click.option("--folder", type=FILE, help="keep the message sent and the messages of the hub in this folder")
@json_option()
def submit_file(arguments: Arguments) -> int:
    """Send a signed submission, check its receipt, wait for its result; return 1 when one of them fails."""
    _check_address(arguments.to)
    member = read_membership(
        arguments.partner, arguments.party, arguments.agreement, tuple(arguments.hub_certificate)
    )
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="gateway-submit-"))
    exchange: _Exchange | None = None
    try:
        exchange = _Exchange(arguments, member, _open_message(arguments, member, folder), folder)
        problem = exchange.run_exchange()
    finally:
        # What may be needed again, the octets or an acknowledged message, is not thrown away.
        if arguments.folder is None and (exchange is None or exchange.may_discard_folder):
            shutil.rmtree(folder, ignore_errors=True)
    if arguments.json:
        print_json(
            exchange.told | ({"problem": problem, "advice": exchange.hints} if problem is not None else {})
        )
    elif problem is not None:
        print_problem(problem)
        for line in exchange.hints:
            write_error(f"gateway: {line}")
    return 0 if problem is None else 1


def _check_address(address: str) -> None:
    """Raise GW808 for an address that is no URL of HTTP, before anything is signed or opened."""
    try:
        parts = urlsplit(address)
        known = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        known = False
    if not known:
        raise GatewayError(MISUSE, f"{address[:80]!r} is no URL as https://hub.example/msh/ebms2", "--to")


def _open_message(
    arguments: Arguments, member: Membership, folder: Path
) -> SealedSubmission | SplitSubmission:
    """Return the message to send: a kept one as it is, or a new one around the submission."""
    named = (split_named_file(text, "--attach") for text in arguments.attach)
    files = {cid.removeprefix("cid:"): _open_attachment(path) for cid, path in named}
    if arguments.file.is_dir():
        _refuse_attachments(files)
        return read_split_submission(arguments.file, member, arguments.to)
    content = read_file(arguments.file)
    if not is_kept_submission(content):
        with name_file(arguments.file):
            signed = sign_submission(content, member)
        split = split_submission(signed, files, member, arguments.to, folder / "sent")
        return seal_submission(signed, files, member, arguments.to) if split is None else split
    _refuse_attachments(files)
    with name_file(arguments.file):
        return read_kept_submission(content, arguments.to, member)


def _open_attachment(path: Path) -> bytes | Body:
    """Return the octets of a file; a large one is read in pieces, whenever its octets are needed."""
    try:
        found = FileBody(path)
    except (OSError, ValueError) as mistake:
        raise make_path_problem(path, "read", mistake) from None
    return read_file(path) if found.octet_count <= _MOST_HELD else found


def _refuse_attachments(files: Mapping[str, bytes | Body]) -> None:
    if files:
        raise GatewayError(MISUSE, "a kept message contains its attachments", "--attach")


class _Exchange:
    """One submission from its sending to its result; `told` is the report, `hints` say how to go on."""

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
            _read_agreed_patience(arguments, member, message),
            self._tell_progress,
            open_tls(arguments),
        )
        self.keeps_files = False
        self._waited = 0.0
        self._has_ended = False
        self.hints: list[str] = []
        self.told: dict[str, Any] = {
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
        return not self.keeps_files and (self._has_ended or not self._client.handler.list_rows())

    def run_exchange(self) -> str | None:
        """Send, and wait for the result; return the problem, if any."""
        self._say(f"message: {self._message.unit.message_id}")
        try:
            problem = self._send_message()
            if problem is None and self._arguments.wait > 0:
                problem = self._await_result()
            self._has_ended = True
            return problem
        finally:
            self._client.close()

    def _send_message(self) -> str | None:
        """Keep the octets, and send them until their receipt; return the problem, if any."""
        try:
            if self._arguments.wait > 0:
                self._client.start_receiving(self._arguments.to)
            if self._split is None:
                kept = keep_submission(self._folder / "sent", self._message)
                self._client.send_submission(self._message)
            else:
                kept = self._split.folder
                self._send_fragments(self._split)
        except SendingError as failure:
            return self._report_failure(failure, kept)
        except GatewayError as problem:
            if self._arguments.wait > 0 and problem.problem is MISUSE:
                self.hints.append(_BUSY_HINT)
            return f"not sent: {problem}"
        verified = self._message.unit.ack_requested is not None
        self.told |= {"sent": "sent", "receipt_verified": verified}
        self._say(f"receipt: {'verified' if verified else 'none, the agreement asks for none'}")
        return None

    def _send_fragments(self, split: SplitSubmission) -> None:
        """Send the fragments, and wait for the receipt of the message that they are joined to."""
        left = len(split.list_open_numbers())
        self.told |= {"fragments": split.fragment_count, "joined": None}
        known = split.fragment_count - left
        again = f", {known} of them have their receipts" if known else ""
        self._say(f"fragments: {split.fragment_count}{again}; kept in {split.folder}")
        # Whoever is interrupted here goes on from the folder.
        self.keeps_files = True
        try:
            self._client.send_fragments(split)
        finally:
            self.keeps_files = bool(split.list_open_numbers())
        if self._arguments.wait > 0:
            began = time.monotonic()
            self.told["joined"] = self._client.wait_for_join(split, self._arguments.wait)
            self._waited = time.monotonic() - began
            self._say(f"joined: {'receipt verified' if self.told['joined'] else 'no receipt yet'}")

    def _say(self, line: str) -> None:
        print_sentence(line, as_json=self._arguments.json)
        sys.stdout.flush()

    def _tell_progress(self, words: str) -> None:
        """Print what happens while the verb waits; with JSON the report alone has it."""
        if self._arguments.json:
            self.told["progress"].append(words)
        else:
            print_problem(words)

    def _report_failure(self, failure: SendingError, kept: Path) -> str:
        state = failure.state
        self.told["sent"] = state.value
        self._say("receipt: none")
        self.hints.append(state.advice)
        if state.repeatable:
            self.keeps_files = True
            self.told["kept"] = str(kept)
            self.hints.append(f"to repeat: {make_repeat_command(self._arguments, kept)}")
        return f"{state.sentence}: {failure}"

    def _await_result(self) -> str | None:
        try:
            left = max(self._arguments.wait - self._waited, 0.0)
            row = self._client.wait_for_result(self._message, left)
        except GatewayError as problem:
            self.keeps_files = True
            self.hints.append(f"what has come is in {self._folder}")
            self.hints.append(f"to go on waiting: {self._make_waiting_command()}")
            return f"the result is not there: {problem}"
        finally:
            self._keep_others()
        news = summarize_notices(self._client.list_notices(self._message))
        self.told |= {name: news[name] for name in ("case_number", "state", "questions")}
        if row is None:
            return self._report_time_out(news)
        self.told["result"] = row["said"] | {"message_id": row["message_id"]}
        if not self._arguments.json:
            print_result_report(row["said"])
        if not row["said"]["verified"]:
            return f"the result is not verified: {row['said']['problem']}"
        refused = row["said"]["outcome"] == "REFUSED"
        state = "REFUSED" if refused else "DECIDED"
        self.told |= {"case_number": row["said"]["case_number"], "state": state, "questions": []}
        return "the hub refused the submission" if refused else None

    def _report_time_out(self, news: dict[str, Any]) -> str:
        for line in describe_open_questions(news):
            self._say(line)
        if "held" in news:
            self.told["held"] = news["held"]
        if news["applications"] or "held" in news:
            self.keeps_files = True
            self.hints.append(f"the notices are in {self._folder}")
        self.hints.append(f"to go on waiting: {self._make_waiting_command()}")
        return f"no result within {self._arguments.wait:g} s"

    def _make_waiting_command(self) -> str:
        make = make_listen_command if self._client.awaits_posts else make_pull_command
        return make(self._arguments)

    def _keep_others(self) -> None:
        """Keep the folder where messages about other submissions have come: they are acknowledged."""
        count = self._client.count_others(self._message)
        if count:
            self.keeps_files = True
            self.told |= {"others": count, "folder": str(self._folder)}
            self._say(f"{count_things(count, 'message')} about other submissions: in {self._folder}")


def _read_agreed_patience(
    arguments: Arguments, member: Membership, message: SealedSubmission
) -> ResendPolicy:
    agreed = member.get_outgoing_pmode(message.unit.action).reliability.retries
    retries = agreed if arguments.retries is None else arguments.retries
    return ResendPolicy(retries, arguments.retry_interval, arguments.time_out)
