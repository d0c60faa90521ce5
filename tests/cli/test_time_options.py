"""Times at the ends of the calendar in options and files: an answer or a refusal, never an internal error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import pytest
from sqlalchemy import Engine

from gateway.cli import main
from gateway.cli.added_verbs import list_verbs
from gateway.cli.list_options import AGE
from gateway.cli.shared_options import DAY, HUB_MOMENT, MOMENT, START, ZONED_MOMENT, read_period
from gateway.cli.verb_groups import Arguments, load_verb
from gateway.operations import keep_display_zone, set_display_zone
from tests.kit.databases import BOTH

#: UTC has them in the years 10000 and 0.
BEYOND = ("9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00")
EDGES = (
    *("0001-01-01", "9999-12-31", "0001-01-01T00:00:00", "9999-12-31T23:59:59", "9999-12-31T23:59:59Z"),
    *(*BEYOND, "999999999w", "0.0000000001s"),
)
TIMES = tuple(type(kind) for kind in (DAY, HUB_MOMENT, MOMENT, START, ZONED_MOMENT, AGE))


def list_time_options() -> Iterator[tuple[str, click.Parameter]]:
    """Yield each verb with each of its options that is a time, a day or an age."""
    for words in list_verbs():
        for option in load_verb(words).params:
            if isinstance(option.type, TIMES) or type(option.type).__name__ == "_Start":
                yield words, option


def test_an_option_takes_it_or_refuses_it() -> None:
    options = list(list_time_options())
    assert len({words for words, _ in options}) > 25
    for words, option in options:
        for text in EDGES:
            with suppress(click.UsageError):
                assert option.type.convert(text, option, None) is not None, words
    for kind in (HUB_MOMENT, MOMENT, ZONED_MOMENT, START):
        for text in BEYOND:
            with pytest.raises(click.UsageError):
                kind.convert(text, None, None)
        taken = kind.convert("9999-12-31T23:59:59Z", None, None)
        assert taken == datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
        odd = kind.convert("2026-08-01T00:00:00+09:00:30", None, None)
        assert isinstance(odd, datetime)
        assert odd.isoformat() == "2026-07-31T14:59:30+00:00"


@pytest.mark.parametrize(
    ("kind", "text"),
    [(DAY, "２０２６-08-01"), (START, "２０２６-08-01"), (START, "2026-W05-1"), (AGE, "３h"), (AGE, "1.５h")],
)
def test_digits_of_another_script_and_weeks_are_no_day_and_no_age(
    kind: click.ParamType[Any], text: str
) -> None:
    with pytest.raises(click.UsageError):
        kind.convert(text, None, None)


@pytest.mark.parametrize(
    ("since", "until", "period"),
    [
        ("2026-11-10T00:00", "2026-11-20T00:00:00", "2026-11-10T00:00:00+09:00 2026-11-20T00:00:00+09:00"),
        (None, "2026-11-20T00:00:00", "2026-10-20T00:00:00+09:00 2026-11-20T00:00:00+09:00"),
        (None, "2026-11-20T00:00:00Z", "2026-10-20T00:00:00+00:00 2026-11-20T00:00:00+00:00"),
        (None, "0001-01-05T00:00:00-05:00", "0001-01-01T00:00:00+00:00 0001-01-05T00:00:00-05:00"),
        ("0001-01-01", "9999-12-31", "0001-01-01T00:00:00+00:00 9999-12-31T00:00:00+09:00"),
    ],
)
def test_a_period_is_in_the_zone_in_which_it_is_stated(since: str | None, until: str, period: str) -> None:
    texts = {"since": since, "until": until}
    values = {name: text and HUB_MOMENT.convert(text, None, None) for name, text in texts.items()}
    with keep_display_zone():
        set_display_zone("Asia/Seoul")
        found = read_period(Arguments(**values), datetime(2026, 11, 28, tzinfo=UTC))
    assert " ".join(moment.isoformat() for moment in found) == period


VERBS = (
    *("case list --since TIME", "case list --older 999999999w", "audit list --since TIME"),
    *("queue list --since TIME", "message list --since TIME", "evidence list --since TIME"),
    *("map impact mappings --since TIME", "map impact mappings --until TIME"),
    *("map use mappings --by kim --from TIME", "map list"),
    *("fees reconcile PLACE/empty.csv --from TIME --until 9999-12-31",),
    *("fees reconcile PLACE/empty.csv --from 0001-01-01 --until TIME",),
    *("fees reconcile PLACE/edges.csv", "requirement list"),
)


@BOTH
@pytest.mark.long
@pytest.mark.parametrize("zone", ["America/New_York", pytest.param("Asia/Seoul", marks=pytest.mark.night)])
def test_a_verb_answers_or_refuses(
    engine: Engine, zone: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = engine.url.render_as_string(hide_password=False)
    (tmp_path / "gateway.toml").write_text(
        f'[hub]\nhome = "."\ntime_zone = "{zone}"\n[database]\nurl = "{url}"\n', encoding="utf-8"
    )
    head = "date,kind,reference,order,amount,currency\n"
    paid = "".join(f"{day},payment,P-{day},F-1,30000,KRW\n" for day in ("0001-01-01", "9999-12-31"))
    (tmp_path / "empty.csv").write_text(head, encoding="utf-8")
    (tmp_path / "edges.csv").write_text(head + paid, encoding="utf-8")
    for verb in VERBS:
        for text in EDGES if "TIME" in verb else ("",):
            words = verb.replace("TIME", text).replace("PLACE", str(tmp_path)).split()
            status = main([*words, "--home", str(tmp_path)])
            errors = capsys.readouterr().err
            assert status in (0, 1, 2), (words, errors)
            assert "GW901" not in errors, (words, errors)
            assert status != 2 or "GW808" in errors, (words, errors)
