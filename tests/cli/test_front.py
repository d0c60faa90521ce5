"""The front of the command line: quick help, wrong words, terminals and pipes, completion."""

from __future__ import annotations

import errno
import io
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import click
import pytest

from gateway import __version__
from gateway.cli import main
from gateway.cli.added_verbs import list_nouns, list_verbs
from gateway.cli.result_output import print_table, show_progress
from gateway.cli.verb_groups import load_verb
from gateway.cli.verb_nouns import SECTIONS
from gateway.operations import format_count
from gateway.program_build import BUILD
from gateway.store import get_head_revision
from tests.kit.paths import ROOT

NOUNS = list_nouns()
VERBS = list_verbs()

#: A verb that its table forgets is found at once.

HEAVY = (
    "lxml",
    "sqlalchemy",
    "cryptography",
    "spyne",
    "zeep",
    "pydantic",
    "rich",
    "alembic",
    "gateway.errors",
)
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "NO_COLOR"} | {
    "PYTHONPATH": str(ROOT)
}
ESCAPE = "\x1b"


def loaded_by(*words: str) -> set[str]:
    """Return the heavy packages that a process has loaded after a verb."""
    program = (
        "import sys, json, io, contextlib\n"
        "from gateway.cli import main\n"
        "with contextlib.redirect_stdout(io.StringIO()):\n"
        f"    main({list(words)!r})\n"
        "print(json.dumps(sorted(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True, cwd=ROOT, env=ENVIRONMENT
    )
    modules = set(json.loads(done.stdout))
    return {name for name in HEAVY if name in modules}


@pytest.mark.parametrize(
    "words",
    [
        ("--help",),
        ("--version",),
        ("case", "--help"),
        ("pki", "list"),
        ("frobnicate",),
        ("completion", "bash"),
    ],
)
def test_help_loads_nothing_heavy(words: tuple[str, ...]) -> None:
    assert loaded_by(*words) == set()


def test_the_version_names_build_and_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    expected = f"gateway {__version__} (build {BUILD}, schema {get_head_revision()})\n"
    assert capsys.readouterr().out == expected


def test_a_list_loads_neither_cryptography_nor_xml(tmp_path: Path) -> None:
    heavy = loaded_by("case", "list", "--home", str(tmp_path / "none"))
    assert heavy == {"sqlalchemy", "pydantic", "gateway.errors"}


