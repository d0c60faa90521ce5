"""The sources that combine: a default, texts put together; and a source with its conversions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from gateway.errors import VALUE_DOES_NOT_FIT
from gateway.harmonize.given.scopes import Scope
from gateway.harmonize.language.choosing import Match, Where, enter, entered, levels
from gateway.harmonize.language.simple import Const, Taken
from gateway.harmonize.language.steps import Convert, Step, Via
from gateway.harmonize.language.values import MisfitError, Source, Value
from gateway.harmonize.terms.asks import Ask
from gateway.harmonize.terms.dictionary import Meaning
from gateway.harmonize.terms.marks import Mark
from gateway.harmonize.terms.shapes import Shape

__all__ = [
    "Concat",
    "Converted",
    "Default",
    "Match",
    "Where",
    "enter",
    "entered",
    "levels",
    "split_back",
]

_SHOWN: Final = 60


@dataclass(frozen=True, slots=True)
class Default:
    """What a source gives, and a constant where it gives nothing: reads back as "absent or that"."""

    source: Taken | Where
    text: str
    loss = "residue"

    def values(self, scope: Scope, rule: Mark) -> list[Value]:
        """Return the values of the source, or the constant."""
        return self.source.values(scope, rule) or [Value(self.text, (), "const", ("default",))]

    def shape(self) -> Shape:
        """Return the form of the value: the constant has that of the source."""
        return self.source.shape()

    def always(self) -> bool:
        """Return whether there is always a value: yes."""
        return True

    def forwards(self) -> Iterator[Ask | Meaning]:
        """Yield what the source forwards."""
        yield from self.source.forwards()

    def reads(self) -> Iterator[Ask | Meaning]:
        """Yield what the source reads."""
        yield from self.source.reads()

    def keys(self) -> Iterator[Ask | Meaning]:
        """Yield what chooses the value."""
        yield from self.source.keys() if isinstance(self.source, Where) else ()

    def carries(self) -> Ask | Meaning | None:
        """Return nothing: the constant has no attribute."""
        return None

    def undo(self, text: str) -> str | None:
        """Return the value; the constant is what was absent, or given as that."""
        return self.source.undo(text)


@dataclass(frozen=True, slots=True)
class Concat:
    """Texts put together by a separator that none of them holds, so that they can be taken apart again.

    A part without a value is an empty piece; where only constants would stand there is no value.
    """

    parts: tuple[Converted, ...]
    separator: str

    @property
    def loss(self) -> str:
        """Return what is lost: the worst of the parts."""
        order = ("exact", "residue", "lossy")
        return max((part.loss for part in self.parts), key=order.index)

    def values(self, scope: Scope, rule: Mark) -> list[Value]:
        """Return the text; raises `MisfitError` where a part cannot be told from its neighbours."""
        found, misfit = self._collect(scope, rule)
        leaves = tuple(leaf for value in found if value is not None for leaf in value.leaves)
        if misfit is not None:
            raise MisfitError(misfit.problem, misfit.detail, (*misfit.leaves, *leaves))
        if all(
            value is None or isinstance(part.source, Const)
            for part, value in zip(self.parts, found, strict=True)
        ):
            return []
        pieces = [value.text if value is not None else "" for value in found]
        text = self.separator.join(pieces)
        if text.split(self.separator) != pieces:
            raise self._refusal([value for value in found if value is not None], leaves)
        given = [value for value in found if value is not None]
        notes = tuple(note for value in given for note in value.transforms)
        return [Value(text, leaves, " + ".join(value.origin for value in given), (*notes, "concat"))]

    def _collect(self, scope: Scope, rule: Mark) -> tuple[list[Value | None], MisfitError | None]:
        """Return the value of each part, and the first refusal of one; the others are read all the same."""
        found: list[Value | None] = []
        first: MisfitError | None = None
        for part in self.parts:
            try:
                found.append(next(iter(part.values(scope, rule)), None))
            except MisfitError as misfit:
                found.append(None)
                first = first or misfit
        return found, first

    def _refusal(self, given: list[Value], leaves: tuple[int, ...]) -> MisfitError:
        held = [value for value in given if self.separator in value.text]
        culprit = (held or [value for value in given if value.leaves])[0]
        detail = f"{culprit.text[:_SHOWN]!r} cannot be told apart by {self.separator!r}"
        return MisfitError(VALUE_DOES_NOT_FIT, detail, (*culprit.leaves, *leaves))

    def apart(self, text: str) -> tuple[str | None, ...] | None:
        """Return the parts of a text, each read back: empty where there was none, None where it cannot be.

        None for a text that this line does not write.
        """
        pieces = split_back(text, self.separator, len(self.parts))
        if pieces is None:
            return None
        return tuple(
            part.undo(piece) if piece else "" for part, piece in zip(self.parts, pieces, strict=True)
        )

    def shape(self) -> Shape:
        """Return the form of the text: as long as all parts together."""
        sizes = [part.shape().most() for part in self.parts]
        known = [size for size in sizes if size is not None]
        total = sum(known) + len(self.separator) * (len(self.parts) - 1)
        return Shape("text", longest=total if len(known) == len(sizes) else None)

    def always(self) -> bool:
        """Return whether there is always a text: where a part that is no constant always has one."""
        return any(part.always() and not isinstance(part.source, Const) for part in self.parts)

    def forwards(self) -> Iterator[Ask | Meaning]:
        """Yield what the parts forward."""
        for part in self.parts:
            yield from part.forwards()

    def reads(self) -> Iterator[Ask | Meaning]:
        """Yield what the parts read, that which they forward first."""
        yield from self.forwards()
        yield from self.keys()

    def keys(self) -> Iterator[Ask | Meaning]:
        """Yield what only chooses the value of a part, and is none of the parts itself."""
        forwarded = list(self.forwards())
        for part in self.parts:
            yield from (one for one in part.reads() if one not in forwarded)

    def carries(self) -> Ask | Meaning | None:
        """Return nothing: a text of several has no attribute."""
        return None

    def undo(self, _text: str) -> str | None:
        """Return nothing: there are several values (see `apart`)."""
        return None


def split_back(text: str, separator: str, count: int) -> list[str] | None:
    """Return the `count` pieces that were put together by `separator`, None where there are not so many."""
    pieces = text.split(separator)
    return pieces if len(pieces) == count else None


@dataclass(frozen=True, slots=True)
class Converted:
    """A source with its conversions, in order."""

    source: Source
    steps: tuple[Step, ...]

    @property
    def loss(self) -> str:
        """Return what is lost: the worst of the source and the steps."""
        order = ("exact", "residue", "lossy")
        return max((self.source.loss, *(step.loss for step in self.steps)), key=order.index)

    @property
    def unit(self) -> str | None:
        """Return the unit that all values are converted to, None where they keep theirs."""
        return next((step.to for step in self.steps if isinstance(step, Convert)), None)

    def values(self, scope: Scope, rule: Mark) -> Iterable[Value]:
        """Return the converted values; raises `MisfitError` where one cannot be converted."""
        return self._converted(scope, rule) if self.steps else self.source.values(scope, rule)

    def _converted(self, scope: Scope, rule: Mark) -> Iterator[Value]:
        beside = self.beside(scope, rule)
        for value in self.source.values(scope, rule):
            if self.unit is not None and value.measured is not None:
                scope.trace.note(value.measured[1], "consumed", rule)
            result = self._convert(value, beside)
            if result is not None:
                yield result

    def beside(self, scope: Scope, rule: Mark) -> str:
        """Return the value that a translation needs beside the code, noted as read; else an empty text."""
        for step in self.steps:
            if isinstance(step, Via) and step.beside is not None:
                found = scope.read(step.beside, rule)
                return found[0].text.strip() if len(found) == 1 else ""
        return ""

    def _convert(self, value: Value, beside: str) -> Value | None:
        result: Value | None = value
        try:
            for step in self.steps:
                result = step.apply(result, beside) if result is not None else None
        except MisfitError as misfit:
            leaves = tuple(dict.fromkeys((*misfit.leaves, *value.leaves)))
            raise MisfitError(misfit.problem, misfit.detail, leaves) from None
        return result

    def undo(self, text: str) -> str | None:
        """Return the value of the source that was written as `text`; None where it cannot be read back."""
        result: str | None = text
        for step in reversed(self.steps):
            result = step.undo(result) if result is not None else None
        return self.source.undo(result) if result is not None else None

    def shape(self) -> Shape:
        """Return the form of the values."""
        shape = self.source.shape()
        for step in self.steps:
            shape = step.shape()
        return shape

    def always(self) -> bool:
        """Return whether there is always a value."""
        return self.source.always() and not any(isinstance(step, Via) and step.omit for step in self.steps)

    def forwards(self) -> Iterator[Ask | Meaning]:
        """Yield the fields and meanings whose values reach the target."""
        yield from self.source.forwards()

    def reads(self) -> Iterator[Ask | Meaning]:
        """Yield every field and meaning that can change the outcome, those forwarded first."""
        yield from self.source.reads()
        for step in self.steps:
            yield from step.reads()

    def carries(self) -> Ask | Meaning | None:
        """Return the field or meaning whose attribute the value carries."""
        return self.source.carries()
