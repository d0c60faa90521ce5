"""Makes a hub ready, and checks whether it can work now: its key signs, its time stamps are not stale."""

from __future__ import annotations

import gc
import logging
from typing import Final

from lxml import etree

from gateway.errors import KEY_UNAVAILABLE, GatewayError
from gateway.hub.hub import Hub
from gateway.hub.submissions.processed_submission import prepare_bundle
from gateway.wire import RESULT, SUB, SUBMISSION, load_shipped_schemas, parse_xml, serialize_element
from gateway.xmlsec import sign_document, verify_document

_PROBE: Final = b"gateway ready"


def find_key_problem(hub: Hub) -> GatewayError | None:
    """Sign a probe with the current key; return the problem, or None when the key signs."""
    try:
        hub.signer.sign(_PROBE)
    except GatewayError as problem:
        return problem
    return None


def find_readiness_problem(hub: Hub) -> GatewayError | None:
    """Return why no new messages should be sent to this hub, None when there is no reason.

    A hub without its key still stores messages, and signs their receipts when the key is available.
    But a hub that has its key serves them better.
    """
    problem = find_key_problem(hub) or hub.find_examiner_problem()
    if problem is not None:
        return problem
    try:
        hub.node.report_alive()
        drained = hub.node.find_drain_problem()
        if drained is not None or hub.stamping is None:
            return drained
        return hub.stamping.find_refusal_problem(hub.clock())
    except GatewayError as away:
        return away


_log = logging.getLogger(__name__)

#: The split of a large declaration makes some hundred objects for each item, and all of them live until
#: the split ends. Python's default threshold of 700 would examine the same objects again and again.
_NEW_OBJECTS = 50_000


def warm_up_hub(hub: Hub) -> None:
    """Compile the schemas of admission and conclusion, index the rules of need, sign and verify a document.

    The shipped mappings are packed, unless a case has stored them already. The schema of a request is
    compiled for its first request (in 5 ms): all of them take 12 MiB, and a gateway uses only some.

    A hub whose key is not available, or signs no documents, starts nevertheless: it stores messages, and
    signs when there is a key.
    """
    hub.refresh_snapshot()
    rules = hub.rules
    prepare_bundle(hub, rules.bundle.digest)
    rules.needs.get_index(test_editions=hub.need_policy.test_edition)
    for entry in (SUBMISSION, RESULT):
        load_shipped_schemas(entry)
    document = etree.Element(f"{{{SUB}}}Submission")
    try:
        verify_document(parse_xml(serialize_element(sign_document(document, hub.signer, now=hub.clock()))))
    except GatewayError as problem:
        if problem.problem is not KEY_UNAVAILABLE:
            raise
        _log.error("no document is signed for now: %s", problem)
    tune_garbage_collector()


def tune_garbage_collector() -> None:
    """Freeze the objects loaded so far, and collect new objects less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS, 20, 20)
