"""What exists for speed alone pays for its lines: the table of the page on speed holds the limits."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from pathlib import Path

from tests.kit.markdown import read_table
from tests.kit.source_tree import PACKAGE, get_module_name, list_sources, read_facades, walk_source

#: Of CONTRIBUTING, "Speed pays rent": lines of code of each and of all together, and per cent.
MOST_LINES, MOST_LINES_TOGETHER, LEAST_GAIN = 400, 1500, 10
#: Where a process begins that may be bound to a processor, or is the child of one that is.
BEGINNINGS = {"cli/commands/process.py", "pki/examiner_process.py", "web/serving_process.py"}
_NOT_CODE = {
    *(tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT),
    tokenize.ENDMARKER,
}


def read_machines() -> list[dict[str, str]]:
    """Return the rows of the table."""
    page = (PACKAGE / "manual" / "speed.md").read_text(encoding="utf-8")
    return read_table(page, "What exists for speed alone")


def list_files(machine: dict[str, str]) -> list[Path]:
    """Return the files of a machine, which is one file or one folder."""
    place = PACKAGE / read_names(machine)[0]
    return sorted(place.rglob("*.py")) if place.is_dir() else [place]


def read_names(machine: dict[str, str]) -> list[str]:
    """Return the file or folder of a machine, and the one function behind which it is."""
    return re.findall(r"`([^`]+)`", machine["where"])


def count_code_lines(text: str) -> int:
    """Return the number of lines of a Python file that have code: no comment or docstring alone."""
    docstrings = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                docstrings.update(range(first.lineno, (first.end_lineno or 0) + 1))
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in _NOT_CODE:
            lines.update(range(token.start[0], token.end[0] + 1))
    return len(lines - docstrings)


def test_code_lines_are_counted_without_comments_and_docstrings() -> None:
    text = '"""One.\n\nTwo."""\n\n# three\ndef f(\n    a=1,\n):\n    """Four."""\n    return """\n\n"""\n'
    assert count_code_lines(text) == 6


def test_each_machine_for_speed_has_the_lines_that_the_page_says() -> None:
    machines = read_machines()
    counted = {
        read_names(machine)[0]: sum(
            count_code_lines(file.read_text(encoding="utf-8")) for file in list_files(machine)
        )
        for machine in machines
    }
    assert counted == {
        read_names(machine)[0]: int(machine["lines of code"].replace(",", "")) for machine in machines
    }
    assert all(0 < lines <= MOST_LINES for lines in counted.values())
    assert sum(counted.values()) <= MOST_LINES_TOGETHER


def test_each_machine_for_speed_saves_a_tenth_and_can_be_measured_again() -> None:
    for machine in read_machines():
        gain = re.match(r"(\d+) %", machine["what it saves by itself"])
        assert gain is not None, machine
        assert int(gain[1]) >= LEAST_GAIN, machine
        assert "`--only " in machine["how to repeat the measurement"], machine


def test_each_machine_for_speed_is_behind_its_function() -> None:
    """Deleting the file or folder and one line of the face of its room takes it out.

    A file beside the rooms has no face: nothing but its functions is imported, where a process begins.
    """
    facades = read_facades()
    for machine in read_machines():
        files = list_files(machine)
        modules = {get_module_name(file) for file in files}
        _, *functions = read_names(machine)
        imported = {
            file.relative_to(PACKAGE).as_posix(): names
            for file in list_sources()
            if file not in files and (names := list_imported_names(file, modules))
        }
        if files[0].parent == PACKAGE:
            assert set(imported) == BEGINNINGS
            assert {name for names in imported.values() for name in names} == set(functions)
        else:
            room = ".".join(get_module_name(files[0]).split(".")[:2])
            assert [name for name, module in facades[room].items() if module in modules] == functions
            assert len(functions) == 1
            assert imported == {}


def list_imported_names(file: Path, modules: set[str]) -> list[str]:
    """Return what a file imports from modules; a module that it imports as a whole by its own name."""
    names = []
    for node in walk_source(file):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names if alias.name in modules]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: {ast.unparse(node)}"
            names += [
                alias.name
                for alias in node.names
                if node.module in modules or f"{node.module}.{alias.name}" in modules
            ]
    return names
