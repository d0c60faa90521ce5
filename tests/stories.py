"""The stories that each role lives by: which tests tell them, and when these run.

A test marked `story("an officer decides")` tells what a role wants and gets; one that is marked
`refusal("an officer …")` tells what it must not get. `python -m tests.stories` draws the page
`tests/STORIES.md` from the marks.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.kit.paths import ROOT

#: The beginning of each sentence, and the role that it names, in the order of the page.
ROLES = {
    "a trader": "Traders",
    "broker's software": "Broker's software",
    "an officer": "Officers",
    "an approver": "Approvers",
    "an agency's system": "Agencies' systems",
    "customs": "Customs",
    "an operator": "Operators",
    "an administrator": "Administrators",
    "a tester": "Conformance testers",
    "an author of mappings": "Authors of mappings",
}
PAGE = ROOT / "tests" / "STORIES.md"
_INTRODUCTION = """\
# Stories

What each role wants and gets, and what it must not get, with the test that tells it. Each role has a story
and a refusal among the short tests. Drawn by `python -m tests.stories` from the marks `story` and `refusal`.
Levels are explained in [CONTRIBUTING](../CONTRIBUTING.md).
"""


@dataclass(frozen=True, slots=True)
class Story:
    """A marked test: its sentence, whether it tells a refusal, and where and when it runs."""

    sentence: str
    is_refusal: bool
    path: str
    test: str
    level: str

    @property
    def role(self) -> str:
        """Return the role with whose name the sentence begins; raises ValueError if there is none."""
        for subject, role in ROLES.items():
            if self.sentence.startswith(f"{subject} "):
                return role
        raise ValueError(f"{self.path}::{self.test}: no role has a name like that of {self.sentence!r}")


def list_stories() -> list[Story]:
    """Return every marked test, in the order of files and lines."""
    return [story for path in sorted((ROOT / "tests").rglob("test_*.py")) for story in _read_stories(path)]


def draw_page(stories: list[Story]) -> str:
    """Return the page: a table for each role, stories before refusals."""
    parts = [_INTRODUCTION]
    for role in ROLES.values():
        parts.append(f"## {role}\n\n| story | test | level |\n|---|---|---|")
        own_stories = [story for story in stories if story.role == role]
        for story in sorted(own_stories, key=lambda story: story.is_refusal):
            sentence = f"{'refused: ' if story.is_refusal else ''}{story.sentence}"
            parts.append(f"| {sentence} | `{story.path}::{story.test}` | {story.level} |")
        parts.append("")
    return "\n".join(parts)


def list_marks(node: ast.FunctionDef, module: ast.Module) -> dict[str, ast.expr]:
    """Return the marks of a test by name: its own, and those of its file's `pytestmark`."""
    expressions = list(node.decorator_list)
    for statement in module.body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "pytestmark":
            is_list = isinstance(statement.value, ast.List)
            expressions += statement.value.elts if is_list else [statement.value]  # type: ignore[attr-defined]
    marks = {}
    for expression in expressions:
        callee = expression.func if isinstance(expression, ast.Call) else expression
        text = ast.unparse(callee)
        if text.startswith("pytest.mark."):
            marks[text.removeprefix("pytest.mark.")] = expression
    return marks


def get_level(marks: dict[str, ast.expr]) -> str:
    """Return the level at which a test with these marks runs first."""
    return "night" if "night" in marks else "long" if "long" in marks else "short"


def _read_stories(path: Path) -> Iterator[Story]:
    source = path.read_text(encoding="utf-8")
    if "mark.story(" not in source and "mark.refusal(" not in source:
        return
    module = ast.parse(source)
    for node in module.body:
        if not isinstance(node, ast.FunctionDef):
            continue
        marks = list_marks(node, module)
        for name in ("story", "refusal"):
            if isinstance(mark := marks.get(name), ast.Call):
                sentence = ast.literal_eval(mark.args[0])
                place = path.relative_to(ROOT / "tests").as_posix()
                yield Story(sentence, name == "refusal", place, node.name, get_level(marks))


if __name__ == "__main__":
    PAGE.write_text(draw_page(list_stories()), encoding="utf-8")
