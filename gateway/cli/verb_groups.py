"""Builds the tree of verbs from their table; the module of a verb is imported on use."""

from __future__ import annotations

import difflib
import gc
from collections.abc import Callable
from functools import wraps
from importlib import import_module
from types import SimpleNamespace
from typing import Any, Final

import click
from click.shell_completion import CompletionItem

from gateway.cli.added_verbs import find_verb, find_verb_or_noun, list_nouns, list_verbs, make_verb_error
from gateway.cli.verb_nouns import SECTIONS
from gateway.cli.verb_table import VERBS, Verb

_COMMANDS = "gateway.cli.commands"
_WIDTH = 110


class Arguments(SimpleNamespace):
    """The values of a verb's arguments and options, by their names; `verb_words` are those of the verb."""


class VerbCommand(click.Command):
    """A verb; its help is the line in the table, followed by an example."""

    example: str = ""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the example."""
        if self.example:
            with formatter.section("Example"):
                formatter.write(f"{'':{formatter.current_indent}}{self.example}\n")


VerbDecorator = Callable[[Callable[[Arguments], int | None]], VerbCommand]

#: Every verb whose module has been imported, by its words.
_DECLARED_VERBS: Final[dict[str, VerbCommand]] = {}


def verb(verb_words: str) -> VerbDecorator:
    """Return the decorator that makes the verb of these words from a function.

    The function takes the arguments and returns the exit status; None is success. Its options and
    arguments are declared below this decorator with those of Click; its help line and its example are in
    the table of verbs.
    """

    def declare_verb(function: Callable[[Arguments], int | None]) -> VerbCommand:
        @wraps(function)
        def call_verb_function(**values: Any) -> int | None:
            return function(Arguments(**values, verb_words=verb_words))

        name = verb_words.rpartition(" ")[2]
        command = click.command(name, cls=VerbCommand, help="")(call_verb_function)
        _DECLARED_VERBS[verb_words] = command
        return command

    return declare_verb


class LazyGroup(click.Group):
    """The verbs that begin with the same words, given by `prefix`."""

    def __init__(self, prefix: str, name: str, help_line: str) -> None:
        super().__init__(name, help=help_line, subcommand_metavar="VERB [ARGUMENTS]...")
        self.prefix = prefix

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the next words, in the order of the table."""
        return list(self._list_help_lines())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Return the verb or group of the next word; None where there is none."""
        verb_words = f"{self.prefix} {cmd_name}".strip()
        verb_or_noun = find_verb_or_noun(verb_words)
        if isinstance(verb_or_noun, Verb):
            return load_verb(verb_words)
        return (
            None
            if verb_or_noun is None
            else LazyGroup(verb_words, cmd_name, _make_help_sentence(verb_or_noun.help))
        )

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the next word; the error names the nearest known word."""
        if not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            if ctx.resilient_parsing:
                return None, None, args[1:]
            raise self._refuse_unknown_word(ctx, args)
        return super().resolve_command(ctx, args)

    def _refuse_unknown_word(self, ctx: click.Context, args: list[str]) -> click.UsageError:
        verb_words = f"{self.prefix} {args[0]}".strip()
        commands = self.list_commands(ctx)
        nearest = difflib.get_close_matches(args[0].lower(), commands, 1)
        hint = f"; the nearest is `gateway {f'{self.prefix} {nearest[0]}'.strip()}`" if nearest else ""
        return click.UsageError(f"there is no verb {verb_words[:80]!r}{hint}", ctx)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the next words that begin with `incomplete`, without importing the verbs."""
        lines = self._list_help_lines().items()
        completions = [CompletionItem(name, help=text) for name, text in lines if name.startswith(incomplete)]
        return [*completions, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the verbs with their help lines; first words under the headings of the table."""
        lines = self._list_help_lines()
        if self.prefix:
            with formatter.section("Verbs"):
                formatter.write_dl(list(lines.items()))
            return
        # The same column width for all sections.
        nouns = list_nouns()
        for section in SECTIONS:
            with formatter.section(section):
                rows = [
                    (f"{name:<12}", text) for name, text in lines.items() if nouns[name].section == section
                ]
                formatter.write_dl(rows)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write examples: of each verb of this noun, or of the first steps."""
        examples = [
            entry.format_example(verb_words)
            for verb_words, entry in list_verbs().items()
            if verb_words.startswith(f"{self.prefix} ")
        ]
        if not self.prefix:
            demo = [
                "gateway demo                        run a complete demo on this machine",
            ]
            examples = [
                *(demo if find_verb_or_noun("demo") else ()),
                ("gateway migrate --home D            create or update the database of a home folder"),
                "gateway run --home D                run the gateway of that folder",
                "gateway case list --home D          list submissions with state and outcome",
                "gateway error GW206                 explain a problem",
                "gateway party add --help            every verb has help with an example",
            ]
        with formatter.section("Examples"):
            for example in examples:
                formatter.write(f"{'':{formatter.current_indent}}{example}\n")

    def _list_help_lines(self) -> dict[str, str]:
        """Return the help line of each word that may follow the prefix."""
        start = f"{self.prefix} " if self.prefix else ""
        help_lines: dict[str, str] = {}
        lines = {verb_words: line.help for verb_words, line in list_verbs().items()}
        nouns = list_nouns()
        for verb_words, line in (
            lines | {verb_words: noun.help for verb_words, noun in nouns.items()}
        ).items():
            rest = verb_words.removeprefix(start)
            if verb_words.startswith(start) and rest and " " not in rest:
                help_lines[rest] = line
        if not self.prefix:
            return {name: help_lines[name] for name in nouns if name in help_lines}
        return help_lines


def load_verb(verb_words: str) -> VerbCommand:
    """Import the module of a verb and return the verb with its help and example."""
    entry = find_verb(verb_words)
    if verb_words in VERBS:
        _import_verb_module(f"{_COMMANDS}.{entry.module}")
    else:
        _import_added_module(verb_words, entry.module)
    command = _DECLARED_VERBS[verb_words]
    command.help = _make_help_sentence(entry.help)
    command.example = entry.format_example(verb_words)
    return command


def _import_added_module(verb_words: str, name: str) -> None:
    """Import the module of another package; raise GW801 unless it is there and declares the verb."""
    try:
        _import_verb_module(name)
    except ImportError as failure:
        raise make_verb_error(verb_words, str(failure)) from failure
    if verb_words not in _DECLARED_VERBS:
        raise make_verb_error(verb_words, f"the module {name} does not declare it")


def _import_verb_module(name: str) -> None:
    """Import a module without garbage collection, which would find nothing and take a tenth of a second."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        import_module(name)
    finally:
        if was_enabled:
            gc.enable()


def _make_help_sentence(line: str) -> str:
    return f"{line[:1].upper()}{line[1:]}."


def build_root() -> LazyGroup:
    """Return the group of all verbs, with ``--version``."""
    root = LazyGroup(
        "", "gateway", "The single-window gateway: one declaration, one request to each agency, one result."
    )
    root.context_settings = {"max_content_width": _WIDTH, "help_option_names": ["--help", "-h"]}
    root.params.append(
        click.Option(
            ["--version"],
            is_flag=True,
            expose_value=False,
            is_eager=True,
            callback=_print_program_version,
            help="Print the version.",
        )
    )
    return root


def _print_program_version(ctx: click.Context, _option: click.Parameter, is_set: bool) -> None:
    if is_set and not ctx.resilient_parsing:
        from gateway.cli.program_version import describe_program

        click.echo(describe_program())
        ctx.exit()
