"""``gateway agency console``: lets an agency's officers decide at the console while its system is away."""

from __future__ import annotations

import click

from gateway.cli.audited_changes import change_database, print_change
from gateway.cli.result_output import count_things
from gateway.cli.shared_options import change_options, read_reason
from gateway.cli.verb_groups import Arguments, verb

__all__ = ["switch_agency_console"]


@verb
@click.argument("code", help="the code of the agency")
@click.option("--back", is_flag=True, help="give new applications to the agency's own system again")
@click.option("--reason", required=True, help="why, for the audit and for everybody who looks")
@change_options()
def switch_agency_console(arguments: Arguments) -> int:
    """Switch an agency to the console, or back to its own system; print what waits for its officers."""
    from gateway.operations import switch_agency

    reason = read_reason(arguments)
    with change_database(arguments, reason) as change:
        done = switch_agency(change, arguments.code, back=arguments.back)
    resting = f"{count_things(done.undecided, 'undecided application')} in the mailbox of the console"
    if arguments.back:
        told = (
            f"Agency {arguments.code} gets new applications in its own system again. It has {resting}, which "
            "its officers decide there."
        )
    else:
        waiting = count_things(done.backlog.waiting, "delivery", "deliveries")
        told = (
            f"The officers of agency {arguments.code} decide at the console: {reason}. {waiting} of its lane "
            f"go to the mailbox; {done.backlog.active} under way may still reach its own system. "
            f"It has {resting}."
        )
    print_change(
        change,
        told,
        as_json=arguments.json,
        waiting=done.backlog.waiting,
        active=done.backlog.active,
        undecided=done.undecided,
    )
    return 0
