"""Writes the document of an application again, by the mappings in force instead of those of its case.

The document is written from the submission of which it was written before. That is the one of the case from
which the mappings of the case write it as it was sent; it is not guessed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from lxml import etree
from sqlalchemy import Connection

from gateway.errors import CALL_UNFIT, GatewayError
from gateway.harmonize import (
    AgencyRequest,
    MappingBundle,
    get_request_schema,
    index_submission,
    load_bundle,
    make_placeholder_numbers,
    write_requests,
)
from gateway.hub.register.decision_rules import (
    load_active_rules,
    load_shipped_rules,
    open_stored_mappings,
    pack_shipped_rules,
)
from gateway.hub.submissions.application_forms import make_request_element
from gateway.hub.submissions.document_needs import load_stored_tree, read_unless_removed
from gateway.store import AgencyRequestRow, mapping_bundles, messages
from gateway.wire import SUB, canonicalize_element, make_written_element, read_own_element

#: The function of an application in the call to an agency: the submission's own, original, or sent again.
_FUNCTIONS: Final = ("9", "35")
_MAX_MESSAGES: Final = 1000


@dataclass(frozen=True, slots=True)
class RewrittenDocument:
    """A document by other mappings: their digest, and the SHA-256 of the schema of the document.

    `packed` are the files of the mappings where these are not stored yet.
    """

    document: etree._Element
    bundle_digest: str
    schema_sha256: str
    packed: bytes | None = None


class CurrentMappings:
    """The mappings in force at a time, and those by which documents were written; each is loaded once."""

    def __init__(self, conn: Connection, at: datetime) -> None:
        self._conn = conn
        self._rules = load_active_rules(conn, load_shipped_rules(), at)
        self._former_bundles: dict[str, MappingBundle] = {}

    def rewrite_document(
        self, request: AgencyRequestRow, sent_document: etree._Element
    ) -> RewrittenDocument | None:
        """Return the document of a request as the mappings in force write it; None where these wrote it.

        `sent_document` is the document that the agency was sent. Raises GW720 where it cannot be written from
        the same submission, and the problem that the mappings find in that.
        """
        bundle = self._rules.bundle
        if bundle.digest == request.mapping_sha256:
            return None
        former_bundle = self._load_former_bundle(request)
        octets = canonicalize_element(sent_document, exclusive=True)
        for message, function in _list_candidate_messages(self._conn, request.case_id):
            former_request = _write_request(self._conn, message, former_bundle, request, function)
            if (
                isinstance(former_request, AgencyRequest)
                and _canonicalize(former_bundle, former_request) == octets
            ):
                break
        else:
            raise _make_rewrite_error(request, "no submission of its case is there from which it was written")
        new_request = _write_request(self._conn, message, bundle, request, function)
        if isinstance(new_request, GatewayError):
            raise new_request
        if new_request.attachments != former_request.attachments:
            raise _make_rewrite_error(request, "by the mappings in force it has other files")
        schema = get_request_schema(bundle, bundle.documents[new_request.document])
        stored = mapping_bundles.has_bundle(self._conn, bundle.digest)
        return RewrittenDocument(
            read_own_element(_canonicalize(bundle, new_request)),
            bundle.digest,
            hashlib.sha256(schema).hexdigest(),
            None if stored else pack_shipped_rules(self._rules),
        )

    def _load_former_bundle(self, request: AgencyRequestRow) -> MappingBundle:
        """Return the mappings that wrote a request; raises GW720 where they are not stored."""
        digest = str(request.mapping_sha256)
        if digest not in self._former_bundles:
            if not mapping_bundles.has_bundle(self._conn, digest):
                raise _make_rewrite_error(request, "the mappings that wrote it are not stored")
            self._former_bundles[digest] = load_bundle(open_stored_mappings(self._conn, digest))
        return self._former_bundles[digest]


def _list_candidate_messages(conn: Connection, case: int) -> Iterator[tuple[int, str]]:
    """Yield the messages that a document of a case may come from, the latest first, each with a function."""
    rows = messages.list_messages(conn, limit=_MAX_MESSAGES, case_id=case, direction="in", state="PROCESSED")
    for row in rows:
        tree = read_unless_removed(lambda number=int(row.id): load_stored_tree(conn, number))  # type: ignore[misc]
        if tree is not None:
            own_function = (tree.findtext(f"{{{SUB}}}Function") or "").strip()
            yield from (
                (int(row.id), function) for function in dict.fromkeys((own_function, *_FUNCTIONS)) if function
            )


def _write_request(
    conn: Connection, message: int, bundle: MappingBundle, request: AgencyRequestRow, function: str
) -> AgencyRequest | GatewayError:
    """Return the request of an application that mappings write from a message, or the error instead."""
    # Read for each: to write a request may take the fields out of the tree.
    tree = load_stored_tree(conn, message)
    own_values = {request.application: {"application_number": request.number, "function": function}}
    # The other applications are written beside it, and need a number.
    values = {**make_placeholder_numbers(tree), **own_values}
    facts = index_submission(tree, keeps_fields=False)
    written = write_requests(facts, bundle, values)
    for new_request in written.requests:
        if (new_request.application, new_request.document) == (request.application, request.document):
            return new_request
    for problem in written.problems:
        if problem.application == request.application:
            return GatewayError(problem.problem, problem.detail, problem.pointer)
    return _make_rewrite_error(request, "the mappings write none")


def _canonicalize(bundle: MappingBundle, request: AgencyRequest) -> bytes:
    carried = make_request_element(bundle, request)
    octets = make_written_element(carried).octets if isinstance(carried, etree._Element) else carried.octets
    return canonicalize_element(read_own_element(octets), exclusive=True)


def _make_rewrite_error(request: AgencyRequestRow, reason: str) -> GatewayError:
    detail = f"the document of {request.number} cannot be written by other mappings: {reason}"
    return GatewayError(CALL_UNFIT, detail, request.document)
