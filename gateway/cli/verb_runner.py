"""Runs one verb from the command line, and converts every failure to a line and an exit status."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence

import click

from gateway.cli.display_zone import keep_display_zone, restate_times
from gateway.cli.terminal_text import guard_terminals, write_error
from gateway.cli.verb_groups import OldSpellingError, build_root

__all__ = ["run_words"]

_PROGRAM = "gateway"
_COMPLETION = "_GATEWAY_COMPLETE"
_MISUSE = 2


def run_words(argv: Sequence[str] | None = None) -> int:
    """Run the verb of the given words (by default of this process); return the exit status."""
    # A verb prints its problems itself; long-running processes set up a log.
    logging.getLogger("gateway").addHandler(logging.NullHandler())
    words = list(sys.argv[1:] if argv is None else argv)
    with guard_terminals(), keep_display_zone():
        try:
            return _invoke_named_verb(words)
        except click.exceptions.Exit as end:
            return end.exit_code
        except click.ClickException as misuse:
            _print_misuse(misuse)
            return _MISUSE
        except BrokenPipeError:
            # The reader has closed the pipe: nothing more is written, and Python must not try at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        except (KeyboardInterrupt, click.Abort):
            return 1
        except Exception as failure:
            return _print_failure(failure)


def _invoke_named_verb(words: list[str]) -> int:
    """Parse the words and call the verb; return completions to a shell that asks for them."""
    root = build_root()
    instruction = os.environ.get(_COMPLETION)
    if instruction:
        from click.shell_completion import shell_complete

        return shell_complete(root, {}, _PROGRAM, _COMPLETION, instruction)
    with root.make_context(_PROGRAM, words) as context:
        status: int | None = root.invoke(context)
    return status or 0


def _print_misuse(misuse: click.ClickException) -> None:
    """Print the usage and the error; print help for a missing verb unchanged."""
    message = misuse.format_message()
    if isinstance(misuse, click.exceptions.NoArgsIsHelpError):
        write_error(message)
        return
    context = getattr(misuse, "ctx", None)
    if context is not None and not isinstance(misuse, OldSpellingError):
        write_error(context.get_usage())
    write_error(f"{_PROGRAM}: {' '.join(message.split())}")


def _print_failure(failure: Exception) -> int:
    """Print one line for an exception; return 2 for wrong settings, 1 for anything else."""
    from gateway.errors import OUR_MISTAKE, SETTINGS_WRONG, GatewayError

    if isinstance(failure, GatewayError):
        write_error(restate_times(f"{_PROGRAM}: {failure}"))
        return _MISUSE if failure.problem is SETTINGS_WRONG else 1
    if isinstance(failure, UnicodeEncodeError):
        write_error(f"{_PROGRAM}: {SETTINGS_WRONG.id} {SETTINGS_WRONG.title}: an argument is not UTF-8")
        return _MISUSE
    if os.environ.get("GATEWAY_TRACE"):
        raise failure
    kind = type(failure).__name__
    detail = f"{OUR_MISTAKE.id} {OUR_MISTAKE.title}: {kind} (GATEWAY_TRACE=1 shows where)"
    write_error(f"{_PROGRAM}: {detail}")
    return 1
