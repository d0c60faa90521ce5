"""The acts of operators on cases, messages, deliveries, fees, parties, accounts and consoles of agencies."""

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
    accounts,
    agency_requests,
    api_tokens,
    fees,
    lanes,
    mailbox_messages,
    officer_work,
    parties,
    sessions,
)


def stop_asking_agency(change: DatabaseChange, number: str) -> AgencyRequestRow | None:
    """Ask the agency of an application no longer whether it cancels; return the application after it.

    None without such an application. Raises GW513 for a mistyped number, GW705 where nothing is asked.
    """
    hub_number = normalize_hub_number(number)
    before = agency_requests.find_by_number(change.conn, hub_number)
    if before is None:
        check_hub_number(hub_number, "APPLICATION")
        return None
    end_question(change.conn, before.id, change.at, change.by, change.act.reason or "")
    after = agency_requests.find_by_id(change.conn, before.id)
    state_before = {"state": before.state, "cancellation": before.cancellation}
    if after is not None:
        now = {"state": after.state, "cancellation": after.cancellation}
        change.record_change(
            f"application {before.number} of {before.agency}", before=state_before, after=now
        )
    return after


#: The function of each act of an operator on a delivery, by the word of its verb.
DELIVERY_ACTS: Final[Mapping[str, Callable[..., None]]] = {
    "try": try_delivery,
    "hold": hold_delivery,
    "release": release_delivery,
    "requeue": requeue_delivery,
    "cancel": cancel_delivery,
}
#: The act of each event that an operator applies.
_EVENTS: Final = {**{act: act for act in DELIVERY_ACTS}, "give_up": "cancel"}
#: The verb of each act.
_VERBS: Final = {act: f"gateway queue {act}" for act in DELIVERY_ACTS}
#: The advice for a delivery in a state that allows no act.
_NO_ACT: Final = {
    "ACTIVE": "wait until its attempt ends",
    "AWAITING_RECEIPT": "wait for its receipt",
}


def list_possible_acts(state: str) -> tuple[str, ...]:
    """Return the acts that the state of a delivery allows."""
    return tuple(_EVENTS[event] for event in DELIVERY.table[state] if event in _EVENTS)


def change_deliveries(
    change: DatabaseChange, act: str, deliveries: Sequence[int]
) -> dict[int, dict[str, Any]]:
    """Apply an act to each of the deliveries, all of them or none; return how they are after it.

    Raises GW705 with the verbs that are possible instead.
    """
    numbers = tuple(dict.fromkeys(deliveries))
    before = _describe_deliveries(change.conn, numbers)
    # In the order in which acts on lanes lock them: else two acts wait for each other.
    for delivery in sorted(numbers, key=lambda number: (before.get(number, {}).get("lane", ""), number)):
        try:
            DELIVERY_ACTS[act](change.conn, delivery, change.at, change.by, change.act.reason)
        except GatewayError as refused:
            raise _name_possible_verbs(refused, delivery, before) from refused
    after = _describe_deliveries(change.conn, numbers)
    change.record_change(f"delivery {', '.join(map(str, numbers))}", before=before, after=after)
    return after


def _name_possible_verbs(
    refused: GatewayError, number: int, descriptions: Mapping[int, Mapping[str, Any]]
) -> GatewayError:
    """Return a refused act with the verbs that the state of the delivery allows; another problem as it is."""
    state = str(descriptions.get(number, {}).get("state"))
    if refused.problem is not TRANSITION_REFUSED or refused.location != f"{DELIVERY.name}/{state}":
        return refused
    return GatewayError(TRANSITION_REFUSED, f"delivery {number} is {state}: {_name_verbs(number, state)}")


def _name_verbs(number: int, state: str) -> str:
    """Return as a phrase the verbs that change a delivery in a state, or the event that it waits for."""
    verbs = [f"`{_VERBS[act]} {number}`" for act in list_possible_acts(state)]
    return f"run {' or '.join(verbs)}" if verbs else _NO_ACT.get(state, "nothing is left to do")


def make_act_problem(row: DeliveryRow, sentence: str) -> GatewayError:
    """Return GW705 for an act that this delivery is not for, with the verbs that its state allows."""
    detail = f"{sentence}; {_name_verbs(row.id, row.state)}"
    return GatewayError(TRANSITION_REFUSED, detail, f"delivery/{row.state}")


def _describe_deliveries(conn: Connection, numbers: tuple[int, ...]) -> dict[int, dict[str, Any]]:
    """Return the states of the deliveries that exist, by their numbers."""
    descriptions = {number: describe_delivery(conn, number) for number in numbers}
    return {number: description for number, description in descriptions.items() if description is not None}


