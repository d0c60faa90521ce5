"""``gateway agreement compose``: two profiles become a proposed agreement."""

from __future__ import annotations

import click

from gateway.agreements import compose_cpa, judge_cpa
from gateway.cli.cpa_reception import state_cpa_finding
from gateway.cli.named_files import read_file, write_file
from gateway.cli.result_output import print_json, print_sentence
from gateway.cli.shared_options import FILE, ZONED_MOMENT, json_option
from gateway.cli.verb_groups import Arguments, verb
from gateway.errors import MISUSE, GatewayError
from gateway.hub import get_current_time
from gateway.operations import count_findings, finding_to_json, format_finding

__all__ = ["compose_profiles"]


@verb
@click.argument("first", type=FILE, help="a profile of one party (CPP), or a template in this form")
@click.argument("second", type=FILE, help="the profile of the other party (CPP)")
@click.option("--id", required=True, help="the name of the agreement (`cpaid`)")
@click.option("--start", type=ZONED_MOMENT, required=True, metavar="TIME", help="when it begins")
@click.option("--end", type=ZONED_MOMENT, required=True, metavar="TIME", help="when it ends")
@click.option("--out", type=FILE, required=True, help="the file to write")
@json_option()
def compose_profiles(arguments: Arguments) -> int:
    """Write what two parties have in common as a proposed CPA, and say what does not fit in it."""
    if arguments.start >= arguments.end:
        raise GatewayError(MISUSE, "an agreement ends after its begin", "--end")
    first, second = ((read_file(one), one.name) for one in (arguments.first, arguments.second))
    data = compose_cpa((first, second), arguments.id, (arguments.start, arguments.end))
    write_file(arguments.out, data, location="--out")
    name = arguments.out.name
    judged = judge_cpa(data, name, get_current_time())
    # That it is only proposed is what was asked for.
    found = [state_cpa_finding(one, name) for one in judged.findings if one.rule != "status-proposed"]
    sentence = f"Agreement {arguments.id} is proposed in {arguments.out}: {count_findings(found)} found."
    if arguments.json:
        print_json(
            {"done": sentence, "file": str(arguments.out), "findings": list(map(finding_to_json, found))}
        )
        return 0
    for one in found:
        print(format_finding(one))
    print_sentence(sentence)
    return 0
