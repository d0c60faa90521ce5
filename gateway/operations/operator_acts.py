"""The acts of operators on cases, messages, deliveries, fees, parties and consoles of agencies."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection

from gateway.agreements import FILING_FUNCTIONS
from gateway.cases import check_hub_number, normalize_hub_number
from gateway.config import Settings
from gateway.errors import MISUSE, SIGNER_MISMATCH, TRANSITION_REFUSED, GatewayError
from gateway.hub import (
    ConsoleSwitch,
    Hub,
    admit_resting_message,
    cancel_delivery,
    end_question,
    hold_delivery,
    hold_lane,
    load_agency_signer,
    release_delivery,
    release_lane,
    requeue_delivery,
    settle_fee_elsewhere,
    switch_agency_back,
    switch_agency_to_console,
    try_delivery,
    try_lane,
    waive_fee,
)
from gateway.operations.audited_changes import DatabaseChange, describe_delivery, describe_party
from gateway.operations.plain_values import format_moment
from gateway.state_machines import DELIVERY
from gateway.store import (
    AgencyRequestRow,
    DeliveryRow,
    FeeRow,
    LaneBacklog,
    MessageRow,
    agency_requests,
    api_tokens,
    fees,
    lanes,
    mailbox_messages,
    officer_work,
    parties,
    sessions,
)


def end_cancellation_question(change: DatabaseChange, application_number: str) -> AgencyRequestRow | None:
    """End the question to an agency whether it cancels an application; return the application after it.

    None without such an application. Raises GW513 for a mistyped number, GW705 where nothing is asked.
    """
    hub_number = normalize_hub_number(application_number)
    request_before = agency_requests.find_by_number(change.conn, hub_number)
    if request_before is None:
        check_hub_number(hub_number, "APPLICATION")
        return None
    end_question(change.conn, request_before.id, change.at, change.actor, change.act.reason or "")
    request_after = agency_requests.find_by_id(change.conn, request_before.id)
    state_before = {"state": request_before.state, "cancellation": request_before.cancellation}
    if request_after is not None:
        state_after = {"state": request_after.state, "cancellation": request_after.cancellation}
        change.record_change(
            f"application {request_before.number} of {request_before.agency}",
            before=state_before,
            after=state_after,
        )
    return request_after


#: The function of each act of an operator on a delivery, by the word of its verb.
DELIVERY_ACTS: Final[Mapping[str, Callable[..., None]]] = {
    "try": try_delivery,
    "hold": hold_delivery,
    "release": release_delivery,
    "requeue": requeue_delivery,
    "cancel": cancel_delivery,
}
#: The act of each event that an operator applies.
_ACT_BY_EVENT: Final = {**{act: act for act in DELIVERY_ACTS}, "give_up": "cancel"}
#: The verb of each act.
_VERB_BY_ACT: Final = {act: f"gateway queue {act}" for act in DELIVERY_ACTS}
#: The advice for a delivery in a state that allows no act.
_ADVICE_BY_STATE: Final = {
    "ACTIVE": "wait until its attempt ends",
    "AWAITING_RECEIPT": "wait for its receipt",
}


def list_possible_acts(state: str) -> tuple[str, ...]:
    """Return the acts that the state of a delivery allows."""
    return tuple(_ACT_BY_EVENT[event] for event in DELIVERY.transitions[state] if event in _ACT_BY_EVENT)


def change_deliveries(
    change: DatabaseChange, act: str, delivery_ids: Sequence[int]
) -> dict[int, dict[str, Any]]:
    """Apply an act to each of the deliveries, all of them or none; return how they are after it.

    Raises GW705 with the verbs that are possible instead.
    """
    distinct_ids = tuple(dict.fromkeys(delivery_ids))
    descriptions_before = _describe_deliveries(change.conn, distinct_ids)
    # In the order in which acts on lanes lock them: else two acts wait for each other.
    for delivery_id in sorted(
        distinct_ids, key=lambda number: (descriptions_before.get(number, {}).get("lane", ""), number)
    ):
        try:
            DELIVERY_ACTS[act](change.conn, delivery_id, change.at, change.actor, change.act.reason)
        except GatewayError as refusal:
            raise _add_possible_verbs(refusal, delivery_id, descriptions_before) from refusal
    descriptions_after = _describe_deliveries(change.conn, distinct_ids)
    change.record_change(
        f"delivery {', '.join(map(str, distinct_ids))}", before=descriptions_before, after=descriptions_after
    )
    return descriptions_after


def _add_possible_verbs(
    refusal: GatewayError, delivery_id: int, descriptions: Mapping[int, Mapping[str, Any]]
) -> GatewayError:
    """Return a refused act with the verbs that the state of the delivery allows; another problem as it is."""
    state = str(descriptions.get(delivery_id, {}).get("state"))
    if refusal.problem is not TRANSITION_REFUSED or refusal.location != f"{DELIVERY.name}/{state}":
        return refusal
    return GatewayError(
        TRANSITION_REFUSED,
        f"delivery {delivery_id} is {state}: {_describe_possible_verbs(delivery_id, state)}",
    )


def _describe_possible_verbs(delivery_id: int, state: str) -> str:
    """Return as a phrase the verbs that change a delivery in a state, or the event that it waits for."""
    verbs = [f"`{_VERB_BY_ACT[act]} {delivery_id}`" for act in list_possible_acts(state)]
    return f"run {' or '.join(verbs)}" if verbs else _ADVICE_BY_STATE.get(state, "nothing is left to do")


def make_act_problem(delivery_row: DeliveryRow, reason: str) -> GatewayError:
    """Return GW705 for an act that this delivery is not for, with the verbs that its state allows."""
    detail = f"{reason}; {_describe_possible_verbs(delivery_row.id, delivery_row.state)}"
    return GatewayError(TRANSITION_REFUSED, detail, f"delivery/{delivery_row.state}")


def _describe_deliveries(conn: Connection, delivery_ids: tuple[int, ...]) -> dict[int, dict[str, Any]]:
    """Return the states of the deliveries that exist, by their numbers."""
    descriptions = {delivery_id: describe_delivery(conn, delivery_id) for delivery_id in delivery_ids}
    return {
        delivery_id: description
        for delivery_id, description in descriptions.items()
        if description is not None
    }


def hold_lanes(change: DatabaseChange, lane_names: Sequence[str]) -> dict[str, LaneBacklog]:
    """Hold lanes for the reason of the act; return the backlog of each."""
    before = _describe_lanes(change.conn, lane_names)
    backlogs = {
        lane_name: hold_lane(change.conn, lane_name, change.at, change.actor, change.act.reason or "")
        for lane_name in lane_names
    }
    change.record_change(
        _format_lane_subject(lane_names), before=before, after=_describe_lanes(change.conn, lane_names)
    )
    return backlogs


def release_lanes(
    change: DatabaseChange, requested_lanes: Sequence[str]
) -> dict[str, tuple[Any, LaneBacklog]]:
    """Release those of the lanes that are held; return the former hold and the backlog of each.

    Raises GW705 where none of them is held.
    """
    held_lanes = {row.name for row in lanes.list_held_lanes(change.conn)}
    lane_names = tuple(lane_name for lane_name in requested_lanes if lane_name in held_lanes) or tuple(
        requested_lanes
    )
    before = _describe_lanes(change.conn, lane_names)
    releases = {
        lane_name: release_lane(change.conn, lane_name, change.at, change.actor, change.act.reason)
        for lane_name in lane_names
    }
    change.record_change(
        _format_lane_subject(lane_names), before=before, after=_describe_lanes(change.conn, lane_names)
    )
    return releases


def try_lanes(change: DatabaseChange, lane_names: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Make the waiting deliveries of lanes due; return the deliveries that had to wait, by lane."""
    before = _describe_lanes(change.conn, lane_names)
    made_due = {
        lane_name: try_lane(change.conn, lane_name, change.at, change.actor, change.act.reason)
        for lane_name in lane_names
    }
    after = {lane_name: {"due": made_due[lane_name]} for lane_name in lane_names}
    change.record_change(_format_lane_subject(lane_names), before=before, after=after)
    return made_due


