"""Builds the tree of verbs from their table; the module of a verb is imported on use."""

from __future__ import annotations

import difflib
import gc
from collections.abc import Callable
from functools import wraps
from importlib import import_module
from types import ModuleType, SimpleNamespace
from typing import Any

import click
from click.shell_completion import CompletionItem

from gateway.cli.verb_table import NOUNS, OLD_SPELLINGS, SECTIONS, VERBS

__all__ = ["Arguments", "LazyGroup", "OldSpellingError", "VerbCommand", "build_root", "verb"]

_COMMANDS = "gateway.cli.commands"
_WIDTH = 110


class Arguments(SimpleNamespace):
    """The values of a verb's arguments and options, by their names; `verb_words` are those of the verb."""


class OldSpellingError(click.UsageError):
    """A verb was called by its former name."""


class VerbCommand(click.Command):
    """A verb; its help is the line in the table, followed by an example."""

    example: str = ""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the example."""
        if self.example:
            with formatter.section("Example"):
                formatter.write(f"{'':{formatter.current_indent}}{self.example}\n")


def verb(function: Callable[[Arguments], int]) -> VerbCommand:
    """Make a verb from a function that takes the arguments and returns the exit status.

    Options and arguments are declared below this decorator with those of Click.
    """

    @wraps(function)
    def call_verb_function(**values: Any) -> int:
        words = click.get_current_context().command_path.partition(" ")[2]
        return function(Arguments(**values, verb_words=words))

    return click.command(cls=VerbCommand, help="")(call_verb_function)


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
        words = f"{self.prefix} {cmd_name}".strip()
        if words in VERBS:
            return load_verb(words)
        if words in NOUNS:
            return LazyGroup(words, cmd_name, _make_help_sentence(NOUNS[words].help))
        return None

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the options of the group; where it was a verb once, another option names the new verb."""
        first = args[0] if args else ""
        if first.startswith("-") and first not in ctx.help_option_names and self.prefix in OLD_SPELLINGS:
            raise _make_old_spelling_error(self.prefix, ctx)
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the next word; the error names the new name of an old verb, or the nearest known word."""
        if not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            if ctx.resilient_parsing:
                return None, None, args[1:]
            raise self._refuse_unknown_word(ctx, args)
        return super().resolve_command(ctx, args)

    def _refuse_unknown_word(self, ctx: click.Context, args: list[str]) -> click.UsageError:
        words = f"{self.prefix} {args[0]}".strip()
        # A verb that has become a group is called with a value where its next word is expected.
        for old in (words, self.prefix):
            if old in OLD_SPELLINGS:
                return _make_old_spelling_error(old, ctx)
        known = self.list_commands(ctx)
        nearest = difflib.get_close_matches(args[0].lower(), known, 1)
        told = f"; the nearest is `gateway {f'{self.prefix} {nearest[0]}'.strip()}`" if nearest else ""
        return click.UsageError(f"there is no verb {words[:80]!r}{told}", ctx)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the next words that begin with `incomplete`, without importing the verbs."""
        lines = self._list_help_lines().items()
        found = [CompletionItem(name, help=text) for name, text in lines if name.startswith(incomplete)]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the verbs with their help lines; first words under the headings of the table."""
        lines = self._list_help_lines()
        if self.prefix:
            with formatter.section("Verbs"):
                formatter.write_dl(list(lines.items()))
            return
        # The same column width for all sections.
        for section in SECTIONS:
            with formatter.section(section):
                rows = [
                    (f"{name:<12}", text) for name, text in lines.items() if NOUNS[name].section == section
                ]
                formatter.write_dl(rows)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write examples: of each verb of this noun, or of the first steps."""
        examples = [one.example for words, one in VERBS.items() if words.startswith(f"{self.prefix} ")]
        if not self.prefix:
            examples = [
                "gateway demo                        run a complete demo on this machine",
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
        found: dict[str, str] = {}
        lines = {words: line.help for words, line in VERBS.items()}
        for words, line in (lines | {words: noun.help for words, noun in NOUNS.items()}).items():
            rest = words.removeprefix(start)
            if words.startswith(start) and rest and " " not in rest:
                found[rest] = line
        if not self.prefix:
            return {name: found[name] for name in NOUNS if name in found}
        return found


def _make_old_spelling_error(old: str, ctx: click.Context) -> OldSpellingError:
    return OldSpellingError(f"`gateway {old}` is now `gateway {OLD_SPELLINGS[old]}`", ctx)


def load_verb(words: str) -> VerbCommand:
    """Import the module of a verb and return the verb with its help and example."""
    entry = VERBS[words]
    module, _, name = entry.place.partition(":")
    command = getattr(_import_verb_module(f"{_COMMANDS}.{module}"), name)
    assert isinstance(command, VerbCommand), entry.place
    command.name = words.rpartition(" ")[2]
    command.help = _make_help_sentence(entry.help)
    command.example = entry.example
    return command


def _import_verb_module(name: str) -> ModuleType:
    """Import a module without garbage collection, which would find nothing and take a tenth of a second."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        return import_module(name)
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


def _print_program_version(ctx: click.Context, _option: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from gateway import __version__

        click.echo(f"gateway {__version__}")
        ctx.exit()
