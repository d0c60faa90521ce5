"""Changes of text in lines (YAML, TOML, tables): lines moved and indented, words of the language."""

from __future__ import annotations

import re
from collections.abc import Sequence
from random import Random

from tests.fuzz.octets import NUMBERS, mutate_octets
from tests.fuzz.target import Mutate

__all__ = ["mutate_files", "mutate_lines", "read_files", "write_files"]

_WORD = re.compile(rb"[A-Za-z_@.]+|\d+|\"[^\"\n]*\"")
_FILE = re.compile(rb"^=== ([^\n]{0,200})\n", re.MULTILINE)
ODD_WORDS = (
    *(
        b"~",
        b"null",
        b"yes",
        b"no",
        b"true",
        b"[]",
        b"{}",
        b"[",
        b"{",
        b"'",
        b'"',
        b"&a",
        b"*a",
        b"!!python/name:os.system",
    ),
    *(
        b"!!binary x",
        b"<<",
        b"? ",
        b"- ",
        b": ",
        b"|",
        b">",
        b"%",
        b"@x",
        b"`",
        b"#",
        b"---",
        b"...",
        b"\t",
        b"0o7",
        b"1:30",
    ),
    *(
        b"2026-11-20",
        b"(a+)+$",
        b"[a-",
        b"(?P<x>",
        b"\\u0000",
        b'"\\u0000"',
        b'"\\ud800"',
        b"x" * 400,
        "가".encode(),
        b"[[]]",
    ),
    *(b"'''", b'"""', b"inf", b"nan", b"=", b"a.b", b"[a]", b"[[a]]", b"\x00", b"\xff"),
)


def write_files(files: Sequence[tuple[str, str]]) -> bytes:
    """Return several files as one text; each begins with a line that names it."""
    return "".join(f"=== {name}\n{text}" for name, text in files).encode()


def read_files(data: bytes) -> dict[str, bytes]:
    pieces = _FILE.split(data)
    names = [name.decode("utf-8", "replace") for name in pieces[1::2]]
    return dict(zip(names, pieces[2::2], strict=True))


def mutate_lines(words: Sequence[bytes] = ()) -> Mutate:
    """Return the mutation of lines; `words` are those of the language, beside those in the text."""

    def mutate(data: bytes, rng: Random) -> bytes:
        for _ in range(rng.choice((1, 1, 1, 2, 4))):
            data = rng.choice(_CHANGES)(data, rng, words)
        return data

    return mutate


def mutate_files(words: Sequence[bytes] = ()) -> Mutate:
    """Return the same for several files in one: one of them is changed, rarely taken away."""
    change = mutate_lines(words)

    def mutate(data: bytes, rng: Random) -> bytes:
        files = read_files(data)
        if not files:
            return mutate_octets(data, rng)
        name = rng.choice(sorted(files))
        if rng.random() < 0.02:
            del files[name]
        else:
            files[name] = change(files[name], rng)
        return b"".join(b"=== %s\n%s" % (one.encode(), text) for one, text in files.items())

    return mutate


def _word(data: bytes, rng: Random, words: Sequence[bytes]) -> bytes:
    """Put another word in the place of one: of the text, of the language, a number or an odd one."""
    found = list(_WORD.finditer(data))
    if not found:
        return rng.choice(ODD_WORDS)
    one, other = rng.choice(found), rng.choice(found)
    new = rng.choice(
        (other[0], other[0], rng.choice(NUMBERS), rng.choice(ODD_WORDS), rng.choice(words or (b"x",)))
    )
    return data[: one.start()] + new + data[one.end() :]


def _lines(data: bytes, rng: Random, _words: Sequence[bytes]) -> bytes:
    """Take lines away, repeat them, or put them elsewhere."""
    lines = data.split(b"\n")
    start = rng.randrange(len(lines))
    block = lines[start : start + rng.choice((1, 1, 2, 8))]
    if rng.random() < 0.6:
        del lines[start : start + len(block)]
    place = rng.randint(0, len(lines))
    if rng.random() < 0.7:
        lines[place:place] = block * rng.choice((1, 1, 3))
    return b"\n".join(lines)


def _indent(data: bytes, rng: Random, _words: Sequence[bytes]) -> bytes:
    lines = data.split(b"\n")
    place = rng.randrange(len(lines))
    lines[place] = (
        lines[place][2:] if lines[place].startswith(b"  ") and rng.random() < 0.5 else b"  " + lines[place]
    )
    return b"\n".join(lines)


def _key(data: bytes, rng: Random, words: Sequence[bytes]) -> bytes:
    """Write a further key of the language into a flow mapping or as a line."""
    places = [place for place, octet in enumerate(data[:65536]) if octet in b"{\n"]
    if not places or not words:
        return data
    place = rng.choice(places)
    new = rng.choice(words) + b": " + rng.choice((*words, *ODD_WORDS, *NUMBERS))
    inside = data[place : place + 1] == b"{"
    return data[: place + 1] + new + (b", " if inside else b"\n") + data[place + 1 :]


def _octets(data: bytes, rng: Random, _words: Sequence[bytes]) -> bytes:
    return mutate_octets(data, rng)


_CHANGES = (_word, _word, _word, _word, _lines, _lines, _indent, _key, _octets)
