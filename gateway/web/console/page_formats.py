"""Values on pages and in CSV: times, amounts, numbers from forms."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import cache
from gettext import NullTranslations
from http import HTTPStatus
from importlib.resources import files
from io import BytesIO
from typing import Any, Final
from urllib.parse import quote
from zoneinfo import ZoneInfo

from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.support import Translations
from flask import Response, abort, g, request
from jinja2 import Environment
from markupsafe import Markup
from werkzeug.datastructures import LanguageAccept

from gateway.harmonize import MappingBundle
from gateway.message_model import Body
from gateway.web.case_bundle import make_body_response
from gateway.wire import convert_to_zone, normalize_text, parse_iso_datetime

_LONGEST_NUMBER: Final = 40
#: Years outside of these have no meaning here.
_FIRST_YEAR, _LAST_YEAR = 1971, 2998
_QUANTITY: Final = re.compile(r"[0-9]{1,40}(\.[0-9]{1,40})?")
_GROUPED: Final = re.compile(r"[1-9][0-9]{0,2}(,[0-9]{3}){1,13}(\.[0-9]{1,40})?")


def join_thousands(text: str) -> str:
    """Return a number without the commas that group its thousands; any other text as it is.

    A comma elsewhere may be meant as the decimal sign: 0,5 is not 5, so such a text stays, and is no number.
    """
    return text.replace(",", "") if _GROUPED.fullmatch(text) else text


def read_quantity(text: str) -> Decimal | None:
    """Return a decimal number without sign and exponent; None for any other text."""
    return Decimal(text) if _QUANTITY.fullmatch(text) else None  # bounded: by the pattern


def read_day(text: str) -> date | None:
    """Return a day of ISO 8601 from 1971 to 2998; None for any other text."""
    moment = _read_iso(text)
    return None if moment is None else moment.date()


def read_moment(text: str, zone: ZoneInfo) -> datetime | None:
    """Return a time of ISO 8601 from 1971 to 2998, in the zone where it names none; None for other text."""
    moment = _read_iso(text)
    if moment is None:
        return None
    return moment.replace(tzinfo=zone) if moment.tzinfo is None else moment


def _read_iso(text: str) -> datetime | None:
    """Return the time of ISO 8601 in a short text, from 1971 to 2998, without adding a zone; else None."""
    if len(text) > _LONGEST_NUMBER:
        return None
    try:
        moment = parse_iso_datetime(text)
    except ValueError:
        return None
    return moment if _FIRST_YEAR <= moment.year <= _LAST_YEAR else None


#: A time as documents write it.
_INSTANT: Final = re.compile(r"[0-9]{4}-[0-9-]{4,5}T[0-9:]{5,8}(\.[0-9]{1,6})?Z", re.ASCII)


def add_page_formats(environment: Environment, time_zone: str) -> None:
    """Add the filters `time`, `age`, `octets` and `segment` (one step of a path) to the templates."""
    zone = ZoneInfo(time_zone)
    environment.filters["time"] = lambda value: format_time(value, zone)
    environment.filters["age"] = format_age
    environment.filters["local"] = lambda value: format_written_time(value, zone)
    environment.filters["octets"] = _format_octets
    environment.filters["segment"] = lambda value: quote(str(value), safe="")


def format_time(value: datetime | None, zone: ZoneInfo) -> Markup:
    """Return a `time` element with the time in the zone, to the minute, with its offset."""
    if value is None:
        return Markup("")
    local = convert_to_zone(value, zone)
    text = f"{local.isoformat(' ', 'minutes')[:16]} {local:%Z}"
    element = Markup('<time datetime="{}">{}</time>')
    return element.format(local.isoformat(timespec="seconds"), text)


def format_written_time(text: str, zone: ZoneInfo) -> str:
    """Return a time of a document (UTC) in the zone, beside its original text; any other text unchanged."""
    if not _INSTANT.fullmatch(text):
        return text
    try:
        moment = datetime.fromisoformat(text)  # bounded: by a pattern
    except ValueError:
        return text
    return Markup('{} <span class="hint">{}</span>').format(format_time(moment, zone), text)


def format_age(value: timedelta | None) -> str:
    """Return a span of time in its two largest units, for example ``2 d 3 h``."""
    if value is None:
        return ""
    seconds = max(int(value.total_seconds()), 0)  # bounded: seconds of our own
    parts = []
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        number, seconds = divmod(seconds, size)
        if number:
            parts.append(f"{number} {unit}")
    return " ".join(parts[:2]) or "0 s"


def _format_octets(value: int) -> str:
    for unit, size in (("GiB", 1024**3), ("MiB", 1024**2), ("KiB", 1024)):
        if value >= size:
            return f"{value / size:.1f} {unit}"
    return f"{value} octets"


#: The languages, each with its own name.
LANGUAGES: Final = {"en": "English", "ko": "한국어"}


def choose_language(cookies: Mapping[str, str], accepted: LanguageAccept, fallback: str) -> str:
    """Return the language of a page: that of the cookie, else the best one that a browser accepts."""
    chosen = cookies.get("language", "")
    if chosen in LANGUAGES:
        return chosen
    return accepted.best_match(list(LANGUAGES), fallback) or fallback


@cache
def get_translations(language: str) -> NullTranslations:
    """Return the translations of a language; an unknown one gets the sentences of the source."""
    if language not in LANGUAGES or language == "en":
        return NullTranslations()
    catalogue = Catalog(locale=language)
    for source in (files(__package__) / "translations" / language).iterdir():
        with source.open("rb") as stream:
            for message in read_po(stream, locale=language):
                catalogue[message.id] = message
    compiled = BytesIO()
    write_mo(compiled, catalogue)
    compiled.seek(0)
    return Translations(compiled)


def translate(sentence: str, language: str | None = None) -> str:
    """Return a sentence in the language of the present request, or in that of another person."""
    return get_translations(language or g.language).gettext(sentence)


def translate_word(word: str) -> str:
    """Return a word of a table in the language of the request: a role, a state, a text of the catalogue.

    Such words are not literals of the pages; tests list them from their tables. One without a translation
    stays as it is.
    """
    return get_translations(g.language).gettext(word) if word else ""


def show_word(word: str | None) -> str:
    """Return the element that shows a word of a table: marked as English where it has no translation."""
    text = translate_word(word or "")
    if text == word and g.language != "en":
        return Markup('<span lang="en">{}</span>').format(text)
    return text


def choose_label(labelled: Any) -> str:
    """Return the label of a field, a document or an agency in the language of the request."""
    return str(labelled.ko if g.language == "ko" else labelled.en)


def name_agency(bundle: MappingBundle, code: str) -> str:
    """Return the name of an agency in the language of the page; the code where the mappings have none."""
    agency = bundle.organisations.get(code)
    return code if agency is None else choose_label(agency) or code


def name_document(bundle: MappingBundle, document: str) -> str:
    """Return the name of a document in the language of the page; its id where the mappings have none."""
    mapping = bundle.documents.get(document)
    return document if mapping is None else choose_label(mapping) or document


_USUAL_DAYS: Final = 30
_MOST_DAYS: Final = 366


def read_day_range(today: date) -> tuple[date, date] | None:
    """Return the first and the last day: at most a year, up to today; None in the wrong order.

    Where the URL names no day, or none that is one, they are the last 30.
    """
    until = min(_read_day("until", today), today)
    since = _read_day("since", until - timedelta(days=_USUAL_DAYS - 1))
    if since > until:
        return None
    return max(since, until - timedelta(days=_MOST_DAYS - 1)), until


def _read_day(name: str, default_day: date) -> date:
    return read_day(request.args.get(name, "")) or default_day


_LONGEST: Final = 200


def read_search_text(name: str) -> str:
    """Return a parameter of the URL in NFC, without spaces around it; answers 400 if it is too long.

    Stored texts are in NFC, too. A parameter that was shortened would find too much.
    """
    text = normalize_text(request.args.get(name, "").strip())
    if len(text) > _LONGEST:
        abort(HTTPStatus.BAD_REQUEST, "A text to search for has at most 200 characters.")
    return text


#: Rows of one CSV answer; a longer list goes on with `after=`, as the page does.
LARGEST_CSV: Final = 10_000

#: Where a cell begins, in the cell itself or behind what some spreadsheet takes for its end, and white space
#: and quotation marks up to the sign of a formula. The wide signs are what Korean and Japanese spreadsheets
#: take for the same. Only the beginning of a run is tried, so the time grows with the length alone.
_FORMULA: Final = re.compile(r"(?<![\s;\"'])([\s;\"']*+)(?=[=+\-@\uff1d\uff0b\uff0d\uff20])")
#: Ends of cells and rows for some spreadsheet, inside a quoted cell, too. A comma is none: where it parts
#: cells, quotation marks count.
_END: Final = re.compile(r"[;\t\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")
_HIDING: Final = ("\t", "\r", "\n")
_QUOTED: Final = re.compile(r"[,;\"\x00-\x1f\x85\u2028\u2029]")
#: Byte order mark: without it spreadsheets take UTF-8 for the code page of the machine.
_MARK: Final = "\ufeff"


def escape_cell(value: Any) -> str:
    """Return a value as the text of a cell; None is empty, times are ISO 8601."""
    if value is None:
        return ""
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    text = _FORMULA.sub(_disarm_formula, str(value))
    return "'" + text if text.startswith(_HIDING) else text


def _disarm_formula(formula_match: re.Match[str]) -> str:
    """Return the text before the formula sign, with an apostrophe added if the sign begins a cell."""
    before = formula_match[1]
    ends = [end.end() for end in _END.finditer(before)]
    cell_start = ends[-1] if ends else 0
    begins = bool(ends) or formula_match.start() == 0
    return f"{before[:cell_start]}'{before[cell_start:]}" if begins else before


def answer_csv(name: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Response:
    """Return the rows as an attachment called ``NAME.csv``; the first line has the names of the columns."""
    text = _MARK + _write_row(columns) + "".join(map(_write_row, rows))
    answer = Response(text.encode(), content_type="text/csv; charset=utf-8; header=present")
    answer.headers.set("Content-Disposition", "attachment", filename=f"{name}.csv")
    return answer


def answer_row_csv(name: str, columns: Sequence[str], rows: Iterable[Mapping[Any, Any]]) -> Response:
    """Return these columns of the rows as `answer_csv` does."""
    return answer_csv(name, columns, ([row[column] for column in columns] for row in rows))


def is_csv_wanted() -> bool:
    """Return whether the URL asks for the list as CSV."""
    return request.args.get("format") == "csv"


def _write_row(values: Sequence[Any]) -> str:
    # The module of Python quotes a cell for one separator only.
    return ",".join(map(_write_cell, values)) + "\r\n"


def _write_cell(value: Any) -> str:
    text = escape_cell(value)
    return '"' + text.replace('"', '""') + '"' if _QUOTED.search(text) else text


#: The media type of every download: the type that the sender states is not used.
_TYPE: Final = "application/octet-stream"
_POLICY: Final = "sandbox; default-src 'none'"


def make_download(name: str, octets: bytes | Body) -> Response:
    """Return octets as an attachment with this name, which must be safe in a file system.

    The octets of a `Body` are read while they are sent.
    """
    answer = (
        Response(octets, content_type=_TYPE)
        if isinstance(octets, bytes)
        else make_body_response(octets, _TYPE)
    )
    answer.headers.set("Content-Disposition", "attachment", filename=name)
    answer.headers["Content-Security-Policy"] = _POLICY
    answer.headers["X-Content-Type-Options"] = "nosniff"
    return answer
