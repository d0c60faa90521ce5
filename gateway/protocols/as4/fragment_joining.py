"""Joins the fragments of a large message (ebMS 3.0 part 2 §4.3.2): any order, repeats, no contradiction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NoReturn

from gateway.errors import (
    FRAGMENT_CONTRADICTED,
    FRAGMENT_MISSING,
    JOIN_FAILED,
    MESSAGE_ID_REUSED,
    SIGNER_MISMATCH,
    TOO_LARGE,
    GatewayError,
)
from gateway.message_model import Body, JoinedBody, UserMessage, as_body, count_octets
from gateway.protocols.as4.fragment_header import (
    FRAGMENT,
    MOST_FRAGMENTS,
    Fragment,
    FragmentHeader,
)
from gateway.protocols.as4.header_reader import MessagingHeader, read_messaging
from gateway.protocols.as4.message_reading import SIGNATURE
from gateway.protocols.as4.packaging import check_parts_named, find_messaging, open_as4_package
from gateway.protocols.core import Parcel
from gateway.protocols.gzip_content import expand_content
from gateway.wire import WireLimits

__all__ = ["FragmentGroup", "JoinTerms", "JoinedMessage"]

_MESSAGING: Final = "/soap12:Envelope/soap12:Header/eb3:Messaging/eb3:UserMessage"
#: What one fragment of a group states: the value, its element, and the error for a second one.
_STATED_ONCE: Final = (
    ("count", "FragmentCount", "EBMS:0042"),
    ("compressed_size", "CompressedMessageSize", "EBMS:0045"),
    ("message_size", "MessageSize", "EBMS:0041"),
    ("source", "MessageHeader", "EBMS:0043"),
    ("action", "Action", "EBMS:0044"),
)
_NOTHING: Final = FragmentHeader("", "", 0)


@dataclass(frozen=True, slots=True)
class JoinTerms:
    """What the receiver has agreed; None is a term that nobody has agreed on."""

    fragment_size: int | None = None
    routing_properties: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class JoinedMessage:
    """The source message as it was before it was split, with its header and its action."""

    parcel: Parcel
    unit: UserMessage
    action: str


class FragmentGroup:
    """The fragments of one source message that have come; after a refusal every further one is refused.

    The fragments are kept as they are given: a body that is in a file remains there.
    """

    def __init__(self, limits: WireLimits, terms: JoinTerms | None = None) -> None:
        self._limits = limits
        self._terms = terms or JoinTerms()
        self._found: dict[int, Fragment] = {}
        self._ids: dict[str, str] = {}
        self._stated = _NOTHING
        self._octets = 0
        self._is_refused = False

    @property
    def group(self) -> str | None:
        """Return the GroupId, None before the first fragment."""
        return next((one.header.group for one in self._found.values()), None)

    @property
    def fragments(self) -> tuple[Fragment, ...]:
        """Return the fragments that have come, in the order of their numbers."""
        return tuple(one for _, one in sorted(self._found.items()))

    def add_fragment(self, fragment: Fragment) -> bool:
        """Take one fragment; return False for one that came before, the same octets.

        Raises GW351 for a contradiction; then the group is refused, and what came of it is forgotten. A
        fragment of another group or of another signer is refused by itself (GW351, GW209).
        """
        if self._is_refused:
            _refuse(fragment, "another fragment of this group was refused", "EBMS:0040")
        first = next(iter(self._found.values()), fragment)
        _check_member(fragment, first)
        try:
            if self._is_repeat(fragment):
                return False
            if _make_comparable(fragment.unit) != _make_comparable(first.unit):
                detail = "the header of this fragment differs from that of the first one"
                raise GatewayError(FRAGMENT_CONTRADICTED, detail, _MESSAGING, code="EBMS:0053")
            self._check_stated_values(fragment.header)
            self._check_numbers(fragment.header)
            self._check_terms(fragment)
        except GatewayError:
            self._is_refused = True
            self._found.clear()
            raise
        self._found[fragment.header.number] = fragment
        self._stated = replace(self._stated, **_list_stated_values(fragment.header))
        self._ids[fragment.unit.message_id] = fragment.identity
        self._octets += count_octets(fragment.octets)
        return True

    def _is_repeat(self, fragment: Fragment) -> bool:
        """Return whether the message came before; raise GW312 for another one with its id."""
        known = self._ids.get(fragment.unit.message_id)
        if known is not None and known != fragment.identity:
            place = f"{_MESSAGING}/eb3:MessageInfo/eb3:MessageId"
            raise GatewayError(MESSAGE_ID_REUSED, "another fragment has this MessageId", place)
        return known is not None

    def _check_stated_values(self, header: FragmentHeader) -> None:
        """Raise for what another fragment of the group states, too, and for a count below a number."""
        stated = _list_stated_values(header)
        for value, name, code in _STATED_ONCE:
            if value in stated and getattr(self._stated, value) is not None:
                _refuse(header, f"another fragment of the group states {name}, too", code, name)
        most = max(self._found, default=0)
        if header.count is not None and most > header.count:
            detail = f"fragment {most} came before, of a group of {header.count}"
            _refuse(header, detail, "EBMS:0049", "FragmentCount")

    def _check_numbers(self, header: FragmentHeader) -> None:
        """Raise for a number that came before, or is larger than the count."""
        if header.number in self._found:
            _refuse(header, f"fragment {header.number} came before", "EBMS:0046", "FragmentNum")
        most = header.count or self._stated.count or MOST_FRAGMENTS
        if header.number > min(most, MOST_FRAGMENTS):
            detail = f"fragment {header.number} of {min(most, MOST_FRAGMENTS)} at most"
            _refuse(header, detail, "EBMS:0048", "FragmentNum")

    def _check_terms(self, fragment: Fragment) -> None:
        """Raise for a part that is too large, and for properties that are not agreed."""
        size, most = count_octets(fragment.octets), self._terms.fragment_size
        if most is not None and size > most:
            _refuse(fragment, f"the part has {size} octets, {most} are agreed", "EBMS:0050")
        if self._octets + size > self._limits.body:
            detail = f"the fragments have more than {self._limits.body} octets"
            raise GatewayError(TOO_LARGE, detail, FRAGMENT)
        agreed = self._terms.routing_properties
        if agreed is not None and any(one.name not in agreed for one in fragment.unit.properties):
            detail = "a fragment has a property that is not agreed for routing"
            place = f"{_MESSAGING}/eb3:MessageProperties"
            raise GatewayError(FRAGMENT_CONTRADICTED, detail, place, code="EBMS:0052")

    def list_missing(self) -> tuple[int, ...]:
        """Return the numbers of the fragments that have not come.

        As long as no fragment states the count, those after the last one that came are unknown.
        """
        last = self._stated.count or max(self._found, default=0)
        return tuple(number for number in range(1, last + 1) if number not in self._found)

    def join(self) -> JoinedMessage:
        """Return the source message; raise GW353 while fragments are missing, GW352 for a wrong one."""
        self._check_complete()
        source = self._stated.source
        if source is None:
            _refuse_joined("no fragment has a MessageHeader", f"{FRAGMENT}/mf:MessageHeader", "EBMS:0047")
        octets = self._expand(JoinedBody([one.octets for one in self.fragments]))
        said = self._stated.message_size
        if said is not None and said != octets.octet_count:
            detail = f"the message has {octets.octet_count} octets, MessageSize is {said}"
            _refuse_joined(detail, f"{FRAGMENT}/mf:MessageSize", "EBMS:0003")
        action = self._stated.action or ""
        parcel = Parcel(source.format_headers(action), octets)
        return JoinedMessage(parcel, self._check_source(parcel), action)

    def _check_complete(self) -> None:
        missing = self.list_missing()
        if self._stated.count is None:
            detail = "no fragment with FragmentCount has come"
            raise GatewayError(FRAGMENT_MISSING, detail, f"{FRAGMENT}/mf:FragmentCount")
        if missing:
            detail = f"{len(missing)} of {len(missing) + len(self._found)} fragments are missing: "
            detail += ", ".join(map(str, missing[:20]))
            raise GatewayError(FRAGMENT_MISSING, detail, f"{FRAGMENT}/mf:FragmentNum")

    def _expand(self, octets: Body) -> Body:
        """Return the octets before compression; raise GW352 for another size and for what is no gzip."""
        said = self._stated.compressed_size
        if said is None:
            return octets
        place = f"{FRAGMENT}/mf:CompressedMessageSize"
        if said != octets.octet_count:
            detail = f"the fragments have {octets.octet_count} octets, CompressedMessageSize is {said}"
            _refuse_joined(detail, place, "EBMS:0003")
        try:
            return as_body(expand_content(octets, self._limits.body, place))
        except GatewayError as wrong:
            _refuse_joined(wrong.detail, place, "EBMS:0055")

    def _check_source(self, parcel: Parcel) -> UserMessage:
        """Return the header of the source message, with which those of the fragments agree."""
        package = open_as4_package(parcel, self._limits)
        header = read_messaging(find_messaging(package.envelope))
        check_parts_named(header.parts, package.parts)
        return _require_same_message(header, self.fragments)


def _check_member(fragment: Fragment, first: Fragment) -> None:
    """Raise for a fragment of another group, and for one of another signer (part 2 §4.7)."""
    if fragment.header.group != first.header.group:
        detail = f"this fragment is of another group: {fragment.header.group[:120]!r}"
        raise GatewayError(FRAGMENT_CONTRADICTED, detail, f"{FRAGMENT}/mf:GroupId", code="EBMS:0003")
    if fragment.signed.certificate.sha256 != first.signed.certificate.sha256:
        raise GatewayError(SIGNER_MISMATCH, "another certificate signed the first fragment", SIGNATURE)


def _list_stated_values(header: FragmentHeader) -> dict[str, Any]:
    """Return what a fragment states of its group, by the names of the values."""
    found = {value: getattr(header, value) for value, _, _ in _STATED_ONCE}
    return {value: said for value, said in found.items() if said is not None}


def _make_comparable(unit: UserMessage) -> UserMessage:
    """Return a header without what each fragment has of its own; times count as they are written."""
    whole = unit.timestamp.replace(microsecond=unit.timestamp.microsecond // 1000 * 1000)
    return replace(unit, message_id="", timestamp=whole)


def _require_same_message(header: MessagingHeader, fragments: Sequence[Fragment]) -> UserMessage:
    """Return the source message; raise GW352 unless the fragments have its header (part 2 §4.4.2)."""
    unit = header.unit
    if not isinstance(unit, UserMessage) or header.bundled:
        _refuse_joined("the joined message is not one business message", _MESSAGING, "EBMS:0053")
    copied = fragments[0].unit
    if any(one not in unit.properties for one in copied.properties):
        place = f"{_MESSAGING}/eb3:MessageProperties"
        _refuse_joined("the fragments have a property that their message has not", place, "EBMS:0053")
    if _make_comparable(replace(unit, properties=copied.properties)) != _make_comparable(copied):
        _refuse_joined("the fragments have another header than their message", _MESSAGING, "EBMS:0053")
    return unit


def _refuse(one: Fragment | FragmentHeader, detail: str, code: str, name: str = "") -> NoReturn:
    header = one.header if isinstance(one, Fragment) else one
    place = f"{FRAGMENT}/mf:{name}" if name else FRAGMENT
    told = detail if name else f"fragment {header.number}: {detail}"
    raise GatewayError(FRAGMENT_CONTRADICTED, told, place, code=code)


def _refuse_joined(detail: str, place: str, code: str) -> NoReturn:
    raise GatewayError(JOIN_FAILED, detail, place, code=code)
