"""Pulls the messages that wait for us at a partner, as P-Modes say, until none is left.

A pulled message is stored as one that was posted, and its receipt is posted to where it was pulled from.
What is lost on the way the partner gives again.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from sqlalchemy import Connection

from gateway.agreements import PMode
from gateway.delivery.attempt_outcome import RetryPlan, make_lease_finisher
from gateway.delivery.current_register import run_with_current_register
from gateway.delivery.delivery_agent import FailedDelivery
from gateway.delivery.http_answer_reader import require_identity_coding
from gateway.delivery.http_client import HttpAnswer, HttpClient, HttpLimits
from gateway.delivery.message_posting import check_answer_status
from gateway.delivery.recurring_schedule import RecurringTask
from gateway.errors import ANSWER_NOT_UNDERSTOOD, NO_ADDRESS, GatewayError
from gateway.failpoints import kill_at_failpoint
from gateway.hub import Hub, RegisterSnapshot, receive_response, refuse_pulled_message
from gateway.message_model import ErrorSignal, PullRequest
from gateway.protocols import PROTOCOLS, Parcel, SentUnit, make_pull_request, make_refusal_error
from gateway.store import DeliveryLease, deliveries, write_transaction

__all__ = ["PullAgent", "list_pull_turns"]

#: So many messages are pulled in one turn; the next turn brings the others.
_MOST_MESSAGES: Final = 100
_WITHOUT_END: Final = 1_000_000


def list_pull_turns(hub: Hub, every: timedelta) -> list[RecurringTask]:
    """Return the recurring task of each channel from which we pull: one for each address."""
    # An idle worker hears of a new agreement by no message.
    knowledge, now = hub.refresh_snapshot(), hub.clock()
    ours = frozenset(knowledge.identifiers.get(hub.party, ()))
    found: dict[tuple[str, str | None], RecurringTask] = {}
    for pmode in knowledge.book.list_pulling_pmodes(ours, now):
        partner = knowledge.by_id.get(pmode.from_party[0])
        if pmode.reply_endpoint is None or partner is None:
            continue
        found.setdefault(
            (pmode.reply_endpoint, pmode.pull_channel),
            RecurringTask(
                f"pull:{pmode.agreement}:{pmode.id}",
                "pull",
                partner,
                every,
                f"pull-from:{partner}",
                {"agreement": pmode.agreement, "pmode": pmode.id},
            ),
        )
    return list(found.values())


class PullAgent:
    """Pulls from message handlers; `every` is the time between two turns."""

    def __init__(self, hub: Hub, sender: HttpClient, bounds: HttpLimits, every: timedelta) -> None:
        self._hub = hub
        self._sender = sender
        self._bounds = bounds
        self._every = every

    def get_retry_plan(self, _lease: DeliveryLease) -> RetryPlan:
        """Return unlimited retries: a turn ends by itself, and the next one has a delivery of its own."""
        return RetryPlan(_WITHOUT_END, min(timedelta(seconds=10), self._every), self._every)

    def attempt_delivery(self, lease: DeliveryLease) -> None:
        """Pull until nothing waits any more, and end the turn."""
        came: set[str] = set()
        while len(came) < _MOST_MESSAGES:
            message_id = self._pull_message(lease)
            # A partner that gives one message twice has not seen its receipt yet: the next turn asks again.
            if message_id is None or message_id in came:
                break
            came.add(message_id)
        with write_transaction(self._hub.engine, "pull.turn") as conn:
            make_lease_finisher(lease, self._hub.clock)(conn)

    def _pull_message(self, lease: DeliveryLease) -> str | None:
        """Pull once and store what came; return its MessageId, None when nothing was there."""
        knowledge = self._hub.refresh_snapshot()
        pmode = self._find_pmode(lease, knowledge)
        context = self._hub.make_protocol_context(knowledge)
        asked = make_pull_request(pmode, context)
        parcel = PROTOCOLS[pmode.protocol].seal((asked,), pmode, context)
        url = pmode.reply_endpoint or ""
        answer = self._sender.post(url, dict(parcel.headers), parcel.read_octets(), self._bounds)
        kill_at_failpoint("pull.after_post")
        check_answer_status(answer)
        if not answer.body.strip():
            raise GatewayError(ANSWER_NOT_UNDERSTOOD, "it answered a PullRequest with nothing", "HTTP")
        require_identity_coding(answer)
        told: list[str | None] = []
        try:
            run_with_current_register(
                self._hub,
                knowledge,
                lambda known: told.append(self._take_answer(asked, pmode, answer, known)),
            )
        except GatewayError as error:
            refuse_pulled_message(self._hub, error, _make_parcel(answer), pmode)
            detail = f"{error.problem.id} {error.detail}"[:500]
            raise GatewayError(ANSWER_NOT_UNDERSTOOD, detail, error.location, theirs=error.theirs) from error
        return told[-1]

    def _find_pmode(self, lease: DeliveryLease, knowledge: RegisterSnapshot) -> PMode:
        named = lease.parameters
        pmode = knowledge.book.find_by_id(named["agreement"], named["pmode"], self._hub.clock())
        if pmode is None or pmode.reply_endpoint is None or pmode.pull is None:
            raise GatewayError(NO_ADDRESS, "the agreement has nothing to be pulled any more", named["pmode"])
        return pmode

    def _take_answer(
        self, asked: PullRequest, pmode: PMode, answer: HttpAnswer, knowledge: RegisterSnapshot
    ) -> str | None:
        protocol, context = PROTOCOLS[pmode.protocol], self._hub.make_protocol_context(knowledge)
        opened = protocol.open(_make_parcel(answer), context, SentUnit(asked))
        if not isinstance(opened.unit, ErrorSignal):
            receive_response(self._hub, protocol, opened, knowledge)
            return opened.unit.message_id
        problem = make_refusal_error(opened.unit)
        if opened.unit.highest_severity == "Error" and problem is not None:
            # Anyone may have written it: the next turn asks again.
            raise GatewayError(ANSWER_NOT_UNDERSTOOD, problem.detail, problem.location, theirs=problem.theirs)
        return None

    def record_failure(self, conn: Connection, what: FailedDelivery) -> None:
        """Give up the failed turns before: only the last one stays FAILED, for the operator to see."""
        failed = what.delivery
        for row in deliveries.list_deliveries(conn, agent=failed.agent, lane=failed.lane, state="FAILED"):
            if row.id != failed.id and row.parameters == dict(failed.parameters):
                deliveries.give_up_delivery(conn, row.id, what.at, "pull")


def _make_parcel(answer: HttpAnswer) -> Parcel:
    return Hub.make_parcel({"Content-Type": answer.headers.get("content-type", "")}, answer.body)