def _format_lane_subject(lane_names: Sequence[str]) -> str:
    return f"lane {', '.join(lane_names)}"


def _describe_lanes(conn: Connection, lane_names: Sequence[str]) -> dict[str, Any]:
    """Return how the lanes are held, for the audit."""
    columns = ("held_at", "held_by", "hold_reason")
    lane_rows = lanes.find_lanes(conn, lane_names)
    return {
        lane_name: {column: getattr(lane_rows.get(lane_name), column, None) for column in columns}
        for lane_name in lane_names
    }


_FEE_COLUMNS: Final = ("state", "amount", "currency")


def waive_or_settle_fee(change: DatabaseChange, act: str, fee_number: str) -> FeeRow | None:
    """Waive a fee, or settle it as paid elsewhere; return the fee after it.

    None without such a fee. Raises GW705 for one that is not due.
    """
    fee_before = fees.find_by_number(change.conn, fee_number)
    if fee_before is None:
        return None
    end_function = {"waive": waive_fee, "settle": settle_fee_elsewhere}[act]
    end_function(change.conn, fee_before.id, change.at, change.actor, change.act.reason or "")
    fee_after = fees.find_by_id(change.conn, fee_before.id)
    assert fee_after is not None
    columns_before, columns_after = (
        {name: getattr(row, name) for name in _FEE_COLUMNS} for row in (fee_before, fee_after)
    )
    change.record_change(f"fee {fee_number}", before=columns_before, after=columns_after)
    return fee_after


