"""Joins the fragments of a large message (ebMS 3.0 part 2 §4.3.2): any order, repeats, no contradiction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC
from typing import Any, Final, NoReturn

from gateway.agreements import MOST_FRAGMENTS
from gateway.errors import (
    COMPRESSION_REFUSED,
    FRAGMENT_CONTRADICTED,
    FRAGMENT_MALFORMED,
    FRAGMENT_MISSING,
    JOIN_FAILED,
    MESSAGE_ID_REUSED,
    OUR_MISTAKE,
    SIGNER_MISMATCH,
    TOO_LARGE,
    GatewayError,
)
from gateway.message_model import Body, JoinedBody, UserMessage, as_body, count_octets
from gateway.protocols.as4.fragment_header import FRAGMENT, Fragment, format_source_headers
from gateway.protocols.as4.header_values import SIGNATURE
from gateway.protocols.as4.message_reading import (
    As4Message,
    check_signature,
    make_opened_message,
    read_message,
    read_signature,
    require_signature,
)
from gateway.protocols.as4.packaging import check_parts_named
from gateway.protocols.core import OpenedMessage, Parcel, ProtocolContext
from gateway.protocols.fragment_values import FragmentHeader, GroupTally
from gateway.protocols.payload_parts import expand_content
from gateway.protocols.signed_values import compute_values_digest
from gateway.wire import WireLimits

_MESSAGING: Final = "/soap12:Envelope/soap12:Header/eb3:Messaging/eb3:UserMessage"
#: What one fragment of a group states: the value, its element, and the error for a second one.
_GROUP_VALUES: Final = (
    ("count", "FragmentCount", "EBMS:0042"),
    ("compressed_size", "CompressedMessageSize", "EBMS:0045"),
    ("message_size", "MessageSize", "EBMS:0041"),
    ("source", "MessageHeader", "EBMS:0043"),
    ("action", "Action", "EBMS:0044"),
)


@dataclass(frozen=True, slots=True)
class JoinTerms:
    """The terms that the receiver has agreed; None where nothing is agreed."""

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
        self._fragments: dict[int, Fragment] = {}
        self._identity_by_id: dict[str, str] = {}
        self._tally: GroupTally | None = None
        self._is_refused = False

    @property
    def group(self) -> str | None:
        """Return the GroupId, None before the first fragment."""
        return None if self._tally is None else self._tally.group

    @property
    def fragments(self) -> tuple[Fragment, ...]:
        """Return the fragments that have come, in the order of their numbers."""
        return tuple(fragment for _, fragment in sorted(self._fragments.items()))

    def add_fragment(self, fragment: Fragment) -> bool:
        """Take one fragment; return False for one that came before, the same octets.

        Raises GW351 for a contradiction; then the group is refused, and its fragments are dropped. A
        fragment of another group or of another signer is refused by itself (GW351, GW209).
        """
        if self._is_refused:
            raise_fragment_error(fragment.header, "another fragment of this group was refused", "EBMS:0040")
        check_member(fragment, self._tally)
        try:
            if self._is_repeat(fragment):
                return False
            is_repeated = fragment.header.number in self._fragments
            self._tally = tally_fragment(
                self._tally, fragment, self._terms, self._limits.body, is_repeated=is_repeated
            )
        except GatewayError:
            self._is_refused = True
            self._fragments.clear()
            raise
        self._fragments[fragment.header.number] = fragment
        self._identity_by_id[fragment.unit.message_id] = fragment.identity
        return True

    def _is_repeat(self, fragment: Fragment) -> bool:
        """Return whether the message came before; raise GW312 for another one with its id."""
        earlier_identity = self._identity_by_id.get(fragment.unit.message_id)
        if earlier_identity is not None and earlier_identity != fragment.identity:
            location = f"{_MESSAGING}/eb3:MessageInfo/eb3:MessageId"
            raise GatewayError(MESSAGE_ID_REUSED, "another fragment has this MessageId", location)
        return earlier_identity is not None

    def list_missing_numbers(self) -> tuple[int, ...]:
        """Return the numbers of the fragments that have not come.

        As long as no fragment states the count, those after the last one that came are unknown.
        """
        if self._tally is None:
            return ()
        last_number = self._tally.stated.count or self._tally.highest
        return tuple(number for number in range(1, last_number + 1) if number not in self._fragments)

    def join(self) -> JoinedMessage:
        """Return the source message; raise GW353 while fragments are missing, GW352 for a wrong one."""
        tally = self._check_complete()
        parcel = join_pieces(tally, [fragment.octets for fragment in self.fragments], self._limits.body)
        unit = read_joined_message(tally, parcel, self._limits).header.unit
        assert isinstance(unit, UserMessage)  # it has been read as one
        return JoinedMessage(parcel, unit, tally.stated.action or "")

    def _check_complete(self) -> GroupTally:
        """Return the tally of the group; raise GW353 if a fragment, or the FragmentCount, is missing."""
        tally, missing = self._tally, self.list_missing_numbers()
        if tally is None or tally.stated.count is None:
            detail = "no fragment with FragmentCount was received"
            raise GatewayError(FRAGMENT_MISSING, detail, f"{FRAGMENT}/mf:FragmentCount")
        if missing:
            detail = f"{len(missing)} of {len(missing) + len(self._fragments)} fragments are missing: "
            detail += ", ".join(map(str, missing[:20]))
            raise GatewayError(FRAGMENT_MISSING, detail, f"{FRAGMENT}/mf:FragmentNum")
        return tally


def check_member(fragment: Fragment, tally: GroupTally | None) -> None:
    """Raise for a fragment of another group, and for one of another signer (part 2 §4.7)."""
    if tally is None:
        return
    if fragment.header.group != tally.group:
        detail = f"this fragment is of another group: {fragment.header.group[:120]!r}"
        raise GatewayError(FRAGMENT_CONTRADICTED, detail, f"{FRAGMENT}/mf:GroupId", code="EBMS:0003")
    if fragment.verified_signature.certificate.sha256 != tally.signer:
        raise GatewayError(SIGNER_MISMATCH, "another certificate signed the first fragment", SIGNATURE)


def tally_fragment(
    tally: GroupTally | None, fragment: Fragment, terms: JoinTerms, max_octets: int, *, is_repeated: bool
) -> GroupTally:
    """Return the tally of a group with one more fragment; raise GW351 for a contradiction.

    `max_octets` is the most that all pieces together, and the whole message, may have. `is_repeated` is
    whether a fragment of this number came before.
    """
    header = fragment.header
    header_digest = _compute_header_digest(fragment.unit)
    if tally is None:
        signer = fragment.verified_signature.certificate.sha256
        tally = GroupTally(header.group, signer, header_digest, fragment.unit.properties)
    if (header_digest, fragment.unit.properties) != (tally.said, tally.properties):
        detail = "the header of this fragment differs from that of the first one"
        raise GatewayError(FRAGMENT_CONTRADICTED, detail, _MESSAGING, code="EBMS:0053")
    _check_stated_values(header, tally)
    _check_number(header, tally, is_repeated=is_repeated)
    _check_join_terms(fragment, tally, terms, max_octets)
    return replace(
        tally,
        stated=replace(tally.stated, **_list_stated_values(header)),
        highest=max(tally.highest, header.number),
        came=tally.came + 1,
        octets=tally.octets + count_octets(fragment.octets),
    )


def _check_stated_values(header: FragmentHeader, tally: GroupTally) -> None:
    """Raise for a value that another fragment has stated already, and for a count below a received number."""
    group_values = _list_stated_values(header)
    for field_name, element_name, error_code in _GROUP_VALUES:
        if field_name in group_values and getattr(tally.stated, field_name) is not None:
            raise_fragment_error(
                header, f"another fragment of the group states {element_name}, too", error_code, element_name
            )
    if header.count is not None and tally.highest > header.count:
        detail = f"fragment {tally.highest} came before, of a group of {header.count}"
        raise_fragment_error(header, detail, "EBMS:0049", "FragmentCount")


def _check_number(header: FragmentHeader, tally: GroupTally, *, is_repeated: bool) -> None:
    """Raise for a number that came before, or is larger than the count."""
    if is_repeated:
        raise_fragment_error(header, f"fragment {header.number} came before", "EBMS:0046", "FragmentNum")
    max_number = min(header.count or tally.stated.count or MOST_FRAGMENTS, MOST_FRAGMENTS)
    if header.number > max_number:
        raise_fragment_error(
            header, f"fragment {header.number} of {max_number} at most", "EBMS:0048", "FragmentNum"
        )
    if header.count is not None and header.count > MOST_FRAGMENTS:
        detail = f"a group may have {MOST_FRAGMENTS} fragments at most"
        raise_fragment_error(header, detail, "EBMS:0049", "FragmentCount")


def _check_join_terms(fragment: Fragment, tally: GroupTally, terms: JoinTerms, max_octets: int) -> None:
    """Raise for a fragment or a whole message that is too large, and for properties that are not agreed."""
    header, octet_count = fragment.header, count_octets(fragment.octets)
    if terms.fragment_size is not None and octet_count > terms.fragment_size:
        detail = f"the part has {octet_count} octets, {terms.fragment_size} are agreed"
        raise_fragment_error(header, detail, "EBMS:0050")
    if max(tally.octets + octet_count, header.message_size or 0, header.compressed_size or 0) > max_octets:
        detail = f"the message has more than {max_octets} octets"
        raise GatewayError(TOO_LARGE, detail, FRAGMENT)
    agreed_properties = terms.routing_properties
    if agreed_properties is not None and any(
        message_property.name not in agreed_properties for message_property in fragment.unit.properties
    ):
        detail = "a fragment has a property that is not agreed for routing"
        location = f"{_MESSAGING}/eb3:MessageProperties"
        raise GatewayError(FRAGMENT_CONTRADICTED, detail, location, code="EBMS:0052")


def _list_stated_values(header: FragmentHeader) -> dict[str, Any]:
    """Return the values of its group that a fragment states, by name."""
    values = {name: getattr(header, name) for name, _, _ in _GROUP_VALUES}
    return {name: value for name, value in values.items() if value is not None}


def join_pieces(tally: GroupTally, pieces: Sequence[bytes | Body], max_octets: int) -> Parcel:
    """Return the source message of all fragments, in order; raise GW352 where it is not as they state.

    Nothing is held: a compressed message is expanded whenever it is read, to `max_octets` octets.
    """
    header = tally.stated
    if header.source is None:
        _raise_join_error("no fragment has a MessageHeader", f"{FRAGMENT}/mf:MessageHeader", "EBMS:0047")
    octets = _expand_pieces(JoinedBody(pieces), header.compressed_size, max_octets)
    message_size = header.message_size
    if message_size is not None and message_size != octets.octet_count:
        detail = f"the message has {octets.octet_count} octets, MessageSize is {message_size}"
        _raise_join_error(detail, f"{FRAGMENT}/mf:MessageSize", "EBMS:0003")
    return Parcel(format_source_headers(header.source, header.action or ""), octets)


def _expand_pieces(octets: Body, compressed_size: int | None, max_octets: int) -> Body:
    """Return the octets before compression; raise GW352 for another size, or octets that are no gzip."""
    if compressed_size is None:
        return octets
    location = f"{FRAGMENT}/mf:CompressedMessageSize"
    if compressed_size != octets.octet_count:
        detail = f"the fragments have {octets.octet_count} octets, CompressedMessageSize is {compressed_size}"
        _raise_join_error(detail, location, "EBMS:0003")
    try:
        return as_body(expand_content(octets, max_octets, location))
    except GatewayError as wrong:
        if wrong.problem is not COMPRESSION_REFUSED:
            raise
        _raise_join_error(wrong.detail, location, "EBMS:0055")


def read_joined_message(tally: GroupTally, parcel: Parcel, limits: WireLimits) -> As4Message:
    """Return the source message, whose header has the values of its fragments; raise GW352 otherwise."""
    message = read_message(parcel, limits)
    unit = message.header.unit
    if not isinstance(unit, UserMessage) or message.header.bundled_units or message.fragment is not None:
        _raise_join_error("the joined message is not one business message", _MESSAGING, "EBMS:0053")
    check_parts_named(message.header.parts, message.package.parts)
    if any(message_property not in unit.properties for message_property in tally.properties):
        location = f"{_MESSAGING}/eb3:MessageProperties"
        _raise_join_error("the fragments have a property that their message has not", location, "EBMS:0053")
    if _compute_header_digest(unit) != tally.said:
        _raise_join_error("the fragments have another header than their message", _MESSAGING, "EBMS:0053")
    return message


def _compute_header_digest(unit: UserMessage) -> str:
    """Return a digest of the values that a message and all its fragments repeat (part 2 §4.4.2).

    The timestamp counts in UTC, cut to whole milliseconds: its zone and its further digits do not matter.
    Each value is named here: the digest is stored, and must not change with the classes of this program.
    """
    timestamp_text = unit.timestamp.astimezone(UTC).isoformat(timespec="milliseconds")
    values = [
        *(timestamp_text, unit.ref_to_message_id, unit.agreement, unit.agreement_type, unit.pmode_id),
        *(unit.service, unit.service_type, unit.action, unit.conversation_id, unit.mpc),
    ]
    for party in (unit.sender, unit.receiver):
        values += [party.role, str(len(party.ids))]
        values += [text for party_id in party.ids for text in (party_id.value, party_id.type)]
    return compute_values_digest(b"" if value is None else b"=" + value.encode() for value in values)


def raise_fragment_error(
    header: FragmentHeader, detail: str, error_code: str, element_name: str = ""
) -> NoReturn:
    """Raise GW351 with the error of part 2 §4.6."""
    location = f"{FRAGMENT}/mf:{element_name}" if element_name else FRAGMENT
    explanation = detail if element_name else f"fragment {header.number}: {detail}"
    raise GatewayError(FRAGMENT_CONTRADICTED, explanation, location, code=error_code)


def _raise_join_error(detail: str, location: str, error_code: str) -> NoReturn:
    raise GatewayError(JOIN_FAILED, detail, location, code=error_code)


_HEADER: Final = "/soap12:Envelope/soap12:Header"


def open_fragment(parcel: Parcel, policy: str, context: ProtocolContext) -> Fragment:
    """Return a fragment whose signature covers header, MessageFragment, Body and part; raise GatewayError.

    The context checks the certificate of the signature. The caller, which knows the parties, checks that it
    is that of the sender.
    """
    message = read_message(parcel, context.limits)
    if message.fragment is None:
        raise GatewayError(FRAGMENT_MALFORMED, "there is no mf:MessageFragment", _HEADER)
    signature = read_signature(message, policy, context.limits, context.candidate_certificates)
    reading = message.make_reading()
    verified_signature = check_signature(signature, reading, context.limits)
    require_signature(reading.unit, verified_signature)
    opened = make_opened_message(reading, verified_signature, None, parcel, context.limits)
    fragment = make_fragment(opened)
    context.check_signing_certificate(fragment.verified_signature.certificate, SIGNATURE)
    return fragment


def make_fragment(opened: OpenedMessage) -> Fragment:
    """Return the fragment in an opened message."""
    unit = opened.unit
    if (
        opened.fragment_header is None
        or opened.verified_signature is None
        or not isinstance(unit, UserMessage)
    ):
        raise GatewayError(OUR_MISTAKE, "this message is no signed fragment")
    (piece,) = unit.payloads
    return Fragment(
        opened.fragment_header,
        replace(unit, payloads=()),
        piece.octets,
        opened.verified_signature,
        opened.identity,
    )


def tally_opened_fragment(
    tally: GroupTally | None, opened: OpenedMessage, max_octets: int, *, is_repeated: bool
) -> GroupTally:
    """Return the tally of a group with one more fragment; raise GW209, GW351 for a contradiction.

    `max_octets` is the most that all pieces together, and the whole message, may have. `is_repeated` is
    whether a fragment of this number came before.
    """
    fragment, splitting_terms = (
        make_fragment(opened),
        opened.pmode.splitting if opened.pmode is not None else None,
    )
    if splitting_terms is None:
        raise GatewayError(OUR_MISTAKE, "nothing is agreed of splitting")
    check_member(fragment, tally)
    join_terms = JoinTerms(splitting_terms.fragment_size, splitting_terms.routing_properties)
    return tally_fragment(tally, fragment, join_terms, max_octets, is_repeated=is_repeated)


def join_fragments(tally: GroupTally, pieces: Sequence[bytes | Body], max_octets: int) -> Parcel:
    """Return the split message of at most `max_octets`, without its content in memory; raise GW352."""
    return join_pieces(tally, pieces, max_octets)
