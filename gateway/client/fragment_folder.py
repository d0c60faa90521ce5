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

_GROUP: Final = "group.json"
_REFUSED: Final = "refused.json"
_JOINED: Final = "joined.json"
_REPORTED: Final = "told.json"
_WHOLE: Final = "whole.body"
_HEADER_PATH: Final = "/soap12:Envelope/soap12:Header/mf:MessageFragment"
#: The largest number of groups in the cache; the files of other groups are read again.
_MOST_REMEMBERED: Final = 8


class GroupRefusedError(Exception):
    """A group is refused now; `problem` is why, `group` its name."""

    def __init__(self, group: str, problem: GatewayError) -> None:
        super().__init__(str(problem))
        self.group = group
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
        numbers = range(1, self.tally.came + 1)
        pieces = [FileBody(self.folder / f"{number:04d}.part") for number in numbers]
        joined = core.join_fragments(self.tally, pieces, terms.message_size)
        replace_file(self.folder / _WHOLE, (joined.body,))
        return Parcel(joined.headers, FileBody(self.folder / _WHOLE))

    def find_message(self) -> str | None:
        """Return the MessageId of the message that was stored of it, None where that was not."""
        path = self.folder / _JOINED
        return str(_read_json(path)["message_id"]) if path.is_file() else None

    def end(self, message_id: str) -> None:
        """Note the message that was stored, and remove the pieces."""
        _end_group(self.folder, _JOINED, {"message_id": message_id})

    def note_told(self) -> None:
        """Note that the sender has the receipt of the message."""
        _write_json(self.folder / _REPORTED, {})


@dataclass
class _Group:
    """The stored facts about a group of fragments; `ids` are identity and number by MessageId."""

    folder: Path
    group_facts: dict[str, Any]
    ids: dict[str, tuple[str, int]] = field(default_factory=dict)
    tally: GroupTally | None = None

    @property
    def is_complete(self) -> bool:
        return self.tally is not None and self.tally.is_complete

    def as_complete(self) -> CompleteGroup:
        assert self.tally is not None  # it is complete
        return CompleteGroup(
            self.folder, self.group_facts["agreement"], self.group_facts["pmode"], self.tally
        )


