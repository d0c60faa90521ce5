"""A broker's large submission, which is sent in fragments (ebMS 3.0 part 2 §4.3.1) from a folder of its own.

The folder has the whole message before anything is sent. Each fragment is sealed into a file before it is
sent, and its receipt is stored beside it. So whoever goes on after a kill sends the same octets again, and
only those that have no receipt. Nothing is held in memory but one fragment.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from lxml import etree

from gateway.agreements import LARGEST_SPLIT_MESSAGE
from gateway.conformance.partners.agreed_protocol import find_agreed_core
from gateway.conformance.partners.kept_files import WHOLE_FILE, make_kept_name
from gateway.conformance.partners.kept_submissions import read_reference
from gateway.conformance.partners.message_files import (
    FileBody,
    open_message_file,
    write_message_file,
    write_octets,
)
from gateway.conformance.partners.partner_identity import Membership
from gateway.conformance.partners.sealed_submissions import SealedSubmission, make_submission_unit
from gateway.errors import DOCUMENT_INVALID, MISUSE, GatewayError, make_path_problem
from gateway.failpoints import kill_at_failpoint
from gateway.message_model import Body, MemoryBody, UserMessage
from gateway.protocols import Parcel, SplitPlan, SplitTerms, choose_split_terms
from gateway.wire import DEFAULT_LIMITS

__all__ = [
    "SPLIT_LIMITS",
    "SplitSubmission",
    "read_split_submission",
    "split_submission",
]

#: A message that is split has somewhat more octets than its payloads.
SPLIT_LIMITS: Final = replace(DEFAULT_LIMITS, body=LARGEST_SPLIT_MESSAGE + 16 * 1024**2)
_CUT: Final = "whole.gz"
_TERMS: Final = "terms.json"


class SplitSubmission:
    """A submission in its folder: `whole` is the message, without signature, `plan` says how it is cut."""

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
        with (self.folder / _TERMS).open("rb") as held:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                detail = f"another process sends from {self.folder}"
                raise GatewayError(MISUSE, detail, str(self.folder)) from None
            yield

    def list_open_numbers(self) -> Sequence[int]:
        """Return the numbers of the fragments that have no receipt yet."""
        numbers = range(1, self.fragment_count + 1)
        return [one for one in numbers if not self._name_file(one, "receipt").exists()]

    def open_fragment(self, number: int) -> SealedSubmission:
        """Return a fragment as it is sent: the one that was sealed before, or a new one, stored now."""
        path = self._name_file(number, "http")
        core, pmode = (
            find_agreed_core(self._membership),
            self._membership.get_outgoing_pmode(self.unit.action),
        )
        if not path.exists():
            context = self._membership.build_context()
            write_message_file(path, core.seal_agreed_fragment(self.plan, number, pmode, context))
        kill_at_failpoint("submit", "kept")
        stored = open_message_file(path, SPLIT_LIMITS)
        parcel = Parcel({"Content-Type": stored.get_header("Content-Type")}, stored.body)
        sent = core.read_sent_unit(parcel, SPLIT_LIMITS)
        assert isinstance(sent.unit, UserMessage)  # it was sealed here
        asked = replace(sent.unit, ack_requested=self._membership.make_ack_request(pmode))
        return SealedSubmission(asked, self.whole.reference, parcel, sent, self.whole.url)

    @property
    def unit(self) -> UserMessage:
        """Return the message that is cut."""
        return self.whole.unit

    def keep_receipt(self, number: int, receipt: Parcel | None) -> None:
        """Store the receipt of a fragment durably; None for one that came by a POST of its own."""
        kill_at_failpoint("submit", "answered")
        write_octets(
            self._name_file(number, "receipt"), (MemoryBody(b"") if receipt is None else receipt.body,)
        )
        kill_at_failpoint("submit", "receipted")

    def _name_file(self, number: int, kind: str) -> Path:
        return self.folder / f"fragment-{number:04}.{kind}"


def split_submission(
    root: etree._Element,
    attachments: Mapping[str, bytes | Body],
    membership: Membership,
    url: str,
    folder: Path,
) -> SplitSubmission | None:
    """Return a signed submission in fragments, in a new folder below `folder`; None where it is sent whole.

    It is where nothing is agreed of splitting, and where it fits into one fragment. Raises GW102 for a
    message that is larger than agreed.
    """
    unit, reference = make_submission_unit(root, attachments, membership)
    pmode, core = membership.get_outgoing_pmode(unit.action), find_agreed_core(membership)
    if pmode.splitting is None:
        return None
    source = core.seal_source(unit, pmode)
    terms = choose_split_terms(source.body.octet_count, pmode.splitting)
    if terms is None:
        return None
    place = folder / make_kept_name(unit.message_id)
    write_message_file(place / WHOLE_FILE, source)
    _write_terms(place, terms, membership)
    kill_at_failpoint("submit", "cut")
    return _open_folder(place, membership, url, reference)


def _write_terms(place: Path, wanted: SplitTerms, membership: Membership) -> None:
    """Store how a message is cut, and its octets in gzip where that is agreed: once, before it is cut."""
    source = open_message_file(place / WHOLE_FILE, SPLIT_LIMITS)
    plan = find_agreed_core(membership).plan_split(source, wanted, SPLIT_LIMITS)
    if plan.terms.compressed:
        write_octets(place / _CUT, (plan.octets,))
    said = {
        "fragment_size": plan.terms.fragment_size,
        "routing_properties": list(plan.terms.routing_properties),
        "compressed": plan.terms.compressed,
    }
    write_octets(place / _TERMS, (MemoryBody(json.dumps(said).encode()),))


def read_split_submission(folder: Path, membership: Membership, url: str) -> SplitSubmission:
    """Return the submission in a folder that `split_submission` made; raise GW808 for another folder."""
    if not (folder / _TERMS).is_file():
        raise GatewayError(MISUSE, f"{folder} has no submission in fragments", str(folder))
    return _open_folder(folder, membership, url, None)


def _open_folder(folder: Path, membership: Membership, url: str, reference: str | None) -> SplitSubmission:
    said = _read_terms(folder / _TERMS)
    core = find_agreed_core(membership)
    parcel = open_message_file(folder / WHOLE_FILE, SPLIT_LIMITS)
    terms = SplitTerms(said["fragment_size"], tuple(said["routing_properties"]))
    plan = core.plan_split(parcel, terms, SPLIT_LIMITS)
    if said["compressed"]:
        octets = FileBody(folder / _CUT)
        plan = replace(plan, octets=octets, terms=replace(terms, compressed=True))
    sent = core.read_sent_unit(parcel, SPLIT_LIMITS)
    if not isinstance(sent.unit, UserMessage) or not sent.unit.payloads:
        raise GatewayError(DOCUMENT_INVALID, "the message carries no submission", str(folder))
    pmode = membership.get_outgoing_pmode(sent.unit.action)
    unit = replace(sent.unit, ack_requested=membership.make_ack_request(pmode))
    name = read_reference(unit) if reference is None else reference
    whole = SealedSubmission(unit, name, parcel, sent, url or pmode.endpoint or "")
    return SplitSubmission(folder, whole, plan, membership)


def _read_terms(path: Path) -> dict[str, Any]:
    try:
        said: dict[str, Any] = json.loads(path.read_bytes())
        return {name: said[name] for name in ("fragment_size", "routing_properties", "compressed")}
    except OSError as mistake:
        raise make_path_problem(path, "read", mistake) from None
    except (ValueError, KeyError, TypeError):
        raise GatewayError(MISUSE, f"{path} was not written by this program", str(path)) from None