def hold_lanes(change: DatabaseChange, names: Sequence[str]) -> dict[str, LaneBacklog]:
    """Hold lanes for the reason of the act; return the backlog of each."""
    before = _describe_lanes(change.conn, names)
    backlogs = {
        name: hold_lane(change.conn, name, change.at, change.by, change.act.reason or "") for name in names
    }
    change.record_change(_name_lanes(names), before=before, after=_describe_lanes(change.conn, names))
    return backlogs


def release_lanes(change: DatabaseChange, names: Sequence[str]) -> dict[str, tuple[Any, LaneBacklog]]:
    """Release those of the lanes that are held; return the former hold and the backlog of each.

    Raises GW705 where none of them is held.
    """
    held = {row.name for row in lanes.list_held_lanes(change.conn)}
    lane_names = tuple(name for name in names if name in held) or tuple(names)
    before = _describe_lanes(change.conn, lane_names)
    releases = {
        name: release_lane(change.conn, name, change.at, change.by, change.act.reason) for name in lane_names
    }
    change.record_change(
        _name_lanes(lane_names), before=before, after=_describe_lanes(change.conn, lane_names)
    )
    return releases


def try_lanes(change: DatabaseChange, names: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Make the waiting deliveries of lanes due; return the deliveries that had to wait, by lane."""
    before = _describe_lanes(change.conn, names)
    tried = {name: try_lane(change.conn, name, change.at, change.by, change.act.reason) for name in names}
    after = {name: {"due": tried[name]} for name in names}
    change.record_change(_name_lanes(names), before=before, after=after)
    return tried


def _name_lanes(names: Sequence[str]) -> str:
    return f"lane {', '.join(names)}"


def _describe_lanes(conn: Connection, names: Sequence[str]) -> dict[str, Any]:
    """Return how the lanes are held, for the audit."""
    columns = ("held_at", "held_by", "hold_reason")
    rows = lanes.find_lanes(conn, names)
    return {name: {column: getattr(rows.get(name), column, None) for column in columns} for name in names}


_FEE_COLUMNS: Final = ("state", "amount", "currency")


def end_fee(change: DatabaseChange, act: str, number: str) -> FeeRow | None:
    """Waive a fee, or settle it as paid elsewhere; return the fee after it.

    None without such a fee. Raises GW705 for one that is not due.
    """
    before = fees.find_by_number(change.conn, number)
    if before is None:
        return None
    end = {"waive": waive_fee, "settle": settle_fee_elsewhere}[act]
    end(change.conn, before.id, change.at, change.by, change.act.reason or "")
    after = fees.find_by_id(change.conn, before.id)
    assert after is not None
    shown_before, now = ({name: getattr(row, name) for name in _FEE_COLUMNS} for row in (before, after))
    change.record_change(f"fee {number}", before=shown_before, after=now)
    return after


_STATUS_SENTENCES: Final = {
    "SUSPENDED": "suspended: its messages are refused, its people and its software are signed out",
    "ACTIVE": "active: its messages are accepted",
}


def set_party_status(change: DatabaseChange, party: str, status: str) -> str:
    """Suspend a party, or accept its messages again; return its new state as a sentence.

    The sessions of its people at the console and its tokens of the API end with a suspension. Raises
    GW808 for the gateway itself: without it no message could be taken or sent.
    """
    before = describe_party(change.conn, party)
    if status == "SUSPENDED" and before is not None and before["role"] == "hub":
        raise GatewayError(MISUSE, f"{party} is the gateway itself: nothing would be accepted", "party")
    parties.set_party_status(change.conn, party, status)
    if status != "ACTIVE":
        # Each request looks at the party too; so they do not stand again when the party is active again.
        for kind in ("agency", "party"):
            sessions.end_sessions_in(change.conn, kind, party, change.at)
        api_tokens.delete_tokens_of(change.conn, party)
    after = describe_party(change.conn, party)
    clause = f"Party {party} is {_STATUS_SENTENCES[status]}"
    if before == after:
        change.leave_unchanged()
        return f"{clause}; nothing was changed."
    change.record_trust_change(f"party {party}", before=before, after=after)
    return f"{clause}."


def is_resting_submission(conn: Connection, message: MessageRow) -> bool:
    """Return whether a message is a submission that rests in the mailbox, where no task processes it."""
    return message.action in FILING_FUNCTIONS and mailbox_messages.is_resting(conn, message.id)


def admit_messages(change: DatabaseChange, messages: Iterable[int]) -> dict[int, int]:
    """Queue the admission of messages that rest in the mailbox; return the delivery of each.

    All of them or none. They are admitted in the order in which they were stored. Raises GW705.
    """
    queued: dict[int, int] = {}
    for message in sorted(set(messages)):
        queued[message] = admit_resting_message(change.conn, message, change.at, change.by, change.act.reason)
    names = ", ".join(map(str, queued))
    change.record_change(f"message {names}", before=dict.fromkeys(queued), after=queued)
    return queued


def change_account_roles(change: DatabaseChange, proposal: Mapping[str, Any]) -> str:
    """Set the roles of an account in one organisation, as proposed; return the new roles as a sentence.

    Raises GW705 when the roles are not any more those that the proposal began from, and GW808 for an
    account that is gone.
    """
    kind, _, code = str(proposal["organisation"]).partition("/")
    row = accounts.find_by_id(change.conn, proposal["account"])
    if row is None:
        raise GatewayError(MISUSE, f"there is no account {proposal['name']}", "account")
    before = _read_roles(change.conn, row.id, kind, code)
    if before != list(proposal["before"]):
        detail = f"the roles of {row.name} were changed since this was proposed"
        raise GatewayError(TRANSITION_REFUSED, detail, "account role")
    accounts.set_roles(change.conn, row.id, kind, code, proposal["after"], change.at)
    organisation = proposal["organisation"]
    was, now = (
        ", ".join(f"{organisation}:{role}" for role in roles) for roles in (before, proposal["after"])
    )
    change.record_trust_change(f"account {row.name}", before={"roles": was}, after={"roles": now})
    return f"Roles of {row.name} in {organisation}: {', '.join(proposal['after']) or 'none'}."


def check_other_person(proposal: Mapping[str, Any], account: int) -> None:
    """Raise GW705 when a person would approve a change of that person's own roles."""
    if proposal["account"] == account:
        raise GatewayError(TRANSITION_REFUSED, "nobody approves a change of own roles", "account role")


def _read_roles(conn: Connection, account: int, kind: str, code: str) -> list[str]:
    """Return the roles of an account in one organisation."""
    rows = accounts.list_roles_of(conn, account)
    return sorted(role.role for role in rows if role.kind == kind and role.organisation == code)


#: An act that is intended longer than this waits for something: the console performs it at once.
_SOON: Final = timedelta(minutes=1)


def switch_agency(change: DatabaseChange, agency: str, *, back: bool) -> ConsoleSwitch:
    """Switch an agency to the console, or back to its own system, for the reason of the act.

    Raises GW808 for an agency without a section in the settings, GW705 when there is nothing to switch,
    and GW803 without the agency's key, with which its officers' acts are signed.
    """
    section = change.settings.agency.get(agency)
    if section is None:
        raise GatewayError(MISUSE, f"the settings have no section [agency.{agency[:40]}]", "agency")
    if section.console:
        detail = f"agency {agency} has no system of its own: the settings say console = true"
        raise GatewayError(TRANSITION_REFUSED, detail, f"agency.{agency}.console")
    if not back:
        load_agency_signer(change.settings, agency)
    before = _describe_switch(change.conn, agency)
    act = switch_agency_back if back else switch_agency_to_console
    switch = act(change.conn, agency, change.at, change.by, change.act.reason or "")
    change.record_change(f"agency {agency}", before=before, after=_describe_switch(change.conn, agency))
    return switch


def _describe_switch(conn: Connection, agency: str) -> dict[str, Any]:
    row = officer_work.find_switch(conn, agency)
    if row is None:
        return {"at_console": False}
    return {"at_console": True, "since": row.since, "switched_by": row.switched_by, "reason": row.reason}


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
        if row.issued_at is not None and now - row.issued_at > _SOON
    ]


def find_agency_key_problems(settings: Settings, hub: Hub) -> Iterator[GatewayError]:
    """Yield a problem for each key of an agency that cannot sign, or that is not registered for it."""
    register = hub.refresh_snapshot()
    for agency, section in sorted(settings.agency.items()):
        if not section.pki.names_key:
            continue
        try:
            signer = load_agency_signer(settings, agency)
            signer.sign(b"gateway check")
            owner = register.find_certificate_party(signer.certificate.sha256, hub.clock())
        except GatewayError as problem:
            yield GatewayError(problem.problem, problem.detail, f"agency.{agency}.pki")
            continue
        # What officers do is believed as a call of this agency: the certificate must be the agency's.
        if owner != agency:
            detail = f"the certificate of the key is registered for {owner or 'no party'}, not for {agency}"
            yield GatewayError(SIGNER_MISMATCH, detail, f"agency.{agency}.pki")
