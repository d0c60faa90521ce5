"""The tables of the work of agencies: what the lists of officers show of each application."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, Table

from gateway.store.table_types import make_required_column, metadata

__all__ = ["application_summaries"]

# Read from the call that the agency was sent, when a list or a mailbox first needs it. It can be
# deleted: it is then read again.
application_summaries = Table(
    "application_summaries",
    metadata,
    Column("request_id", BigInteger, ForeignKey("agency_requests.id"), primary_key=True, autoincrement=False),
    make_required_column("agency"),
    make_required_column("document_sha256"),  # of the call that was read: a supplement replaces it
    make_required_column("applicant"),
    make_required_column("applicant_id"),
    make_required_column("goods"),
    make_required_column("hs"),
    make_required_column("heading"),  # the first four digits of the HS code
    make_required_column("laws"),
    make_required_column("item_count", Integer),
    Index("ix_application_summaries_applicant", "agency", "applicant_id", "request_id"),
    Index("ix_application_summaries_heading", "agency", "heading", "request_id"),
)