class FragmentFolder:
    """Takes fragments one by one; `seal` makes and signs the receipt of one, before it is stored."""

    def __init__(self, folder: Path, core: ProtocolCore) -> None:
        self._folder = folder
        self._core = core
        self._remembered: dict[str, _Group] = {}
        self._lock = threading.Lock()

    def take_fragment(
        self, opened: OpenedMessage, now: datetime, seal: Callable[[], Mapping[str, Any]]
    ) -> tuple[Mapping[str, Any], CompleteGroup | None]:
        """Store a fragment, once; return its receipt, and its group where that is complete.

        Raises GroupRefusedError with the problem for which the whole group is refused now, and GatewayError
        for one that concerns the fragment alone: GW351 after a refusal, GW312, GW209, GW342. Raises OSError
        where it cannot be stored.
        """
        header, unit, pmode = opened.fragment, opened.unit, opened.pmode
        if header is None or not isinstance(unit, UserMessage) or pmode is None or pmode.splitting is None:
            raise GatewayError(NOT_SUPPORTED, "nothing is agreed of messages in fragments", _HEADER_PATH)
        with self._lock:
            group = self._find_group(header.group)
            if group is None:
                self._require_room(pmode.splitting, now)
                group = self._open_group(header.group, pmode, now)
            if (group.folder / _REFUSED).is_file():
                detail = "another fragment of this group was refused"
                raise GatewayError(
                    FRAGMENT_CONTRADICTED, detail, f"{_HEADER_PATH}/mf:GroupId", code="EBMS:0040"
                )
            recorded = group.ids.get(unit.message_id)
            if recorded is None:
                self._add_fragment(group, header, unit, opened, now, seal)
            elif recorded[0] != opened.identity:
                raise GatewayError(MESSAGE_ID_REUSED, "another fragment has this MessageId", _HEADER_PATH)
            number = header.number if recorded is None else recorded[1]
            row = _read_json(group.folder / f"{number:04d}.json")
            return row["receipt"], group.as_complete() if group.is_complete else None

    def list_complete(self) -> Iterator[CompleteGroup]:
        """Yield the complete groups that are not joined, or whose joined message has no delivered receipt."""
        for path in sorted(self._folder.glob(f"*/{_GROUP}")):
            if _has_ended(path.parent):
                _remove_pieces(path.parent)
                if (path.parent / _REFUSED).is_file() or (path.parent / _REPORTED).is_file():
                    continue
            group = _read_group(path.parent)
            if group.is_complete:
                yield group.as_complete()

    def refuse_group(self, folder: Path, problem: GatewayError) -> None:
        """Refuse a group, and remove its pieces."""
        with self._lock:
            self._remembered.pop(folder.name, None)
            _refuse(folder, problem)

    def _find_group(self, name: str) -> _Group | None:
        folder = self._folder / hashlib.sha256(name.encode()).hexdigest()
        if folder.name not in self._remembered:
            if not (folder / _GROUP).is_file():
                return None
            self._remember(_read_group(folder))
        return self._remembered[folder.name]

    def _remember(self, group: _Group) -> None:
        while len(self._remembered) >= _MOST_REMEMBERED:
            self._remembered.pop(next(iter(self._remembered)))
        self._remembered[group.folder.name] = group

    def _require_room(self, terms: SplittingTerms, now: datetime) -> None:
        """Raise GW342 where as many groups are open as are agreed; those whose time is over end."""
        count = 0
        for path in self._folder.glob(f"*/{_GROUP}"):
            if _has_ended(path.parent):
                continue
            group = self._remembered.get(path.parent.name) or _read_group(path.parent)
            if group.is_complete:
                continue
            if _is_late(group, now):
                self._remembered.pop(path.parent.name, None)
                _refuse(group.folder, _make_late_problem(group))
            else:
                count += 1
        if count >= terms.open_groups:
            raise GatewayError(
                FRAGMENT_SPACE, f"{count} messages of this sender are incomplete", _HEADER_PATH
            )

    def _open_group(self, name: str, pmode: PMode, now: datetime) -> _Group:
        assert pmode.splitting is not None  # the caller has looked
        folder = self._folder / hashlib.sha256(name.encode()).hexdigest()
        ends = now + timedelta(seconds=pmode.splitting.join_interval)
        row = {"group": name, "agreement": pmode.agreement, "pmode": pmode.id, "ends": ends.isoformat()}
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _write_json(folder / _GROUP, row)
        group = _Group(folder, row)
        self._remember(group)
        return group

    def _add_fragment(
        self,
        group: _Group,
        header: FragmentHeader,
        unit: UserMessage,
        opened: OpenedMessage,
        now: datetime,
        seal: Callable[[], Mapping[str, Any]],
    ) -> None:
        """Store a new fragment; raise GroupRefusedError where it contradicts its group, or comes too late."""
        pmode = opened.pmode
        assert pmode is not None and pmode.splitting is not None  # noqa: PT018  # the caller has looked
        if not group.is_complete and _is_late(group, now):
            self._refuse_now(group, _make_late_problem(group))
        try:
            if pmode.id != group.group_facts["pmode"]:
                detail = f"the first fragment was of P-Mode {group.group_facts['pmode']}"
                raise GatewayError(FRAGMENT_CONTRADICTED, detail, _HEADER_PATH, code="EBMS:0053")
            numbers = {number for _, number in group.ids.values()}
            tally = self._core.tally_opened_fragment(
                group.tally, opened, pmode.splitting.message_size, is_repeated=header.number in numbers
            )
        except GatewayError as problem:
            # Only this fragment is refused if another key signed it, or if the group is already complete.
            if group.is_complete or problem.problem is SIGNER_MISMATCH or problem.problem.ours:
                raise
            self._refuse_now(group, problem)
        (piece,) = unit.payloads
        replace_file(group.folder / f"{header.number:04d}.part", (as_body(piece.octets),))
        row = {
            "message_id": unit.message_id,
            "identity": opened.identity,
            "receipt": dict(seal()),
            "tally": tally.to_json(),
        }
        _write_json(group.folder / f"{header.number:04d}.json", row)
        group.ids[unit.message_id] = (opened.identity, header.number)
        group.tally = tally

    def _refuse_now(self, group: _Group, problem: GatewayError) -> None:
        self._remembered.pop(group.folder.name, None)
        _refuse(group.folder, problem)
        raise GroupRefusedError(group.group_facts["group"], problem) from problem


def _has_ended(folder: Path) -> bool:
    return (folder / _REFUSED).is_file() or (folder / _JOINED).is_file()


def _is_late(group: _Group, now: datetime) -> bool:
    return now > datetime.fromisoformat(group.group_facts["ends"])


def _make_late_problem(group: _Group) -> GatewayError:
    count = group.tally.stated.count if group.tally is not None else None
    expected = count or "an unknown number of"
    detail = f"{len(group.ids)} of {expected} fragments came until {group.group_facts['ends']}"
    return GatewayError(FRAGMENT_MISSING, detail, f"{_HEADER_PATH}/mf:FragmentCount")


def _read_group(folder: Path) -> _Group:
    group, most = _Group(folder, _read_json(folder / _GROUP)), -1
    for path in sorted(folder.glob("[0-9]*.json")):
        row = _read_json(path)
        group.ids[row["message_id"]] = (row["identity"], int(path.stem))
        if row["tally"]["came"] > most:
            most, group.tally = row["tally"]["came"], GroupTally.from_json(row["tally"])
    return group


def _refuse(folder: Path, problem: GatewayError) -> None:
    row = {"problem": problem.problem.id, "detail": problem.detail[:500], "code": problem.code}
    _end_group(folder, _REFUSED, row)


def _end_group(folder: Path, name: str, row: Mapping[str, Any]) -> None:
    """Write how a group has ended, then remove its pieces; who is killed between removes them later."""
    _write_json(folder / name, row)
    _remove_pieces(folder)


def _remove_pieces(folder: Path) -> None:
    for path in (*folder.glob("[0-9]*.part"), folder / _WHOLE):
        path.unlink(missing_ok=True)


def _read_json(path: Path) -> Any:
    return json.loads(path.read_bytes())


def _write_json(path: Path, row: Mapping[str, Any]) -> None:
    replace_file(path, (MemoryBody(json.dumps(row, ensure_ascii=False).encode()),))
