"""The settings of the limits for messages."""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field

from gateway.config.value_types import Count, Duration, SettingsSection, Size

__all__ = ["LimitSettings"]


class LimitSettings(SettingsSection):
    """The largest size or number of each part of a message."""

    # A sender that sends so many messages after a missing one has lost it.
    held_messages: Count = Field(
        1000,
        description="Messages of one conversation that wait for an earlier one, where an order is agreed.",
    )
    # Each leaves rows in the database, and anyone can send a message that is refused.
    posted_refusals: Count = Field(
        200,
        description=(
            "Refusals, Pongs and status responses that one process posts to one endpoint within an hour. "
            "Further ones are answered on the connection."
        ),
    )
    # Each thread that verifies a message holds it in memory once.
    body: Size = Field(64 * 1024**2, description="Octets of a complete message.")
    # A part is held several times while it is decrypted.
    secret: Size = Field(
        64 * 1024**2, description="Octets of all encrypted parts of a message, which are decrypted in memory."
    )
    # An agreement names 99 attachments at most; each part costs a check of its boundary and its fields.
    parts: Count = Field(100, description="MIME parts of a message.")
    # Real parts have three to six fields in under 1 KB.
    part_headers: Size = Field(16 * 1024, description="Octets of the headers of one part.")
    part_header_count: Count = Field(32, description="Header fields of one part.")
    # No signature covers the octets outside the boundaries, so nothing is needed there.
    padding: Size = Field(1024, description="Octets before the first and after the last boundary.")
    # Clients write chunks of 4 KB and more, so 64 MiB arrive in fewer.
    chunks: Count = Field(65_536, description="Chunks of an HTTP message that is read from a file.")
    # The tree of a malicious document takes sixty times its octets, of an honest one up to twenty.
    xml: Size = Field(32 * 1024**2, description="Octets of one XML document.")
    # Read before the sender is authenticated: SOAP envelopes, and whole calls of agencies.
    envelope: Size = Field(4 * 1024**2, description="Octets of a SOAP envelope, and of a call of an agency.")
    tree: Size = Field(
        4 * 1024**2,
        description="Octets that the XML tree of an envelope may use, also if the envelope is small.",
    )
    # Machine-written envelopes come to 6, calls of thousands of short items in short lines to 13.
    density: Count = Field(
        14,
        description=(
            "Largest ratio of the size of the XML tree of an envelope to its octets, for larger envelopes."
        ),
    )
    # The deepest schema in use nests 21; the parser itself stops at 256.
    depth: Count = Field(100, description="Depth of nested elements of an XML document.")
    elements: Count = Field(200_000, description="Elements of an XML document.")
    # Canonicalisation sorts them by a quadratic method: 50,000 on one element cost 2.6 seconds.
    attributes: Count = Field(64, description="Attributes of one element.")
    # Inclusive canonicalisation compares them with each other at each element, quadratic again.
    namespaces: Count = Field(64, description="Namespace declarations on the path to one element.")
    # 100 million steps are a third of a second; a submission of 30 MB takes 10 million.
    canonical_work: Count = Field(
        100_000_000,
        description=(
            "Steps that the canonicalization of one document may take. They are computed before it begins."
        ),
    )
    # 128 steps take half a microsecond; real envelopes take fewer than ten for each octet.
    canonical_rate: Count = Field(128, description="Canonicalization steps per octet of an envelope.")
    # The longest name in the schemas in use has 61 characters.
    name: Count = Field(256, description="Characters of the name of an element or attribute.")
    value: Count = Field(65_536, description="Characters of an attribute value.")
    # The parser itself stops at ten million.
    text: Count = Field(10_000_000, description="Characters of one run of text.")
    # A digest is computed for each; a message with 99 attachments has 100.
    references: Count = Field(200, description="References of one signature.")
    # Exclusive canonicalisation looks up each of them at every element.
    prefixes: Count = Field(32, description="Names in one InclusiveNamespaces PrefixList.")
    clock_skew: Duration = Field(
        timedelta(minutes=5),
        description=(
            "Largest permitted difference between the clock of a partner and the clock of the gateway."
        ),
    )