def test_the_help_groups_every_noun(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    told = capsys.readouterr().out
    places = [told.index(f"\n{section}:\n") for section in SECTIONS]
    assert places == sorted(places)
    for words, noun in NOUNS.items():
        if " " not in words:
            start = told.index(f"\n{noun.section}:\n")
            assert f"\n  {words} " in told[start:], words
    assert "Examples:" in told
    firsts = {words.split()[0] for words in VERBS}
    assert firsts == {words for words in NOUNS if " " not in words}


@pytest.mark.parametrize("words", VERBS)
def test_every_verb_of_the_table_is_there(words: str) -> None:
    command = load_verb(words)
    assert command.help
    assert command.example.startswith(f"gateway {words}")
    assert all(getattr(one, "help", None) for one in command.params), words


@pytest.mark.parametrize(
    ("words", "nearest"),
    [
        ("cse list", "gateway case"),
        ("case lst", "gateway case list"),
        ("CASE list", "gateway case"),
        ("party certificate ad", "gateway party certificate add"),
        ("pki sorce list", "gateway pki source"),
    ],
)
def test_a_mistyped_verb_names_the_nearest(
    words: str, nearest: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words.split()) == 2
    assert f"the nearest is `{nearest}`" in capsys.readouterr().err


def bad_invocations(words: str) -> list[tuple[str, ...]]:
    """Return words that a verb does not take: an unknown option, too many words, a wrong value."""
    verb = tuple(words.split())
    found = [(*verb, "--no-such-option"), (*verb, "--"), (*verb, "-\udcff"), (*verb, *["\udcff"] * 9)]
    for param in load_verb(words).params:
        if not isinstance(param, click.Option):
            continue
        if not param.is_flag:
            found.append((*verb, param.opts[0]))
        if isinstance(param.type, click.Choice | click.types.IntParamType | click.types.FloatParamType):
            found.append((*verb, param.opts[0], "\x1b[31mnonsense"))
    return found


#: Verbs that need no argument: with ``--`` alone they do what they do.
ALONE = {
    words
    for words in VERBS
    if not any(one.required for one in load_verb(words).params)
}  # fmt: skip


@pytest.mark.parametrize("verb", VERBS)
def test_garbage_is_misuse_and_no_traceback(
    verb: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for words in bad_invocations(verb):
        if words[-1] == "--" and verb in ALONE:
            continue
        status = main(list(words))
        captured = capsys.readouterr()
        told = captured.out + captured.err
        assert "Traceback" not in told, words
        assert status in (1, 2) if words[-9:] == ("\udcff",) * 9 else status == 2, (words, told)
        assert "GW901" not in told, words
        assert told, words


@pytest.mark.parametrize(
    "failure",
    [
        MemoryError(),
        OSError(errno.ENOSPC, "full"),
        OSError(errno.EMFILE, "files"),
        OSError(errno.ENOMEM, "m"),
    ],
)
def test_what_this_machine_lacks_is_no_mistake_of_the_program(
    failure: Exception, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_words: object) -> int:
        raise failure

    monkeypatch.setattr("gateway.cli.verb_runner._invoke_named_verb", fail)
    assert main(["check"]) == 1
    output = capsys.readouterr().err
    assert "GW806" in output
    assert "GW901" not in output


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


ROWS = [{"name": f"evil{ESCAPE}[2J[red]x[/red]", "state": "HELD", "long": "v" * 300}]
COLUMNS = ("name", "state", "long")


@pytest.mark.parametrize("plain", [True, False])
def test_a_table_on_a_terminal_is_drawn_and_no_stranger_commands_it(
    plain: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")
    if plain:
        monkeypatch.setenv("NO_COLOR", "1")
    else:
        monkeypatch.delenv("NO_COLOR", raising=False)
    print_table(ROWS, as_json=False, columns=COLUMNS)
    assert screen.getvalue().replace("evil", "").count("v") == 300
    monkeypatch.setenv("COLUMNS", "500")
    print_table(ROWS, as_json=False, columns=COLUMNS)
    drawn = screen.getvalue()
    assert f"{ESCAPE}[2J" not in drawn
    assert "evil\\u001b[2J[red]x[/red]" in drawn
    assert (ESCAPE in drawn) != plain


def test_a_table_in_a_pipe_is_plain_and_whole(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(ROWS[:1], as_json=False, columns=COLUMNS[1:])
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["STATE  LONG", f"HELD   {'v' * 300}"]


@pytest.mark.parametrize("words", [("--help",), ("error",), ("conformance", "table"), ("party", "frob")])
def test_nothing_is_escaped_in_a_pipe(words: tuple[str, ...]) -> None:
    environment = ENVIRONMENT | {"TERM": "xterm-256color", "FORCE_COLOR": "1", "CLICOLOR_FORCE": "1"}
    command = [sys.executable, "-m", "gateway", *words]
    done = subprocess.run(command, capture_output=True, check=False, cwd=ROOT, env=environment)
    assert ESCAPE.encode() not in done.stdout + done.stderr


def on_terminal(words: list[str], **more: str) -> str:
    """Return what a verb writes to a terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway", *words],
        stdout=theirs,
        stderr=theirs,
        cwd=ROOT,
        env=ENVIRONMENT | {"TERM": "xterm-256color"} | more,
    )
    os.close(theirs)
    read = b""
    try:
        while part := os.read(ours, 4096):
            read += part
    except OSError:
        pass
    finally:
        os.close(ours)
        process.wait(60)
    return read.decode()


@pytest.mark.night
def test_colour_and_bars_are_for_terminals_without_no_color(tmp_path: Path) -> None:
    home = str(tmp_path)
    assert "The database is now at revision" in on_terminal(
        ["migrate", "--new", "--home", home], NO_COLOR="1"
    )
    assert ESCAPE in on_terminal(["case", "list", "--home", home])
    assert ESCAPE not in on_terminal(["case", "list", "--home", home], NO_COLOR="1")


def test_a_bar_is_drawn_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    screen, pipe = Terminal(), io.StringIO()
    for stream in (screen, pipe):
        monkeypatch.setattr(sys, "stderr", stream)
        with show_progress("judging", 3) as bar:
            bar.advance_one()
            bar.advance_to(2, 3)
            bar.change_title(f"judging{ESCAPE}[2J")
            bar.print_line(f"a line{ESCAPE}[2J", stream)
    assert pipe.getvalue() == f"a line{ESCAPE}[2J\n"
    assert "judging" in screen.getvalue()
    assert f"{ESCAPE}[2J" not in screen.getvalue()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_gets_its_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert f"_GATEWAY_COMPLETE={shell}_complete" in script
    assert main(["completion", "sh"]) == 2


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("gateway pa", "party"),
        ("gateway party certificate ", "retire"),
        ("gateway case list --li", "--limit"),
    ],
)
def test_words_are_completed(typed: str, offered: str) -> None:
    words = typed.split(" ")
    environment = ENVIRONMENT | {
        "_GATEWAY_COMPLETE": "bash_complete", "COMP_WORDS": typed, "COMP_CWORD": str(len(words) - 1),
    }  # fmt: skip
    command = [sys.executable, "-m", "gateway"]
    done = subprocess.run(command, capture_output=True, check=True, cwd=ROOT, env=environment, text=True)
    assert offered in {line.partition(",")[2] for line in done.stdout.splitlines()}


def test_things_are_counted() -> None:
    assert format_count(1, "delivery", "deliveries") == "1 delivery"
    assert format_count(3, "delivery", "deliveries") == "3 deliveries"
    assert format_count(2, "file") == "2 files"
