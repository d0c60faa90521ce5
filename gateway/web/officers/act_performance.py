"""Makes the calls of officers' acts: composed and signed as an agency's system does, served in process.

The service is the one that answers ``/soap/agency``. Its transaction marks the act as performed, so that
an act has its effect once, however often its call is made.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from lxml import etree
from sqlalchemy import Connection, Row

from gateway.cases import build_act_call, restore_act
from gateway.errors import OUR_MISTAKE, PROBLEMS, GatewayError
from gateway.failpoints import kill_at_failpoint
from gateway.hub import AgencyKeys, CallBackWitness, Hub, record_performed_act, record_refused_act
from gateway.pki import Signer
from gateway.store import OpenRequest, agency_requests, officer_acts, payloads, read_transaction
from gateway.web.agency_call_backs import HubCallBackHandler, build_soap_security
from gateway.web.agency_service import build_agency_service
from gateway.web.server import make_wsgi_environ
from gateway.web.soap_security import Caller
from gateway.wire import (
    AddressingHeaders,
    build_addressed_envelope,
    parse_xml,
    read_envelope,
    serialize_element,
)
from gateway.xmlsec import sign_soap_envelope

__all__ = ["ActPerformer", "PerformedAct"]

_CONTENT_TYPE: Final = "text/xml; charset=utf-8"


@dataclass(frozen=True, slots=True)
class PerformedAct:
    """How an act stands: PERFORMED, REFUSED or still INTENDED, and the problem of its last call."""

    state: str
    problem: GatewayError | None = None


class ActPerformer:
    """Performs acts that are recorded as intended; safe for many threads and processes."""

    def __init__(self, hub: Hub, keys: AgencyKeys) -> None:
        self._hub = hub
        self._keys = keys
        # The call crosses no connection, so there is no client certificate to ask for.
        security = replace(build_soap_security(hub), admit_client=lambda _party, _shown, _at: None)
        self._serve = build_agency_service(HubCallBackHandler(hub, self._find_witness), security)

    @staticmethod
    def _find_witness(caller: Caller) -> CallBackWitness:
        def record_effect(conn: Connection, request: OpenRequest, now: datetime) -> None:
            record_performed_act(conn, caller.message_id, request, caller.envelope, now)

        return record_effect

    def perform_act(self, act: int) -> PerformedAct:
        """Make the call of an act; return how it stands then.

        A call that is refused for a reason of ours (no key, no space) leaves the act intended.
        """
        row, content = self._read_act(act)
        if row.state != "INTENDED":
            return PerformedAct(row.state)
        kill_at_failpoint("officer.intended")
        try:
            signer = self._keys.get_signer(row.agency)
            problem = self._make_call(row, content, signer)
        except GatewayError as trouble:
            problem = trouble
        kill_at_failpoint("officer.called")
        return self._settle_act(act, problem)

    def _read_act(self, act: int) -> tuple[Row[Any], etree._Element]:
        with read_transaction(self._hub.engine) as conn:
            row = officer_acts.find_act(conn, act)
            assert row is not None
            request = agency_requests.find_by_id(conn, row.request_id)
            assert request is not None
            described = json.loads(payloads.get_payload_octets(conn, row.content))
        issued_at = row.issued_at or row.at
        return row, build_act_call(restore_act(described), request.number, row.notice_number, issued_at)

    def _make_call(self, row: Row[Any], content: etree._Element, signer: Signer) -> GatewayError | None:
        """Make the call, and return why it was refused; None when it was accepted."""
        name = etree.QName(content)
        action = f"{name.namespace}:{name.localname}"
        root = build_addressed_envelope(content, AddressingHeaders(action, row.message_id))
        sign_soap_envelope(root, signer, now=self._hub.clock())
        environ = {
            **make_wsgi_environ("POST", "/", serialize_element(root)),
            "CONTENT_TYPE": _CONTENT_TYPE,
            "HTTP_SOAPACTION": f'"{action}"',
        }
        status: list[str] = []
        answer = b"".join(self._serve(environ, lambda line, *_: status.append(line)))
        return None if status[0].startswith("200") else _read_refusal(answer)

    def _settle_act(self, act: int, problem: GatewayError | None) -> PerformedAct:
        if problem is not None and not (problem.problem.ours or problem.problem.retry):
            record_refused_act(self._hub, act, problem)
        with read_transaction(self._hub.engine) as conn:
            row = officer_acts.find_act(conn, act)
        assert row is not None
        # Another process may have performed it in the meantime.
        return PerformedAct(row.state, None if row.state == "PERFORMED" else problem)


def _read_refusal(answer: bytes) -> GatewayError:
    """Return the problem that a fault of our service names."""
    refusal = read_envelope(parse_xml(answer)).body.find(".//{*}Refusal")
    if refusal is None:
        return GatewayError(OUR_MISTAKE, "the service refused a call without a reason")
    problem = PROBLEMS.get(refusal.findtext("{*}Id") or "", OUR_MISTAKE)
    return GatewayError(problem, refusal.findtext("{*}Text") or "", refusal.findtext("{*}Location") or "")
