"""Headers of the fragments of a large message, and the tally of a group: all but their octets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from gateway.agreements import SplittingTerms
from gateway.errors import TOO_LARGE, GatewayError
from gateway.message_model import Body, MessageProperty, UserMessage


@dataclass(frozen=True, slots=True)
class SourceType:
    """The values of the MIME header of a source message (part 2 §4.2.3)."""

    boundary: str
    start: str
    start_info: str | None = None
    description: str | None = None


@dataclass(frozen=True, slots=True)
class FragmentHeader:
    """The values of one mf:MessageFragment; those that one fragment of a group states are None in the others.

    `message_size` are the octets of the source message, `compressed_size` those of its gzip form, of which
    the fragments are then made.
    """

    content_id: str
    group: str
    number: int
    message_size: int | None = None
    count: int | None = None
    source: SourceType | None = None
    action: str | None = None
    compressed_size: int | None = None


#: The values of a group of which no fragment has stated any.
EMPTY_FRAGMENT_HEADER: Final = FragmentHeader("", "", 0)


@dataclass(frozen=True, slots=True)
class GroupTally:
    """The tally of a group of fragments: all but their octets. It is stored by these names.

    `signer` is the certificate (SHA-256) that signed the first fragment, `said` a digest of the header values
    that all fragments repeat, `properties` the message properties that they repeat. `stated` has the values
    that one fragment states for all. `highest` is the highest number of a fragment received, `came` the
    number of fragments received, `octets` the number of their octets.
    """

    group: str
    signer: str
    said: str
    properties: tuple[MessageProperty, ...] = ()
    stated: FragmentHeader = EMPTY_FRAGMENT_HEADER
    highest: int = 0
    came: int = 0
    octets: int = 0

    @property
    def is_complete(self) -> bool:
        """Return whether every fragment has come."""
        return self.came == self.stated.count

    def to_json(self) -> dict[str, Any]:
        """Return the values as they are stored."""
        return asdict(self)

    @classmethod
    def from_json(cls, json_values: Mapping[str, Any]) -> GroupTally:
        """Return what `to_json` wrote."""
        header_fields = dict(json_values["stated"])
        source_fields = header_fields.pop("source")
        properties = tuple(MessageProperty(**fields) for fields in json_values["properties"])
        header = FragmentHeader(
            **header_fields, source=SourceType(**source_fields) if source_fields else None
        )
        return cls(**{**json_values, "stated": header, "properties": properties})


@dataclass(frozen=True, slots=True)
class SplitTerms:
    """The agreed terms of splitting (part 2 §4.5).

    `fragment_size` are the octets of the largest part, `routing_properties` the message properties that
    each fragment repeats.
    """

    fragment_size: int
    routing_properties: tuple[str, ...] = ()
    compressed: bool = False


@dataclass(frozen=True, slots=True)
class SplitPlan:
    """A source message to be cut: its header, its MIME header, and `octets`, which are cut.

    Compressed octets are made anew whenever they are read: a caller that can store them puts the
    stored copy into `octets`; otherwise each fragment compresses all octets before it again.
    """

    unit: UserMessage
    source: SourceType
    message_size: int
    octets: Body
    terms: SplitTerms
    action: str | None = None

    @property
    def fragment_count(self) -> int:
        """Return the number of fragments."""
        return -(-self.octets.octet_count // self.terms.fragment_size)


def choose_split_terms(octet_count: int, splitting_terms: SplittingTerms) -> SplitTerms | None:
    """Return how a message of `octet_count` octets is split by agreement; None if it fits one fragment.

    Raises GW102 for a message that is larger than agreed.
    """
    if octet_count <= splitting_terms.fragment_size:
        return None
    if octet_count > splitting_terms.message_size:
        detail = f"the message has {octet_count} octets, {splitting_terms.message_size} are agreed"
        raise GatewayError(TOO_LARGE, detail, "splitting/message_size")
    return SplitTerms(
        splitting_terms.fragment_size,
        splitting_terms.routing_properties,
        splitting_terms.compression == "gzip",
    )
