"""Generates P-Modes of one agreement between two parties, with every term that a P-Mode can hold."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from hypothesis import strategies as st

from gateway.agreements import (
    ENCRYPTION_POLICIES,
    ConversationLimits,
    Encryption,
    PMode,
    Reliability,
    Security,
)
from gateway.agreements.pmode_values import (
    ENDPOINT_KINDS,
    PERSISTENCE_LEVELS,
    RELIABILITY_CHOICES,
    SYNC_REPLY_MODES,
    AlternativeChannel,
    BusinessTerms,
    PackagedPart,
    Packaging,
    SignalChannel,
    TransportTerms,
    TypedEndpoint,
)
from gateway.message_model import PartyId

BUYER = (PartyId("buyer", "urn:example:party-type"), PartyId("urn:example:buyer"))
SELLER = (PartyId("seller", "urn:example:party-type"),)
PERIOD = (datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC))

_words = st.text("abcXYZ가 0-_.", min_size=1, max_size=10).filter(lambda text: text == text.strip())
_uris = _words.map(lambda word: "urn:example:" + word.replace(" ", "-"))
_pins = st.sampled_from([digit * 64 for digit in "0123456789abcdef"])
_some_pins = st.lists(_pins, max_size=2, unique=True).map(tuple)
_urls = st.sampled_from([f"https://{host}.example/msh" for host in ("a", "b", "c")])
_seconds = st.integers(0, 400_000)
_algorithms = st.lists(_uris, max_size=2, unique=True).map(tuple)

reliabilities = st.builds(
    Reliability,
    *(st.sampled_from(RELIABILITY_CHOICES) for _ in range(3)),
    retries=st.integers(0, 300),
    retry_interval=st.integers(1, 10_000),
    persist_duration=_seconds,
    message_order=st.booleans(),
    ack_actor=st.sampled_from(("toPartyMSH", "nextMSH")),
)
securities = st.builds(
    Security,
    st.booleans(),
    st.sampled_from(("strict", "legacy-norway")),
    st.booleans(),
    st.booleans(),
    _some_pins,
    _some_pins,
    _algorithms,
    st.none() | _uris,
    _some_pins,
    st.booleans(),
    st.booleans(),
    *(st.sampled_from(PERSISTENCE_LEVELS) for _ in range(3)),
)
encryptions = st.builds(
    Encryption,
    st.sampled_from(("XMLENC", "S/MIME")),
    st.lists(_uris, min_size=1, max_size=2, unique=True).map(tuple),
    st.none() | _pins,
    st.none() | st.just("1.0"),
    _some_pins,
    st.sampled_from(ENCRYPTION_POLICIES),
)
parts = st.builds(
    PackagedPart,
    _words,
    st.sampled_from(("text/xml", "application/xml", "*/*")),
    st.none() | _uris,
    st.booleans(),
    st.none() | st.integers(0, 3),
    st.none() | st.integers(0, 3),
    st.lists(st.sampled_from(("application/xml", "multipart/related")), max_size=2).map(tuple),
    st.lists(_uris, max_size=2).map(tuple),
)
packagings = st.builds(
    Packaging,
    _words,
    st.just("multipart/related"),
    st.lists(parts, min_size=1, max_size=3).map(tuple),
    st.none() | st.just('type="text/xml"'),
)
transports = st.builds(
    TransportTerms,
    st.none() | st.sampled_from(("TLS", "SSL")),
    st.none() | st.just("1.2"),
    st.none() | _pins,
    st.none() | _pins,
    _some_pins,
    _some_pins,
    _algorithms,
    st.lists(st.sampled_from(("basic", "digest")), max_size=2).map(tuple),
    st.none() | st.just("1.1"),
)
businesses = st.builds(
    BusinessTerms,
    *(st.none() | _words for _ in range(2)),
    st.none() | _uris,
    st.booleans(),
    st.booleans(),
    *(st.none() | _seconds for _ in range(3)),
    st.none() | st.integers(0, 9),
    *(st.none() | _words for _ in range(3)),
)
conversations = st.builds(ConversationLimits, *(st.none() | st.integers(0, 99) for _ in range(2)))
endpoints = st.lists(
    st.builds(TypedEndpoint, st.sampled_from(ENDPOINT_KINDS), _urls),
    max_size=3,
    unique_by=lambda one: one.kind,
).map(tuple)
signals = st.lists(
    st.builds(
        SignalChannel,
        st.sampled_from(("*", "Acknowledgment", "Ping", "MessageError")),
        st.none() | _urls,
        st.sampled_from(SYNC_REPLY_MODES),
        _some_pins,
    ),
    max_size=2,
    unique_by=lambda one: one.action,
).map(tuple)
alternatives = st.lists(
    st.builds(
        AlternativeChannel,
        _words,
        st.none() | _urls,
        st.sampled_from(SYNC_REPLY_MODES),
        reliabilities,
    ),
    max_size=2,
).map(tuple)

#: A P-Mode of any terms from the buyer to the seller.
pmodes = st.builds(
    PMode,
    _words,
    st.just("an agreement of 2026"),
    st.just(BUYER),
    st.just(SELLER),
    _uris,
    _words,
    st.just(PERIOD[0]),
    st.just(PERIOD[1]),
    service_type=st.none() | _words,
    from_role=st.none() | _words,
    to_role=st.none() | _words,
    security=securities,
    reliability=reliabilities,
    sync_reply_mode=st.sampled_from(SYNC_REPLY_MODES),
    endpoint=st.none() | _urls,
    reply_endpoint=st.none() | _urls,
    deliver_to=st.sampled_from(("case", "mailbox")),
    channel=st.none() | _words,
    encryption=st.none() | encryptions,
    packaging=st.none() | packagings,
    transport=transports,
    business=businesses,
    conversations=conversations,
    endpoints=endpoints,
    signals=signals,
    alternatives=alternatives,
)


def _set_direction(pmode: PMode, number: int, back: bool) -> PMode:
    """Return a P-Mode that differs from every other of the agreement, in the direction that is wanted."""
    changed = replace(pmode, id=f"{pmode.id}{number}", action=f"{pmode.action}{number}")
    return replace(changed, from_party=SELLER, to_party=BUYER) if back else changed


#: The P-Modes of one agreement, in both directions.
agreements = st.lists(st.tuples(pmodes, st.booleans()), min_size=1, max_size=4).map(
    lambda found: tuple(_set_direction(one, number, back) for number, (one, back) in enumerate(found))
)
