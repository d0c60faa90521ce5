"""What `gateway submit` prints: each step as soon as it is known, and at the end how to go on."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gateway.cli.verb_groups import Arguments

__all__ = [
    "describe_open_questions",
    "make_listen_command",
    "make_pull_command",
    "make_repeat_command",
    "print_result_report",
]


def make_repeat_command(arguments: Arguments, kept: Path) -> str:
    """Return the command that sends the octets in `kept` again, unchanged."""
    return shlex.join(["gateway", "submit", str(kept), *_list_partner_words(arguments), "--to", arguments.to])


def make_listen_command(arguments: Arguments, folder: str = "results") -> str:
    """Return the command that goes on waiting, and stores what comes in a folder."""
    return shlex.join(["gateway", "listen", *_list_partner_words(arguments), "--folder", folder])


def make_pull_command(arguments: Arguments, folder: str = "results") -> str:
    """Return the command that pulls what waits, and stores it in a folder."""
    words = [*_list_partner_words(arguments), "--to", arguments.to, "--folder", folder]
    return shlex.join(["gateway", "pull", *words])


def _list_partner_words(arguments: Arguments) -> Iterator[str]:
    yield from ("--as", arguments.party)
    if arguments.partner != Path():
        yield from ("--partner", str(arguments.partner))
    if arguments.agreement is not None:
        yield from ("--agreement", str(arguments.agreement))
    for path in arguments.hub_certificate:
        yield from ("--hub-certificate", str(path))


def describe_open_questions(news: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines about a case without a result: number, state, each application and open question."""
    if news["case_number"] is None:
        yield "no notice has come: the hub has the submission, and its case number is not known here yet"
        return
    yield f"case {news['case_number']}: {news['state']}, as far as the notices say"
    for one in news["applications"]:
        yield f"  {one['organisation']} {one['document']}, application {one['application']}: {one['state']}"
    for one in news["questions"]:
        until = f", answer until {one['deadline']}" if one["deadline"] else ", no deadline given"
        text = one["text"] or "(no text)"
        yield f"  {one['organisation']} asks about application {one['application']}{until}: {text}"
        yield from (f"    {pointer}" for pointer in one["pointers"])
    held = news.get("held")
    if held:
        yield f"the case is held until {held['until']}:"
        yield from (f"  {one['text']}" for one in held["missing"])
        yield "to file it: `gateway submit` with the whole submission again, the same Reference, Function 35"
    if news["questions"]:
        yield "to answer: `gateway submit` with the same Reference, Function 35 and these applications"


def print_result_report(result: Mapping[str, Any]) -> None:
    """Print a Result: outcome, decisions, problems and warnings."""
    if not result["verified"]:
        print("result: not verified")
        return
    about = f"case {result['case_number']}, reference {result['reference']}"
    print(f"result: {result['outcome']}, {about}, verified")
    for one in result["decisions"]:
        subject = f"item {one['item']} {one['organisation']} law {one['law']}"
        print(f"  {subject}: {one['decision']} {one['number'] or ''}")
        for condition in one["conditions"]:
            print(f"    on condition: {condition}")
    for one in result["problems"]:
        print(f"  {one['id']} {one['text']} {one['pointer'] or ''}")
    for one in result["warnings"]:
        print(f"  warning {one['id']} {one['text']} {one['pointer'] or ''}")
