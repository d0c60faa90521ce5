"""Seeded draws: the same seed gives the same values on every machine and version of Python."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from typing import Final, TypeVar

from gateway.harmonize.types import ValueShape, count_octets

__all__ = ["SeededDraws", "draw_pattern", "draw_text"]

_T = TypeVar("_T")
_WORDS: Final = (
    "Hair",
    "repair",
    "cream",
    "500 mg",
    "no. 7",
    "B.V.",
    "Ltd",
    "seoul",
    "R&D",
    "<new>",
    "it's",
    '"A"',
    "100%",
    "한빛",
    "무역",
    "주식회사",
    "서울",
    "인천항",
    "냉장",
    "보관",
    "원료",
    "튤립",
    "구근",
    "가공식품",
    "성분",
)
_CODE: Final = "ABCDEFGHJKLMNPQRSTUVWXYZ0123456789"
_FIRST_DAY: Final = date(2024, 1, 1)


class SeededDraws:
    """A stream of pseudorandom numbers, derived from a seed by SHA-256."""

    def __init__(self, seed: str) -> None:
        self._numbers = self._generate_numbers(seed)

    @staticmethod
    def _generate_numbers(seed: str) -> Iterator[int]:
        count = 0
        while True:
            block = hashlib.sha256(f"{seed}/{count}".encode()).digest()
            yield from (int.from_bytes(block[start : start + 4], "big") for start in range(0, 32, 4))
            count += 1

    def draw_number(self, low: int, high: int) -> int:
        """Return a number from `low` to `high`."""
        return low + next(self._numbers) % (high - low + 1)

    def draw_chance(self, percent: int) -> bool:
        """Return True in `percent` of all cases."""
        return self.draw_number(1, 100) <= percent

    def choose_one(self, choices: Sequence[_T]) -> _T:
        """Return one of `choices`."""
        return choices[self.draw_number(0, len(choices) - 1)]

    def draw_code(self, length: int, alphabet: str = _CODE) -> str:
        """Return a code of `length` characters."""
        return "".join(self.choose_one(alphabet) for _ in range(length))

    def draw_day(self) -> date:
        """Return a date from 2024-01-01 to 1000 days later."""
        return _FIRST_DAY + timedelta(days=self.draw_number(0, 1000))

    def draw_words(self, longest: int, most_octets: int | None, charset: str) -> str:
        """Return a text of words with at most `longest` characters and `most_octets` octets of `charset`."""
        text = ""
        for _ in range(self.draw_number(1, 6)):
            more = f"{text} {self.choose_one(_WORDS)}".strip()
            size = count_octets(more, charset)
            if len(more) > longest or size is None or (most_octets is not None and size > most_octets):
                break
            text = more
        return text or self.draw_code(min(longest, most_octets or longest, 3))


def draw_text(draws: SeededDraws, shape: ValueShape) -> str:
    """Return a text of `shape`; patterns must be sequences of character classes with counts."""
    if shape.codes is not None:
        return draws.choose_one(shape.codes)
    if shape.kind in ("decimal", "integer"):
        return _draw_number(draws, shape)
    if shape.kind == "boolean":
        return draws.choose_one(("true", "false", "1", "0"))
    if shape.kind in ("date", "day", "moment"):
        return _draw_time(draws, shape.kind)
    if shape.kind == "digits":
        length = shape.longest or 2
        return draws.draw_code(length if shape.exact else draws.draw_number(1, length), "123456789")
    if shape.pattern is not None:
        return draw_pattern(draws, shape.pattern)
    longest = min(shape.longest or 60, 60)
    if shape.exact:
        return draws.draw_code(shape.octets or shape.longest or 1)
    return draws.draw_words(longest, shape.octets, shape.charset)


def _draw_number(draws: SeededDraws, shape: ValueShape) -> str:
    places = min((shape.total or 4) - (shape.fraction or 0), 3)
    high = int(float(shape.high)) if shape.high is not None else 10**places - 1
    low = int(float(shape.low)) if shape.low is not None else 0
    whole = str(draws.draw_number(max(low, 1) if high > 1 else low, max(high - 1, 1)))
    decimals = min(shape.fraction or 0, 4)
    if shape.kind == "integer" or not decimals or draws.draw_chance(50):
        return whole
    return f"{whole}.{draws.draw_code(draws.draw_number(1, decimals), '0123456789')}"


def _draw_time(draws: SeededDraws, kind: str) -> str:
    day = draws.draw_day()
    if kind == "day":
        return f"{day:%Y%m%d}"
    if kind == "date" or draws.draw_chance(30):
        return day.isoformat()
    time = f"{draws.draw_number(0, 23):02d}:{draws.draw_number(0, 59):02d}:00"
    return f"{day.isoformat()}T{time}{draws.choose_one(('Z', '+09:00'))}"


def draw_pattern(draws: SeededDraws, pattern: str) -> str:
    """Return a text of a pattern of classes, characters and choices, each with an optional count."""
    text, position = "", 0
    while position < len(pattern):
        choices: Sequence[str]
        if pattern[position] == "[":
            end = pattern.index("]", position)
            choices = _expand_letters(pattern[position + 1 : end])
            position = end + 1
        elif pattern[position] == "(":
            end = pattern.index(")", position)
            choices = pattern[position + 1 : end].split("|")
            position = end + 1
        else:
            choices = pattern[position]
            position += 1
        low = high = 1
        if position < len(pattern) and pattern[position] == "{":
            end = pattern.index("}", position)
            first, _, last = pattern[position + 1 : end].partition(",")
            low, high = int(first), int(last or first)
            position = end + 1
        text += "".join(draws.choose_one(choices) for _ in range(draws.draw_number(low, high)))
    return text


def _expand_letters(content: str) -> str:
    letters, position = "", 0
    while position < len(content):
        if content[position + 1 : position + 2] == "-" and position + 2 < len(content):
            letters += "".join(
                chr(code) for code in range(ord(content[position]), ord(content[position + 2]) + 1)
            )
            position += 3
        else:
            letters += content[position]
            position += 1
    return letters