_STATUS_SENTENCES: Final = {
    "SUSPENDED": "suspended: its messages are refused, its people and its software are signed out",
    "ACTIVE": "active: its messages are accepted",
}


def set_party_status(change: DatabaseChange, party_id: str, party_status: str) -> str:
    """Suspend a party, or accept its messages again; return its new state as a sentence.

    The sessions of its people at the console and its tokens of the API end with a suspension. Raises
    GW808 for the gateway itself: without it no message could be taken or sent.
    """
    description_before = describe_party(change.conn, party_id)
    if party_status == "SUSPENDED" and description_before is not None and description_before["role"] == "hub":
        raise GatewayError(MISUSE, f"{party_id} is the gateway itself: nothing would be accepted", "party")
    parties.set_party_status(change.conn, party_id, party_status)
    if party_status != "ACTIVE":
        # Each request looks at the party too; so they do not stand again when the party is active again.
        for organisation_kind in ("agency", "party"):
            sessions.end_sessions_in(change.conn, organisation_kind, party_id, change.at)
        api_tokens.delete_party_tokens(change.conn, party_id)
    description_after = describe_party(change.conn, party_id)
    status_text = f"Party {party_id} is {_STATUS_SENTENCES[party_status]}"
    if description_before == description_after:
        change.leave_unchanged()
        return f"{status_text}; nothing was changed."
    change.record_trust_change(f"party {party_id}", before=description_before, after=description_after)
    return f"{status_text}."


def is_resting_submission(conn: Connection, message: MessageRow) -> bool:
    """Return whether a message is a submission that rests in the mailbox, where no task processes it."""
    return message.action in FILING_FUNCTIONS and mailbox_messages.is_resting(conn, message.id)


