"""The files in which a broker keeps sent messages: one for each message, a folder for one in fragments."""

from __future__ import annotations

import fcntl
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from lxml import etree

from gateway.agreements import MAX_SPLIT_MESSAGE_OCTETS
from gateway.client.message_files import FileBody, open_message_file, write_message_file, write_octets
from gateway.client.partner_identity import Membership, get_current_time
from gateway.client.sealed_submissions import SealedSubmission, get_protocol_core, make_submission_unit
from gateway.errors import DOCUMENT_INVALID, MISUSE, GatewayError, make_path_problem
from gateway.failpoints import kill_at_failpoint
from gateway.message_model import Body, MemoryBody, UserMessage
from gateway.protocols import Parcel, SplitPlan, SplitTerms, choose_split_terms
from gateway.wire import DEFAULT_LIMITS, SUB, parse_xml, read_http_message

#: The file of a message that is sent in fragments, in a folder of its own.
WHOLE_MESSAGE_FILE: Final = "whole.http"


def find_stored_parcel(folder: Path, message_id: str) -> Parcel | None:
    """Return the sent message that a process has kept below a folder; None if there is none."""
    message_name = make_message_file_name(message_id)
    if message_name.strip(".") == "":
        return None
    for path in (folder / f"{message_name}.http", folder / message_name / WHOLE_MESSAGE_FILE):
        if path.is_file():
            with suppress(GatewayError):
                return open_message_file(path, DEFAULT_LIMITS)
    return None


def measure_largest_split_message(folder: Path) -> int:
    """Return the octets of the largest message in fragments that is kept below a folder, 0 without any."""
    sizes = [0]
    for path in folder.glob(f"*/{WHOLE_MESSAGE_FILE}"):
        with suppress(OSError):
            sizes.append(path.stat().st_size)
    return max(sizes)


def make_message_file_name(message_id: str) -> str:
    """Return the name under which a message is kept: its id, without signs that file systems may refuse."""
    return "".join(
        character if character.isalnum() or character in "-_.@" else "_" for character in message_id
    )[:120]


_HTTP_START: Final = re.compile(rb"(?i)POST |(?:soapaction|content-type|mime-version):")


def is_stored_submission(file_octets: bytes) -> bool:
    """Return whether a file begins like an HTTP message, and not like XML."""
    return _HTTP_START.match(file_octets) is not None


def store_submission(folder: Path, submission: SealedSubmission) -> Path:
    """Write the HTTP headers and body of a submission durably into a new file; return its path.

    Raises GW808 where the file cannot be written.
    """
    path = folder / f"{make_message_file_name(submission.unit.message_id)}.http"
    write_message_file(path, submission.parcel)
    return path


def read_stored_submission(file_octets: bytes, url: str, membership: Membership) -> SealedSubmission:
    """Return the submission that `store_submission` wrote, to be sent to `url` unchanged.

    It is read as a message of the protocol of the agreement in `membership`.
    """
    message = read_http_message(file_octets)
    header_names = ("Content-Type", "SOAPAction")
    headers = {
        header_name: message.headers[header_name.lower()]
        for header_name in header_names
        if header_name.lower() in message.headers
    }
    parcel = Parcel(headers, MemoryBody(message.body))
    sent_unit = get_protocol_core(membership).read_sent_unit(parcel, DEFAULT_LIMITS)
    unit = sent_unit.unit
    # A payload that was encrypted for the hub cannot be decrypted here.
    is_hidden = parcel.get_header("Content-Type").startswith("multipart/")
    if not isinstance(unit, UserMessage) or not (unit.payloads or is_hidden):
        raise GatewayError(DOCUMENT_INVALID, "the message carries no submission", "cid:")
    if unit.ack_requested is None:
        # A message of AS4 does not ask for its receipt: its P-Mode does.
        pmode = membership.get_outgoing_pmode(unit.action, get_current_time())
        unit = replace(unit, ack_requested=membership.make_ack_request(pmode))
    return SealedSubmission(unit, read_reference(unit), parcel, sent_unit, url)


