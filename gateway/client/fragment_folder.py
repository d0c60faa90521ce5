"""A broker's fragments of large messages: one folder for each group, safe against a kill at any time.

A group has ``group.json``, and for each fragment its octets, ``0001.part``, and ``0001.json`` with its
receipt and the tally of the group after it. ``0001.json`` is written last: when it exists, the fragment is
stored, and only then is it acknowledged. ``refused.json`` or ``joined.json`` ends a group, and its fragments
are removed. ``told.json`` says that the receipt of the joined message has arrived.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from gateway.agreements import PMode, SplittingTerms
from gateway.client.message_files import FileBody, replace_file
from gateway.errors import (
    FRAGMENT_CONTRADICTED,
    FRAGMENT_MISSING,
    FRAGMENT_SPACE,
    MESSAGE_ID_REUSED,
    NOT_SUPPORTED,
    SIGNER_MISMATCH,
    GatewayError,
)
from gateway.message_model import MemoryBody, UserMessage, as_body
from gateway.protocols import FragmentHeader, GroupTally, OpenedMessage, Parcel, ProtocolCore

_GROUP_FILE: Final = "group.json"
_REFUSED_FILE: Final = "refused.json"
_JOINED_FILE: Final = "joined.json"
_REPORTED_FILE: Final = "told.json"
_WHOLE_FILE: Final = "whole.body"
_HEADER_PATH: Final = "/soap12:Envelope/soap12:Header/mf:MessageFragment"
#: The largest number of groups in the cache; the files of other groups are read again.
_MAX_CACHED_GROUPS: Final = 8


class GroupRefusedError(Exception):
    """The group `group_name` is refused now, for the reason `problem`."""

    def __init__(self, group: str, problem: GatewayError) -> None:
        super().__init__(str(problem))
        self.group_name = group
        self.problem = problem


@dataclass(frozen=True, slots=True)
class CompleteGroup:
    """A group of which every fragment is stored, and the P-Mode of its message."""

    folder: Path
    agreement: str
    pmode: str
    tally: GroupTally

    def join_pieces(self, core: ProtocolCore, terms: SplittingTerms) -> Parcel:
        """Return the message that was split, in a file; raise GW352. Nothing of it is held in memory."""
        fragment_numbers = range(1, self.tally.came + 1)
        fragment_bodies = [FileBody(self.folder / f"{number:04d}.part") for number in fragment_numbers]
        joined_message = core.join_fragments(self.tally, fragment_bodies, terms.message_size)
        replace_file(self.folder / _WHOLE_FILE, (joined_message.body,))
        return Parcel(joined_message.headers, FileBody(self.folder / _WHOLE_FILE))

    def find_message(self) -> str | None:
        """Return the MessageId of the message that was joined from it; None if none has been stored."""
        path = self.folder / _JOINED_FILE
        return str(_read_json(path)["message_id"]) if path.is_file() else None

    def end_group(self, message_id: str) -> None:
        """Note the message that was stored, and remove the pieces."""
        _end_group(self.folder, _JOINED_FILE, {"message_id": message_id})

    def record_receipt_delivered(self) -> None:
        """Note that the sender has the receipt of the message."""
        _write_json(self.folder / _REPORTED_FILE, {})


@dataclass
class _Group:
    """The stored facts about a group of fragments; `members` are identity and number by MessageId."""

    folder: Path
    group_record: dict[str, Any]
    members: dict[str, tuple[str, int]] = field(default_factory=dict)
    tally: GroupTally | None = None

    @property
    def is_complete(self) -> bool:
        return self.tally is not None and self.tally.is_complete

    def as_complete(self) -> CompleteGroup:
        assert self.tally is not None  # it is complete
        return CompleteGroup(
            self.folder, self.group_record["agreement"], self.group_record["pmode"], self.tally
        )


class FragmentFolder:
    """Stores fragments one by one, and finds the groups that are complete; safe for threads."""

    def __init__(self, folder: Path, core: ProtocolCore) -> None:
        self._folder = folder
        self._core = core
        self._cached_groups: dict[str, _Group] = {}
        self._lock = threading.Lock()

    def store_fragment(
        self, opened_message: OpenedMessage, now: datetime, seal_receipt: Callable[[], Mapping[str, Any]]
    ) -> tuple[Mapping[str, Any], CompleteGroup | None]:
        """Store a fragment, once; return its receipt, and its group where that is complete.

        `seal_receipt` makes and signs the receipt of a new fragment, before the fragment is stored.

        Raises GroupRefusedError with the problem for which the whole group is refused now, and GatewayError
        for one that concerns the fragment alone: GW351 after a refusal, GW312, GW209, GW342. Raises OSError
        where it cannot be stored.
        """
        header, unit, pmode = opened_message.fragment_header, opened_message.unit, opened_message.pmode
        if header is None or not isinstance(unit, UserMessage) or pmode is None or pmode.splitting is None:
            raise GatewayError(NOT_SUPPORTED, "nothing is agreed of messages in fragments", _HEADER_PATH)
        with self._lock:
            group = self._find_group(header.group)
            if group is None:
                self._check_group_limit(pmode.splitting, now)
                group = self._open_group(header.group, pmode, now)
            if (group.folder / _REFUSED_FILE).is_file():
                detail = "another fragment of this group was refused"
                raise GatewayError(
                    FRAGMENT_CONTRADICTED, detail, f"{_HEADER_PATH}/mf:GroupId", code="EBMS:0040"
                )
            recorded_fragment = group.members.get(unit.message_id)
            if recorded_fragment is None:
                self._add_fragment(group, header, unit, opened_message, now, seal_receipt)
            elif recorded_fragment[0] != opened_message.identity:
                raise GatewayError(MESSAGE_ID_REUSED, "another fragment has this MessageId", _HEADER_PATH)
            fragment_number = header.number if recorded_fragment is None else recorded_fragment[1]
            fragment_record = _read_json(group.folder / f"{fragment_number:04d}.json")
            return fragment_record["receipt"], group.as_complete() if group.is_complete else None

    def list_complete(self) -> Iterator[CompleteGroup]:
        """Yield the complete groups that are not joined, or whose joined message has no delivered receipt."""
        for path in sorted(self._folder.glob(f"*/{_GROUP_FILE}")):
            if _has_ended(path.parent):
                _remove_pieces(path.parent)
                if (path.parent / _REFUSED_FILE).is_file() or (path.parent / _REPORTED_FILE).is_file():
                    continue
            group = _read_group(path.parent)
            if group.is_complete:
                yield group.as_complete()

    def refuse_group(self, folder: Path, problem: GatewayError) -> None:
        """Refuse a group, and remove its pieces."""
        with self._lock:
            self._cached_groups.pop(folder.name, None)
            _record_group_refusal(folder, problem)

    def _find_group(self, group_name: str) -> _Group | None:
        """Return the group from memory or from its folder; None if no fragment of it has been stored."""
        folder = self._folder / hashlib.sha256(group_name.encode()).hexdigest()
        if folder.name not in self._cached_groups:
            if not (folder / _GROUP_FILE).is_file():
                return None
            self._cache_group(_read_group(folder))
        return self._cached_groups[folder.name]

    def _cache_group(self, group: _Group) -> None:
        while len(self._cached_groups) >= _MAX_CACHED_GROUPS:
            self._cached_groups.pop(next(iter(self._cached_groups)))
        self._cached_groups[group.folder.name] = group

    def _check_group_limit(self, terms: SplittingTerms, now: datetime) -> None:
        """Raise GW342 if the agreed number of groups is open already; refuse groups whose time is over."""
        open_count = 0
        for path in self._folder.glob(f"*/{_GROUP_FILE}"):
            if _has_ended(path.parent):
                continue
            group = self._cached_groups.get(path.parent.name) or _read_group(path.parent)
            if group.is_complete:
                continue
            if _is_expired(group, now):
                self._cached_groups.pop(path.parent.name, None)
                _record_group_refusal(group.folder, _make_expired_error(group))
            else:
                open_count += 1
        if open_count >= terms.open_groups:
            raise GatewayError(
                FRAGMENT_SPACE, f"{open_count} messages of this sender are incomplete", _HEADER_PATH
            )

    def _open_group(self, group_name: str, pmode: PMode, now: datetime) -> _Group:
        """Create the folder of a new group, which must be complete within the `join_interval` of `pmode`."""
        assert pmode.splitting is not None  # the caller has looked
        folder = self._folder / hashlib.sha256(group_name.encode()).hexdigest()
        ends_at = now + timedelta(seconds=pmode.splitting.join_interval)
        group_record = {
            "group": group_name,
            "agreement": pmode.agreement,
            "pmode": pmode.id,
            "ends": ends_at.isoformat(),
        }
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _write_json(folder / _GROUP_FILE, group_record)
        group = _Group(folder, group_record)
        self._cache_group(group)
        return group

    def _add_fragment(
        self,
        group: _Group,
        header: FragmentHeader,
        unit: UserMessage,
        opened_message: OpenedMessage,
        now: datetime,
        seal_receipt: Callable[[], Mapping[str, Any]],
    ) -> None:
        """Store a new fragment; raise GroupRefusedError where it contradicts its group, or comes too late."""
        pmode = opened_message.pmode
        assert pmode is not None and pmode.splitting is not None  # noqa: PT018  # the caller has looked
        if not group.is_complete and _is_expired(group, now):
            self._refuse_group_and_raise(group, _make_expired_error(group))
        try:
            if pmode.id != group.group_record["pmode"]:
                detail = f"the first fragment was of P-Mode {group.group_record['pmode']}"
                raise GatewayError(FRAGMENT_CONTRADICTED, detail, _HEADER_PATH, code="EBMS:0053")
            stored_numbers = {number for _, number in group.members.values()}
            tally = self._core.tally_opened_fragment(
                group.tally,
                opened_message,
                pmode.splitting.message_size,
                is_repeated=header.number in stored_numbers,
            )
        except GatewayError as problem:
            # Only this fragment is refused if another key signed it, or if the group is already complete.
            if group.is_complete or problem.problem is SIGNER_MISMATCH or problem.problem.ours:
                raise
            self._refuse_group_and_raise(group, problem)
        (piece,) = unit.payloads
        replace_file(group.folder / f"{header.number:04d}.part", (as_body(piece.octets),))
        fragment_record = {
            "message_id": unit.message_id,
            "identity": opened_message.identity,
            "receipt": dict(seal_receipt()),
            "tally": tally.to_json(),
        }
        _write_json(group.folder / f"{header.number:04d}.json", fragment_record)
        group.members[unit.message_id] = (opened_message.identity, header.number)
        group.tally = tally

    def _refuse_group_and_raise(self, group: _Group, problem: GatewayError) -> None:
        self._cached_groups.pop(group.folder.name, None)
        _record_group_refusal(group.folder, problem)
        raise GroupRefusedError(group.group_record["group"], problem) from problem


def _has_ended(folder: Path) -> bool:
    return (folder / _REFUSED_FILE).is_file() or (folder / _JOINED_FILE).is_file()


def _is_expired(group: _Group, now: datetime) -> bool:
    return now > datetime.fromisoformat(group.group_record["ends"])


def _make_expired_error(group: _Group) -> GatewayError:
    stated_count = group.tally.stated.count if group.tally is not None else None
    expected_text = stated_count or "an unknown number of"
    detail = f"{len(group.members)} of {expected_text} fragments came until {group.group_record['ends']}"
    return GatewayError(FRAGMENT_MISSING, detail, f"{_HEADER_PATH}/mf:FragmentCount")


def _read_group(folder: Path) -> _Group:
    """Return the group that a folder holds, with its members and the newest tally of its fragments."""
    group, max_count = _Group(folder, _read_json(folder / _GROUP_FILE)), -1
    for path in sorted(folder.glob("[0-9]*.json")):
        fragment_record = _read_json(path)
        group.members[fragment_record["message_id"]] = (fragment_record["identity"], int(path.stem))
        if fragment_record["tally"]["came"] > max_count:
            max_count, group.tally = (
                fragment_record["tally"]["came"],
                GroupTally.from_json(fragment_record["tally"]),
            )
    return group


def _record_group_refusal(folder: Path, problem: GatewayError) -> None:
    refusal_record = {"problem": problem.problem.id, "detail": problem.detail[:500], "code": problem.code}
    _end_group(folder, _REFUSED_FILE, refusal_record)


def _end_group(folder: Path, file_name: str, end_record: Mapping[str, Any]) -> None:
    """Write how a group has ended, then remove its pieces; after a kill in between they are removed later."""
    _write_json(folder / file_name, end_record)
    _remove_pieces(folder)


def _remove_pieces(folder: Path) -> None:
    for path in (*folder.glob("[0-9]*.part"), folder / _WHOLE_FILE):
        path.unlink(missing_ok=True)


def _read_json(path: Path) -> Any:
    return json.loads(path.read_bytes())


def _write_json(path: Path, record: Mapping[str, Any]) -> None:
    replace_file(path, (MemoryBody(json.dumps(record, ensure_ascii=False).encode()),))
