"""Makes calls to agencies and customs, and lets the hub weigh what they answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta

from sqlalchemy import Connection

from gateway.cases.notices import Answer
from gateway.delivery.agents.soap import SoapAgent
from gateway.delivery.leases import finisher
from gateway.delivery.partners import Partners
from gateway.delivery.retry import RetryPlan
from gateway.delivery.worker import Failed
from gateway.evidence.log import record
from gateway.failpoints import failpoint
from gateway.hub import relay, reply
from gateway.hub.hub import Hub
from gateway.hub.reply import Spoken
from gateway.states import REQUEST
from gateway.store import payloads, requests
from gateway.store.claims import Lease
from gateway.store.engine import reading, transaction
from gateway.store.transitions import Step

__all__ = ["PartnerAgent"]

_ACTOR = "soap"
_NO_RETRY = RetryPlan(retries=0, first=timedelta(0))


class PartnerAgent:
    """Calls a partner's service with the stored envelope, signed anew on each attempt."""

    def __init__(
        self, hub: Hub, soap: SoapAgent, partners: Partners, plans: Callable[[], Mapping[str, RetryPlan]]
    ) -> None:
        self._hub = hub
        self._soap = soap
        self._partners = partners
        self._plans = plans

    def plan(self, lease: Lease) -> RetryPlan:
        """Return the partner's plan; one that is no longer in the settings is not tried again."""
        return self._plans().get(lease.destination, _NO_RETRY)

    def deliver(self, lease: Lease) -> None:
        """Make one attempt and store what the partner answered."""
        with reading(self._hub.engine) as conn:
            envelope = payloads.get(conn, lease.payload_sha256 or "")
        heard = self._soap.exchange(envelope, self._partners.destination(lease.destination))
        failpoint("soap.after_call")
        if lease.subject_type == "request":
            finish = finisher(lease, self._hub.clock)
            reply.apply_answer(self._hub, int(lease.subject_id), heard, finish)
        else:
            self._registered(lease, *heard)

    def _registered(self, lease: Lease, answer: Answer, spoken: Spoken) -> None:
        """Store that customs has taken a call; the last one may close the case."""
        now = self._hub.clock()
        with transaction(self._hub.engine, "partner.customs") as conn:
            case = relay.lock_case_of(conn, lease.id)
            finisher(lease, self._hub.clock)(conn)
            said = {"operation": str(lease.parameters.get("operation")), "answer": repr(answer)[:300]}
            data = {**said, **spoken.by(self._hub)}
            record(conn, "customs", "delivery", lease.id, payloads.put(conn, spoken.envelope, now), data, now)
            relay.close_when_done(conn, case, now)

    def failed(self, conn: Connection, what: Failed) -> None:
        """Store that the partner cannot be reached: the request is STRANDED until an operator acts."""
        delivery, problem = what.delivery, what.problem.problem.id
        if delivery.subject_type == "request":
            request = requests.get(conn, int(delivery.subject_id))
            if request is not None and request.state not in REQUEST.final:
                requests.move(conn, request.id, Step("undeliverable", what.at, _ACTOR, problem))
        data = {"destination": delivery.destination, "problem": problem}
        record(conn, "undeliverable", "delivery", delivery.id, delivery.payload_sha256, data, what.at)
