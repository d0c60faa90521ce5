"""Performs the acts of officers at the hub, each with a call signed as by an agency's system, as evidence.

The call is composed and signed once, and not sent over a connection: the hub applies the element that was
signed. The transaction of its effect marks the act as performed, so that an act takes effect only once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from typing import Final

from lxml import etree
from sqlalchemy import Connection

from gateway.cases import SignedReply, build_act_call, read_callback
from gateway.errors import OUR_MISTAKE, SIGNER_MISMATCH, GatewayError, find_resource_problem
from gateway.failpoints import kill_at_failpoint
from gateway.hub import AgencyKeys, Hub, apply_call_back, record_performed_act, record_refused_act
from gateway.store import OfficerActRow, OpenRequest, agency_requests, officer_work, read_transaction
from gateway.web.agency_service import admit_agency_signer
from gateway.web.officers.act_confirmation import ActOutcome
from gateway.web.officers.application_view import read_act
from gateway.wire import AddressingHeaders, build_addressed_envelope, serialize_element
from gateway.xmlsec import sign_soap_envelope

_LOG: Final = logging.getLogger(__name__)


class ActPerformer:
    """Performer of the acts that are recorded as INTENDED; safe for many threads and processes.

    `check_call` raises for a call that does not fit the contract of the service that agencies call.
    """

    def __init__(self, hub: Hub, keys: AgencyKeys, check_call: Callable[[etree._Element], None]) -> None:
        self._hub = hub
        self._keys = keys
        self._check_call = check_call

    def perform_act(self, act_id: int) -> ActOutcome:
        """Perform an intended act; return its state afterwards.

        An act that the hub cannot perform (no key, no space, an unreadable content) stays INTENDED. An act
        that another thread or process performs at the same time takes effect only once.
        """
        try:
            row, content = self._build_call(act_id)
        except GatewayError as unreadable:
            _LOG.error("the act of an officer cannot be read: %s", unreadable, extra={"act": act_id})
            return self._finish_act(act_id, unreadable)
        except Exception as mistake:  # stored by another version of the program
            mistake_name = type(mistake).__name__
            _LOG.error("the act of an officer cannot be read: %s", mistake_name, extra={"act": act_id})
            return self._finish_act(act_id, find_resource_problem(mistake) or GatewayError(OUR_MISTAKE))
        if row.state != "INTENDED":
            return ActOutcome(act_id, row.state)
        kill_at_failpoint("officer.intended")
        problem = self._apply_act(row, content)
        kill_at_failpoint("officer.called")
        return self._finish_act(act_id, problem)

    def _build_call(self, act_id: int) -> tuple[OfficerActRow, etree._Element]:
        """Return the row of an act, and the content of its call."""
        with read_transaction(self._hub.engine) as conn:
            row = officer_work.find_act(conn, act_id)
            assert row is not None
            request = agency_requests.find_by_id(conn, row.request_id)
            assert request is not None
            act = read_act(conn, row).act
        issued_at = row.issued_at or row.at
        return row, build_act_call(act, request.number, row.notice_number, issued_at)

    def _apply_act(self, act_row: OfficerActRow, content: etree._Element) -> GatewayError | None:
        """Apply an act at the hub, and return the reason of its refusal; None if it was accepted."""
        try:
            self._check_call(content)
            callback = read_callback(content)
            reply = self._sign_call(act_row, content)

            def record_effect(conn: Connection, request: OpenRequest, now: datetime) -> None:
                record_performed_act(conn, act_row.message_id, request, reply.envelope, now)

            apply_call_back(self._hub, act_row.agency, callback, reply, record_effect)
        except GatewayError as problem:
            return problem
        except Exception as mistake:  # the act stays intended, and the log gets no content
            act_fields = {"act": act_row.id, "partner": act_row.agency}
            _LOG.error("the act of an officer failed: %s", type(mistake).__name__, extra=act_fields)
            return find_resource_problem(mistake) or GatewayError(OUR_MISTAKE)
        return None

    def _sign_call(self, act_row: OfficerActRow, content: etree._Element) -> SignedReply:
        """Return the call of an act, signed by its agency; raises GW209 for a key of another party."""
        signer, now = self._keys.get_signer(act_row.agency), self._hub.clock()
        if admit_agency_signer(self._hub, signer.certificate, now) != self._keys.get_party(act_row.agency):
            detail = f"{signer.certificate.subject[:120]} is not of {act_row.agency}"
            raise GatewayError(SIGNER_MISMATCH, detail)
        name = etree.QName(content)
        headers = AddressingHeaders(f"{name.namespace}:{name.localname}", act_row.message_id)
        root = build_addressed_envelope(content, headers)
        sign_soap_envelope(root, signer, now=now)
        return SignedReply(serialize_element(root), signer.certificate.sha256)

    def _finish_act(self, act_id: int, problem: GatewayError | None) -> ActOutcome:
        """Return the outcome of an attempt to perform an act; record a refusal that a retry cannot change."""
        if problem is not None and not (problem.problem.ours or problem.problem.retry):
            record_refused_act(self._hub, act_id, problem)
        with read_transaction(self._hub.engine) as conn:
            row = officer_work.find_act(conn, act_id)
        assert row is not None
        # Another process may have performed it in the meantime.
        return ActOutcome(act_id, row.state, None if row.state == "PERFORMED" else problem)
