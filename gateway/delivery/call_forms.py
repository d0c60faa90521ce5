"""Envelopes of calls that differ from one that zeep composed in their values only.

zeep writes a text as it is in most elements, whatever their type. So a form is the envelope that it writes of
a call with a marker for each value. Where a marker is not found in it, a value is not written as it is, and
calls of this shape are always composed by zeep.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any, Final, NamedTuple

from gateway.wire import TextTemplate, fill_template, split_at_values

__all__ = ["CallForms", "PlainValues", "make_form", "may_have_form", "read_plain_values"]

#: Each of these characters is written as it is in a text and in an attribute.
_PLAIN: Final = re.compile(r"[ !#-%'-;=?-~]{1,512}")
#: An earlier year is not written in four digits everywhere.
_FIRST_YEAR: Final = "1000"
#: Forms of one contract, and values of a call: a longer one lists things, and no two lists are alike.
_MOST_FORMS: Final = 64
_MOST_VALUES: Final = 64
#: Contents of a call, and octets of all of them, that are written in base64: more take their time anyway.
_MOST_CONTENTS: Final = 12
_LONGEST_CONTENT: Final = 65_536
_NO_FORM: Final = "not written as it is"


class PlainValues(NamedTuple):
    """The values of a call as they are written, and the names and types that it has besides."""

    shape: object
    texts: list[bytes]


class CallForms:
    """Forms of envelopes by what their calls are but for the values; safe to share between threads."""

    def __init__(self) -> None:
        self._forms: dict[object, TextTemplate | None] = {}

    def is_known(self, shape: object) -> bool:
        """Return whether calls of a shape have been met, whether they have a form or not."""
        return shape in self._forms

    def write_envelope(self, shape: object, values: PlainValues) -> bytes | None:
        """Return the envelope of a call with these values; None where no form is known."""
        form = self._forms.get(shape)
        return None if form is None else fill_template(form, values.texts)

    def add(self, shape: object, form: TextTemplate | None) -> None:
        """Keep the form of calls of a shape; None for those that have none."""
        if len(self._forms) >= _MOST_FORMS:
            self._forms.clear()
        self._forms[shape] = form


def read_plain_values(content: Mapping[str, Any]) -> PlainValues | None:
    """Return the values in nested mappings and lists; None where one is not written as it is."""
    texts: list[bytes] = []
    try:
        found = PlainValues(_read_shape(content, texts), texts)
    except ValueError:
        return None
    return found if len(texts) <= _MOST_VALUES else None


def make_form(
    content: Mapping[str, Any], values: PlainValues, written: bytes, write: Callable[[Any], bytes]
) -> TextTemplate | None:
    """Return the form of an envelope that was `written` of this content; None where it has none.

    `write` writes the envelope of another content of this shape. A value that is not found as it is would
    be written in another way, another time.
    """
    markers = [b"value-%d-of-call" % number for number in range(len(values.texts))]
    form = split_at_values(write(_replace_values(content, iter(markers))), markers)
    complete = set(form.numbers) == set(range(len(markers)))
    return form if complete and fill_template(form, values.texts) == written else None


def _read_shape(value: Any, texts: list[bytes]) -> object:
    """Return the shape of a content, and append its values."""
    kind = type(value)
    if kind is str:  # most values are one
        if not _PLAIN.fullmatch(value):
            raise ValueError(_NO_FORM)
        texts.append(value.encode())
        return kind
    if kind is dict or isinstance(value, Mapping):
        return Mapping, *[(name, _read_shape(one, texts)) for name, one in value.items()]
    if isinstance(value, list):
        return list, *[_read_shape(one, texts) for one in value]
    texts.append(_write_value(value))
    return kind


def may_have_form(contents: Sequence[bytes]) -> bool:
    """Return whether a call with these attached contents is short enough to have a form."""
    return len(contents) <= _MOST_CONTENTS and sum(map(len, contents)) <= _LONGEST_CONTENT


def _replace_values(value: object, texts: Iterator[bytes]) -> object:
    """Return a content of the same shape with other values, all of them texts."""
    if isinstance(value, Mapping):
        return {name: _replace_values(one, texts) for name, one in value.items()}
    if isinstance(value, list):
        return [_replace_values(one, texts) for one in value]
    return next(texts).decode()


def _write_value(value: object) -> bytes:
    """Return a value that is no text as it is written in an element of whatever type; ValueError for others.

    Octets are written in base64, as in the only element that takes them.
    """
    kind = type(value)
    if isinstance(value, bytes) and 0 < len(value) <= _LONGEST_CONTENT:
        return base64.b64encode(value)
    plain = kind in (int, Decimal) or (kind is date and str(value) >= _FIRST_YEAR)
    text = str(value)
    if not plain or not _PLAIN.fullmatch(text) or (kind is Decimal and text != f"{value:f}"):
        raise ValueError(_NO_FORM)
    return text.encode()