def read_reference(unit: UserMessage) -> str:
    """Return the Reference of the submission in a message; empty where it cannot be read."""
    if not unit.payloads:
        return ""
    return (parse_xml(unit.payloads[0].content).findtext(f"{{{SUB}}}Reference") or "").strip()


#: A message that is split has somewhat more octets than its payloads.
SPLIT_LIMITS: Final = replace(DEFAULT_LIMITS, body=MAX_SPLIT_MESSAGE_OCTETS + 16 * 1024**2)
_COMPRESSED_FILE: Final = "whole.gz"
_TERMS_FILE: Final = "terms.json"


class SplitSubmission:
    """A submission in its folder: `whole` is the unsigned message, `plan` says how it is split."""

    def __init__(
        self, folder: Path, whole: SealedSubmission, plan: SplitPlan, membership: Membership
    ) -> None:
        self.folder = folder
        self.whole = whole
        self.plan = plan
        self._membership = membership

    @property
    def fragment_count(self) -> int:
        """Return the number of fragments."""
        return self.plan.fragment_count

    @contextmanager
    def lock_folder(self) -> Iterator[None]:
        """Hold the folder for one process; raise GW808 where another one sends from it."""
        with (self.folder / _TERMS_FILE).open("rb") as locked_file:
            try:
                fcntl.flock(locked_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                detail = f"another process sends from {self.folder}"
                raise GatewayError(MISUSE, detail, str(self.folder)) from None
            yield

    def list_unreceipted_numbers(self) -> Sequence[int]:
        """Return the numbers of the fragments that have no receipt yet."""
        fragment_numbers = range(1, self.fragment_count + 1)
        return [
            fragment_number
            for fragment_number in fragment_numbers
            if not self._make_fragment_path(fragment_number, "receipt").exists()
        ]

    def open_fragment(self, fragment_number: int) -> SealedSubmission:
        """Return a fragment as it is sent: the fragment sealed before, or a new one, which is stored now."""
        path = self._make_fragment_path(fragment_number, "http")
        core = get_protocol_core(self._membership)
        pmode = self._membership.get_outgoing_pmode(self.unit.action, get_current_time())
        if not path.exists():
            context = self._membership.build_context()
            write_message_file(path, core.seal_agreed_fragment(self.plan, fragment_number, pmode, context))
        kill_at_failpoint("submit", "kept")
        stored_parcel = open_message_file(path, SPLIT_LIMITS)
        parcel = Parcel({"Content-Type": stored_parcel.get_header("Content-Type")}, stored_parcel.body)
        sent_unit = core.read_sent_unit(parcel, SPLIT_LIMITS)
        assert isinstance(sent_unit.unit, UserMessage)  # it was sealed here
        unit = replace(sent_unit.unit, ack_requested=self._membership.make_ack_request(pmode))
        return SealedSubmission(unit, self.whole.reference, parcel, sent_unit, self.whole.url)

    @property
    def unit(self) -> UserMessage:
        """Return the message that is cut."""
        return self.whole.unit

    def store_receipt(self, fragment_number: int, receipt: Parcel | None) -> None:
        """Store the receipt of a fragment durably; None for one that came by a POST of its own."""
        kill_at_failpoint("submit", "answered")
        write_octets(
            self._make_fragment_path(fragment_number, "receipt"),
            (MemoryBody(b"") if receipt is None else receipt.body,),
        )
        kill_at_failpoint("submit", "receipted")

    def _make_fragment_path(self, fragment_number: int, suffix: str) -> Path:
        return self.folder / f"fragment-{fragment_number:04}.{suffix}"


def split_submission(
    root: etree._Element,
    attachments: Mapping[str, bytes | Body],
    membership: Membership,
    url: str,
    folder: Path,
) -> SplitSubmission | None:
    """Return a signed submission in fragments, in a new folder below `folder`; None if it is sent whole.

    It is sent whole if no splitting is agreed, or if it fits into one fragment. Raises GW102 for a
    message that is larger than agreed.
    """
    unit, reference = make_submission_unit(root, attachments, membership)
    core = get_protocol_core(membership)
    pmode = membership.get_outgoing_pmode(unit.action, get_current_time())
    if pmode.splitting is None:
        return None
    source = core.seal_source(unit, pmode)
    terms = choose_split_terms(source.body.octet_count, pmode.splitting)
    if terms is None:
        return None
    message_folder = folder / make_message_file_name(unit.message_id)
    write_message_file(message_folder / WHOLE_MESSAGE_FILE, source)
    _write_terms(message_folder, terms, membership)
    kill_at_failpoint("submit", "cut")
    return _open_folder(message_folder, membership, url, reference)


def _write_terms(folder: Path, terms: SplitTerms, membership: Membership) -> None:
    """Store the terms by which a message is split, and its octets in gzip where that is agreed.

    This is done once, before the message is split.
    """
    source = open_message_file(folder / WHOLE_MESSAGE_FILE, SPLIT_LIMITS)
    plan = get_protocol_core(membership).plan_split(source, terms, SPLIT_LIMITS)
    if plan.terms.compressed:
        write_octets(folder / _COMPRESSED_FILE, (plan.octets,))
    terms_record = {
        "fragment_size": plan.terms.fragment_size,
        "routing_properties": list(plan.terms.routing_properties),
        "compressed": plan.terms.compressed,
    }
    write_octets(folder / _TERMS_FILE, (MemoryBody(json.dumps(terms_record).encode()),))


def read_split_submission(folder: Path, membership: Membership, url: str) -> SplitSubmission:
    """Return the submission in a folder that `split_submission` made; raise GW808 for another folder."""
    if not (folder / _TERMS_FILE).is_file():
        raise GatewayError(MISUSE, f"{folder} has no submission in fragments", str(folder))
    return _open_folder(folder, membership, url, None)


def _open_folder(folder: Path, membership: Membership, url: str, reference: str | None) -> SplitSubmission:
    """Return the submission in `folder`, under the P-Mode in force now.

    It is sent to `url`, or to the endpoint of the P-Mode if `url` is empty. `reference` is that of the
    declarant, read from the message if it is None. Raises GW402 if the stored message carries no submission.
    """
    terms_record = _read_terms(folder / _TERMS_FILE)
    core = get_protocol_core(membership)
    parcel = open_message_file(folder / WHOLE_MESSAGE_FILE, SPLIT_LIMITS)
    terms = SplitTerms(terms_record["fragment_size"], tuple(terms_record["routing_properties"]))
    plan = core.plan_split(parcel, terms, SPLIT_LIMITS)
    if terms_record["compressed"]:
        octets = FileBody(folder / _COMPRESSED_FILE)
        plan = replace(plan, octets=octets, terms=replace(terms, compressed=True))
    sent_unit = core.read_sent_unit(parcel, SPLIT_LIMITS)
    if not isinstance(sent_unit.unit, UserMessage) or not sent_unit.unit.payloads:
        raise GatewayError(DOCUMENT_INVALID, "the message carries no submission", str(folder))
    pmode = membership.get_outgoing_pmode(sent_unit.unit.action, get_current_time())
    unit = replace(sent_unit.unit, ack_requested=membership.make_ack_request(pmode))
    submission_reference = read_reference(unit) if reference is None else reference
    whole = SealedSubmission(unit, submission_reference, parcel, sent_unit, url or pmode.endpoint or "")
    return SplitSubmission(folder, whole, plan, membership)


def _read_terms(path: Path) -> dict[str, Any]:
    """Return the stored terms of splitting; raise GW808 if the file was not written by this program."""
    try:
        terms_record: dict[str, Any] = json.loads(path.read_bytes())
        return {name: terms_record[name] for name in ("fragment_size", "routing_properties", "compressed")}
    except OSError as error:
        raise make_path_problem(path, "read", error) from None
    except (ValueError, KeyError, TypeError):
        raise GatewayError(MISUSE, f"{path} was not written by this program", str(path)) from None
