"""Isolates texts of others on a page, so that their writing direction turns nothing beside them around.

A right-to-left letter, or a character that changes the direction, rearranges the other texts in the same
line: a number, a state, another name. HTML isolates a text by the element `bdi`. A template does not know
which characters a value contains, nor whether the value stands in a text or in an attribute. So a value with
such a character is marked when it is written, and the marks become elements when the page is complete.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, Final

from jinja2 import Environment, pass_context
from jinja2.runtime import Context
from werkzeug.wrappers import Response

#: The marks: characters that Unicode keeps free for the inside of a program.
_BEGIN: Final = "\ufdd0"
_END: Final = "\ufdd1"
#: Letters that are written from right to left, and the characters that change or mark a direction.
_TURNING: Final = re.compile(
    "[\u0590-\u08ff\u200e\u200f\u202a-\u202e\u2066-\u2069\ufb1d-\ufdcf\ufdf0-\ufdff\ufe70-\ufefe\ufdd0\ufdd1"
    "\U00010800-\U00010fff\U0001e800-\U0001efff]"
)
#: The places where no element may be written: inside these elements, and inside a tag. It would be text
#: there, or would end the element or tag.
_PLAIN: Final = r"<(title|textarea|option|script|style|svg)\b.*?</\1\s*>|<[^>]*>"
_PIECE: Final = re.compile(f"{_PLAIN}|[{_BEGIN}{_END}]", re.DOTALL)
_MARKS: Final = re.compile(f"[{_BEGIN}{_END}]")
_ELEMENTS: Final = {_BEGIN: "<bdi>", _END: "</bdi>"}


def isolate_texts(environment: Environment) -> None:
    """Let the templates of an environment mark each value that may turn the texts beside it."""
    environment.finalize = _mark_value
    for name in ("gettext", "ngettext"):
        translate: Any = environment.globals[name]
        environment.globals[name] = _mark_variables(translate)


def write_isolated_texts(response: Response) -> Response:
    """Write the elements into a page; anything else stays as it is.

    Where a text that turns has no marks, since it was joined with others, the whole of it is isolated.
    """
    if response.mimetype == "text/html" and not response.direct_passthrough:
        page = response.get_data(as_text=True)
        if _TURNING.search(page) is not None:
            response.set_data("".join(_write_pieces(page)))
    return response


def _write_pieces(page: str) -> Iterator[str]:
    """Yield the page in pieces: marks become `bdi` elements; unmarked right-to-left texts get one, too."""
    is_marked, end = False, 0
    for piece in _PIECE.finditer(page):
        yield _isolate_text(page[end : piece.start()], is_marked)
        is_marked = piece[0] == _BEGIN if piece[0] in _ELEMENTS else is_marked
        yield _ELEMENTS.get(piece[0]) or _MARKS.sub("", piece[0])
        end = piece.end()
    yield _isolate_text(page[end:], is_marked)


def _isolate_text(text: str, is_marked: bool) -> str:
    return text if is_marked or _TURNING.search(text) is None else f"<bdi>{text}</bdi>"


def _mark_value(value: Any) -> Any:
    """Return a value for the page: a text with right-to-left characters between marks, all else unchanged."""
    if not isinstance(value, str) or value.isascii() or hasattr(value, "__html__"):
        return value
    if _TURNING.search(value) is None:
        return value
    # Marks of its own would end the isolation early.
    return _BEGIN + _MARKS.sub("\ufffd", value) + _END


def _mark_variables(translate: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that translates a sentence, and marks the values that are written into it."""

    @pass_context
    def translate_marked(context: Context, *sentences: Any, **variables: Any) -> Any:
        marked = {name: _mark_value(value) for name, value in variables.items()}
        return translate(context, *sentences, **marked)

    return translate_marked
