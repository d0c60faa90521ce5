"""``gateway completion bash|zsh|fish``: the script for shell completion of verbs and options."""

from __future__ import annotations

import click
from click.shell_completion import ShellComplete, get_completion_class

from gateway.cli.result_output import print_json
from gateway.cli.shared_options import json_option
from gateway.cli.verb_groups import Arguments, build_root, verb

_SHELLS = ("bash", "zsh", "fish")


@verb("completion")
@click.argument("shell", type=click.Choice(_SHELLS), help="the shell")
@json_option("print one JSON object with the script")
def print_script(arguments: Arguments) -> None:
    """Print the script of a shell; the shell evaluates it or reads it from a file."""
    completion_class = get_completion_class(arguments.shell)
    assert completion_class is not None
    completion = completion_class(build_root(), {}, "gateway", "_GATEWAY_COMPLETE")
    # The subclasses check whether the shell is installed here; the script may be for another machine.
    script = ShellComplete.source(completion)
    if arguments.json:
        print_json({"shell": arguments.shell, "script": script})
    else:
        print(script)
