"""``gateway route add|list|remove``: where messages for other message handlers go."""

from __future__ import annotations

import click

from gateway.agreements import HOP_ACKNOWLEDGMENTS, SYNC_REPLY_CHOICES, ForwardingRule, find_endpoint_fault
from gateway.cli.audited_changes import change_database, print_change
from gateway.cli.registration import read_party_id
from gateway.cli.result_output import print_table, report_wrong_row
from gateway.cli.settings import read_database
from gateway.cli.shared_options import ROW_NUMBER, change_options, home_options
from gateway.cli.verb_groups import Arguments, verb
from gateway.errors import MISUSE, GatewayError
from gateway.hub import make_rule_columns
from gateway.operations import describe_forwarding_rule
from gateway.store import forwarding_rules, parties

__all__ = ["add_route", "list_routes", "remove_route"]

_COLUMNS = (
    *("id", "to", "service", "action", "next", "endpoint", "senders", "acknowledgment", "sync_reply"),
    *("retries", "retry_interval"),
)


@verb
@click.argument("to", help="PartyId of the To party: TYPE|VALUE, or a URI")
@click.argument("next_party", metavar="NEXT", help="the registered party of the next message handler")
@click.argument("endpoint", help="URL of the next message handler")
@click.option(
    "--from", "senders", multiple=True, required=True, help="a party that may send this way; repeatable"
)
@click.option("--service", help="only messages of this Service")
@click.option("--action", help="only messages of this Action of the Service")
@click.option(
    "--acknowledgment",
    type=click.Choice(HOP_ACKNOWLEDGMENTS),
    default="never",
    help="whether the next handler is asked for an Acknowledgment of its own",
)
@click.option(
    "--sync-reply",
    type=click.Choice(SYNC_REPLY_CHOICES),
    default="keep",
    help="what becomes of SyncReply, which is for the next handler",
)
@click.option("--retries", type=click.IntRange(0, 1000), default=5, help="how often a message is sent again")
@click.option(
    "--retry-interval", type=click.IntRange(1, 86_400), default=60, help="seconds between two attempts"
)
@change_options()
def add_route(arguments: Arguments) -> int:
    """Pass messages for a party on to another handler; return 1 when there is such a route already."""
    if fault := find_endpoint_fault(arguments.endpoint):
        raise GatewayError(MISUSE, f"the endpoint {fault}", "ENDPOINT")
    rule = ForwardingRule(
        to=read_party_id(arguments.to),
        next_party=arguments.next_party,
        endpoint=arguments.endpoint,
        senders=tuple(sorted(set(arguments.senders))),
        service=arguments.service,
        action=arguments.action,
        acknowledgment=arguments.acknowledgment,
        sync_reply=arguments.sync_reply,
        retries=arguments.retries,
        retry_interval=arguments.retry_interval,
    )
    with change_database(arguments) as change:
        for party in (rule.next_party, *rule.senders):
            if parties.find_party(change.conn, party) is None:
                change.leave_unchanged()
                return report_wrong_row(f"there is no party {party}")
        number = forwarding_rules.insert_rule(change.conn, make_rule_columns(rule), change.at)
        if number is None:
            change.leave_unchanged()
            return report_wrong_row(f"there is a route for these messages to {rule.to.value} already")
        change.record_trust_change(f"route {number}", after=describe_forwarding_rule(change.conn, number))
    who = ", ".join(rule.senders)
    sentence = f"Route {number}: what {who} may send to {rule.to.value} goes to {rule.next_party}."
    print_change(change, sentence, as_json=arguments.json, route=number)
    return 0


@verb
@click.argument("route", type=ROW_NUMBER, help="the number of the route")
@change_options()
def remove_route(arguments: Arguments) -> int:
    """Pass no more messages on by a route; return 1 when there is none with that number."""
    number = arguments.route
    with change_database(arguments) as change:
        before = describe_forwarding_rule(change.conn, number)
        if before is None or not forwarding_rules.remove_rule(change.conn, number):
            change.leave_unchanged()
            return report_wrong_row(f"there is no route {number}")
        change.record_trust_change(f"route {number}", before=before)
    sentence = f"Route {number} is removed: messages for {before['to_value']} go no further."
    print_change(change, sentence, as_json=arguments.json, route=number)
    return 0


@verb
@home_options()
def list_routes(arguments: Arguments) -> int:
    """Print where messages for other message handlers go, and who may send them."""
    with read_database(arguments) as conn:
        found = forwarding_rules.list_rules(conn)
    rows = [
        {
            "id": row.id,
            "to": f"{row.to_type}|{row.to_value}" if row.to_type else row.to_value,
            "service": row.service,
            "action": row.action,
            "next": row.next_party,
            "endpoint": row.endpoint,
            "senders": list(row.senders) if arguments.json else ", ".join(row.senders),
            "acknowledgment": row.acknowledgment,
            "sync_reply": row.sync_reply,
            "retries": row.retries,
            "retry_interval": row.retry_interval,
        }
        for row in found
    ]
    print_table(rows, as_json=arguments.json, columns=_COLUMNS)
    return 0
