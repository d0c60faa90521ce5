"""Runs one verb from the command line, and converts every failure to a line and an exit status."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click

from gateway.cli.added_verbs import find_verb_or_noun
from gateway.cli.result_output import (
    OutputError,
    ReportedFailure,
    WrongRowError,
    choose_problem_format,
    discard_output,
    escape_unencodable_output,
    guard_terminals,
    open_missing_streams,
    print_failure,
    write_error,
)
from gateway.cli.verb_groups import build_root
from gateway.operations import keep_display_zone

_PROGRAM = "gateway"
_COMPLETION = "_GATEWAY_COMPLETE"
_MISUSE_STATUS = 2
#: `gateway.errors.MISUSE.id`, without loading the catalogue for a mistyped word; a test compares them.
_MISUSE_ID = "GW808"
_CLICK_REWORDINGS = tuple(
    (re.compile(pattern), words)
    for pattern, words in (
        (
            r"(?<!\S)(\S++) is not in the range ([\d.]*\d)<=x<=([\d.]*\d)",
            r"\1 is not between \2 and \3",
        ),
        (r"(?<!\S)(\S++) is not in the range x>=([\d.]*\d)", r"\1 is less than \2"),
        (r"(?<!\S)(\S++) is not in the range x<=([\d.]*\d)", r"\1 is more than \2"),
        (r"is not a valid integer(?: range)?", "is not a whole number"),
        (r"is not a valid float(?: range)?", "is not a number"),
        (r"^Invalid value for '[\[{][^'{}\[\]]*[\]}]': ", ""),
    )
)


def run_command_line(argv: Sequence[str] | None = None) -> int:
    """Run the verb of the given words (by default of this process); return the exit status."""
    # A verb prints its problems itself; long-running processes set up a log.
    logging.getLogger("gateway").addHandler(logging.NullHandler())
    argv_words = list(sys.argv[1:] if argv is None else argv)
    if argv is None:
        open_missing_streams()
        escape_unencodable_output()
    output = choose_problem_format(as_json="--json" in argv_words)
    with guard_terminals(), keep_display_zone(), output, _show_tracebacks():
        try:
            status = _invoke_named_verb(argv_words)
            if argv is None:
                sys.stdout.flush()
            return status
        except click.exceptions.Exit as end:
            return end.exit_code
        except click.ClickException as misuse:
            _print_misuse(misuse, argv_words)
            return _MISUSE_STATUS
        except BrokenPipeError:
            # The reader has closed the pipe: nothing more is written, and Python must not try at exit.
            discard_output()
            return 1
        except WrongRowError as wrong:
            print_failure(ReportedFailure(str(wrong), _MISUSE_ID))
            return 1
        except OutputError as broken:
            discard_output()
            detail = f"standard output cannot be written: {broken}; what the verb has done stands"
            print_failure(ReportedFailure(detail, _MISUSE_ID))
            return 1
        except (KeyboardInterrupt, click.Abort):
            return 1
        except Exception as failure:
            return _print_exception(failure, argv_words)


@contextmanager
def _show_tracebacks() -> Iterator[None]:
    """Write log lines with a traceback to standard error, if GATEWAY_TRACE asks for them."""
    if not os.environ.get("GATEWAY_TRACE"):
        yield
        return
    handler = logging.StreamHandler()
    handler.addFilter(lambda record: record.exc_info is not None)
    logging.getLogger("gateway").addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger("gateway").removeHandler(handler)


def _invoke_named_verb(argv_words: list[str]) -> int:
    """Parse the words and call the verb; return completions to a shell that asks for them."""
    root = build_root()
    instruction = os.environ.get(_COMPLETION)
    if instruction:
        from click.shell_completion import shell_complete

        return shell_complete(root, {}, _PROGRAM, _COMPLETION, instruction)
    with root.make_context(_PROGRAM, argv_words) as context:
        status: int | None = root.invoke(context)
    return status or 0


def _find_verb_words(argv_words: Sequence[str]) -> str:
    """Return the longest known verb or noun at the start of the words; empty where there is none."""
    longest_verb = ""
    for word in argv_words:
        longer = f"{longest_verb} {word}".strip()
        try:
            if word.startswith("-") or find_verb_or_noun(longer) is None:
                break
        except Exception:
            # The verbs of another package cannot be used: this is the failure that is being reported.
            break
        longest_verb = longer
    return longest_verb


def _make_help_command(argv_words: Sequence[str]) -> str:
    """Return the command that prints the help of the verb in the words."""
    return " ".join([_PROGRAM, *_find_verb_words(argv_words).split(), "--help"])


def _reword_misuse(message: str) -> str:
    """Return an error message of Click without Python notations: intervals, type names, sets of words."""
    for pattern, replacement in _CLICK_REWORDINGS:
        message = pattern.sub(replacement, message)
    return message


def _print_misuse(misuse: click.ClickException, argv_words: Sequence[str]) -> None:
    """Print the error and where help is; print the help for a missing verb unchanged."""
    message = misuse.format_message()
    if isinstance(misuse, click.exceptions.NoArgsIsHelpError) and "--json" not in argv_words:
        write_error(message)
        return
    if isinstance(misuse, click.exceptions.NoArgsIsHelpError):
        message = "a verb is missing"
    sentence = _reword_misuse(" ".join(message.split()))
    if not sentence[1:2].isupper():
        sentence = sentence[:1].lower() + sentence[1:]
    print_failure(ReportedFailure(sentence.rstrip("."), _MISUSE_ID, help=_make_help_command(argv_words)))


def _describe_unencodable(failure: UnicodeEncodeError) -> str | None:
    """Return the fault of an argument or file name that cannot be encoded; None for any other text."""
    character = failure.object[failure.start]
    locale_encoding = sys.getfilesystemencoding()
    if "\ud800" <= character <= "\udfff":
        return f"an argument or a file name is not text in {locale_encoding}, the encoding of the locale"
    try:
        character.encode(locale_encoding)
    except UnicodeEncodeError:
        pass  # It is not compared by name: codecs call themselves otherwise, or `charmap`.
    else:
        return None
    return f"the file name {failure.object[:200]!r} has {character!r}, which {locale_encoding} does not have"


def _print_exception(failure: Exception, argv_words: Sequence[str]) -> int:
    """Print one line for an exception; return 2 for misuse and wrong settings, 1 for anything else.

    A statement that cannot be compared returns 2 as well, since 1 says that it differs.
    """
    from gateway.errors import (
        MISUSE,
        OUR_MISTAKE,
        SETTINGS_WRONG,
        STATEMENT_WRONG,
        GatewayError,
        find_resource_problem,
        make_path_problem,
    )

    if isinstance(failure, PermissionError) and failure.filename is not None:
        failure = make_path_problem(Path(os.fsdecode(failure.filename)), "used", failure)
    if isinstance(failure, UnicodeEncodeError):
        sentence = _describe_unencodable(failure)
        failure = failure if sentence is None else GatewayError(MISUSE, sentence)
    failure = find_resource_problem(failure) or failure
    if isinstance(failure, GatewayError):
        is_misuse = failure.problem is MISUSE
        # The verb itself is no place: the help of the verb is named after the sentence.
        location = "" if failure.location == _find_verb_words(argv_words) else failure.location
        help_words = _make_help_command(argv_words) if is_misuse else ""
        print_failure(ReportedFailure(failure.detail, failure.problem.id, location, help_words))
        return _MISUSE_STATUS if is_misuse or failure.problem in (SETTINGS_WRONG, STATEMENT_WRONG) else 1
    if os.environ.get("GATEWAY_TRACE"):
        raise failure
    kind = type(failure).__name__
    detail = f"{OUR_MISTAKE.title}: {kind} (GATEWAY_TRACE=1 shows where)"
    print_failure(ReportedFailure(detail, OUR_MISTAKE.id))
    return 1
