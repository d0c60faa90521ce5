"""``gateway error``: explains a problem by its id."""

from __future__ import annotations

import dataclasses

import click

from gateway.cli.result_output import print_json
from gateway.cli.shared_options import json_option
from gateway.cli.verb_groups import Arguments, verb
from gateway.errors import EBMS3_ERRORS, MISUSE, PROBLEMS, GatewayError, Problem


@verb("error")
@click.argument(
    "id", required=False, help="a problem id such as GW206; if not given, all problems are listed"
)
@json_option("print JSON, one object a line")
def explain_problem(arguments: Arguments) -> None:
    """Print one problem, or the list of all; raise GW808 for an unknown id."""
    if arguments.id is None:
        chosen = list(PROBLEMS.values())
    elif arguments.id.upper() in PROBLEMS:
        chosen = [PROBLEMS[arguments.id.upper()]]
    else:
        raise GatewayError(MISUSE, f"there is no problem {arguments.id[:40]}; `gateway error` lists all")
    for problem in chosen:
        if arguments.json:
            row = dataclasses.asdict(problem)
            print_json(row | row.pop("codes"))
        elif arguments.id is None:
            print(f"{problem.id}  {problem.title}")
        else:
            print(format_problem(problem))


def format_problem(problem: Problem) -> str:
    """Return a problem as readable text."""
    faces = {
        "ebMS 2.0": problem.codes.ebms2,
        "ebMS 3.0": _describe_ebms3_error(problem.codes.ebms3),
        "SOAP": problem.codes.soap,
        "HTTP": problem.codes.http,
    }
    outside = ", ".join(f"{name} {face}" for name, face in faces.items() if face is not None)
    return "\n".join(
        (
            f"{problem.id}  {problem.title}",
            f"  meaning  {problem.meaning}",
            f"  cause    {problem.cause}",
            f"  remedy   {problem.remedy}",
            f"  fault    {'the gateway or its operator' if problem.ours else 'the sender'}",
            f"  retry    the same octets {'may succeed later' if problem.retry else 'fail again'}",
            f"  shown as {outside or 'nothing outside'}",
        )
    )


def _describe_ebms3_error(code: str | None) -> str | None:
    """Return an error of ebMS 3.0 with all that a signal says of it."""
    if code is None:
        return None
    error = EBMS3_ERRORS[code]
    return f"{code} {error.title} ({error.severity}, {error.category}, {error.origin})"