def admit_messages(change: DatabaseChange, message_ids: Iterable[int]) -> dict[int, int]:
    """Queue the admission of messages that rest in the mailbox; return the delivery of each.

    All of them or none. They are admitted in the order in which they were stored. Raises GW705.
    """
    delivery_by_message: dict[int, int] = {}
    for message_id in sorted(set(message_ids)):
        delivery_by_message[message_id] = admit_resting_message(
            change.conn, message_id, change.at, change.actor, change.act.reason
        )
    message_text = ", ".join(map(str, delivery_by_message))
    change.record_change(
        f"message {message_text}", before=dict.fromkeys(delivery_by_message), after=delivery_by_message
    )
    return delivery_by_message


#: An act that is intended longer than this waits for something: the console performs it at once.
_INTENTION_TOLERANCE: Final = timedelta(minutes=1)


def switch_agency(change: DatabaseChange, agency: str, *, is_switched_back: bool) -> ConsoleSwitch:
    """Switch an agency to the console, or back to its own system, for the reason of the act.

    Raises GW808 for an agency without a section in the settings, GW705 when there is nothing to switch,
    and GW803 without the agency's key, with which its officers' acts are signed.
    """
    agency_settings = change.settings.agency.get(agency)
    if agency_settings is None:
        raise GatewayError(MISUSE, f"the settings have no section [agency.{agency[:40]}]", "agency")
    if agency_settings.console:
        detail = f"agency {agency} has no system of its own: the settings say console = true"
        raise GatewayError(TRANSITION_REFUSED, detail, f"agency.{agency}.console")
    if not is_switched_back:
        load_agency_signer(change.settings, agency)
    before = _describe_switch(change.conn, agency)
    switch_function = switch_agency_back if is_switched_back else switch_agency_to_console
    switch = switch_function(change.conn, agency, change.at, change.actor, change.act.reason or "")
    change.record_change(f"agency {agency}", before=before, after=_describe_switch(change.conn, agency))
    return switch


def _describe_switch(conn: Connection, agency: str) -> dict[str, Any]:
    """Return whether officers decide for `agency` at the console, and who switched it, when and why."""
    switch_row = officer_work.find_switch(conn, agency)
    if switch_row is None:
        return {"at_console": False}
    return {
        "at_console": True,
        "since": switch_row.since,
        "switched_by": switch_row.switched_by,
        "reason": switch_row.reason,
    }


def list_console_switches(conn: Connection) -> list[str]:
    """Return in words each agency's switch to the console: the actor, the beginning and the reason."""
    return [
        f"agency {row.agency} is switched to the console by {row.switched_by} since "
        f"{format_moment(row.since)}: {row.reason}"
        for row in officer_work.list_switches(conn)
    ]


def list_waiting_acts(conn: Connection, now: datetime) -> list[str]:
    """Return each act of an officer that was intended a minute ago and is not performed, in words."""
    return [
        f"act {row.id} of {row.name} ({row.kind}, agency {row.agency}) was intended at "
        f"{format_moment(row.issued_at)} and is not performed: is the console running, and the key there?"
        for row in officer_work.list_intended_acts(conn)
        if row.issued_at is not None and now - row.issued_at > _INTENTION_TOLERANCE
    ]


def find_agency_key_problems(settings: Settings, hub: Hub) -> Iterator[GatewayError]:
    """Yield a problem for each key of an agency that cannot sign, or that is not registered for it."""
    for agency, agency_settings in sorted(settings.agency.items()):
        if not agency_settings.pki.names_key:
            continue
        try:
            signer = load_agency_signer(settings, agency)
            signer.sign(b"gateway check")
            # After the key was read: its certificate is registered before it is put in place.
            owner = hub.refresh_snapshot().find_certificate_party(signer.certificate.sha256, hub.clock())
        except GatewayError as problem:
            yield GatewayError(problem.problem, problem.detail, f"agency.{agency}.pki")
            continue
        # What officers do is believed as a call of this agency: the certificate must be the agency's.
        if owner != agency:
            detail = f"the certificate of the key is registered for {owner or 'no party'}, not for {agency}"
            yield GatewayError(SIGNER_MISMATCH, detail, f"agency.{agency}.pki")
