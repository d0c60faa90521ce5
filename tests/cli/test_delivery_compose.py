"""``gateway delivery compose``: by number and in bulk; what it says, and its exit status."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from gateway.cli import main
from gateway.errors import REFUSED_FOR_GOOD, GatewayError
from tests.flows.craft import reference
from tests.kit.databases import BOTH
from tests.kit.story import Story
from tests.kit.strict_agency import agree, older_template, own_wsdl

Run = Callable[..., tuple[int, str, str]]
SETTINGS = """
[hub]
home = "."
[database]
url = "{url}"
[share]
folders = ["."]
[agency.KPTA]
endpoint = "http://partner.example/KPTA"
wsdl = "kpta-own.wsdl"
wsdl_sha256 = "{sha256}"
[agency.KFDA]
endpoint = "http://partner.example/KFDA"
"""


@pytest.fixture
def story(engine: Engine, tmp_path: Path) -> Story:
    """Return a story with two applications that KPTA has refused, and one that KFDA has."""
    made = Story(engine)
    agree(made, "agency-template.wsdl")
    no = GatewayError(REFUSED_FOR_GOOD, "no")
    made.say("KPTA", no, no)
    made.say("KFDA", no)
    for number in ("R-1", "R-2"):
        made.submit(made.submission(reference(number)))
        made.tick()
    own = own_wsdl(tmp_path, older_template())
    url = engine.url.render_as_string(hide_password=False)
    (tmp_path / "gateway.toml").write_text(SETTINGS.format(url=url, sha256=own.sha256), encoding="utf-8")
    agree(made, own)
    return made


@pytest.fixture
def run(story: Story, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    capsys.readouterr()

    def run(*words: object) -> tuple[int, str, str]:
        status = main(["delivery", "compose", *map(str, words), "--home", str(tmp_path)])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.out + captured.err
        return status, captured.out, captured.err

    return run


def numbers(story: Story, agency: str = "KPTA") -> list[int]:
    return [row.id for row in story.deliveries(destination=agency)]


def states(story: Story, agency: str = "KPTA") -> list[str]:
    return [row.state for row in story.deliveries(destination=agency)]


@pytest.mark.long
@BOTH
@pytest.mark.parametrize("more", [(), ("--current-mappings",)])
def test_one_is_composed_and_queued(story: Story, run: Run, more: tuple[str, ...]) -> None:
    first = numbers(story)[0]
    status, out, err = run(first, *more)
    assert (status, out, err) == (0, f"Composed the calls of 1 delivery anew: {first} QUEUED.\n", "")
    assert states(story) == ["QUEUED", "FAILED"]
    story.tick(days=365)
    assert states(story) == ["DELIVERED", "FAILED"]
    sent = [one for one in story.soap.calls if one.destination == "KPTA"][-1]
    assert dict(sent.body.find("{*}Document").attrib) == {}


@pytest.mark.long
def test_in_bulk_those_of_the_options_are_composed(story: Story, run: Run) -> None:
    first, second = numbers(story)
    status, out, err = run("--agency", "KPTA", "--limit", 1)
    assert (status, err) == (0, f"… 1 more: --after {first}\n")
    assert states(story) == ["QUEUED", "FAILED"]
    status, out, err = run(
        "--agency", "KPTA", "--error", "gw602", "--since", "2026-11-01", "--reason", "May", "--json"
    )
    told: dict[str, Any] = json.loads(out)
    assert (status, told["deliveries"], told["left"]) == (0, [second], {})
    assert told["verb"] == "delivery compose"
    assert states(story) == ["QUEUED", "QUEUED"]
    assert states(story, "KFDA") == ["FAILED", "DELIVERED"]
    assert run("--agency", "KPTA") == (1, "", "no refused call is among these\n")
    assert run("--error", "GW604")[0] == 1


@pytest.mark.long
def test_what_cannot_be_composed_is_named_and_the_rest_goes(story: Story, run: Run) -> None:
    refused = [*numbers(story, "KFDA")[:1], *numbers(story)]
    status, out, err = run("--error", "GW602")
    # By the WSDL of KFDA nothing has changed.
    assert (status, out) == (
        1,
        f"Composed the calls of 2 deliveries anew: {refused[1]} QUEUED, {refused[2]} QUEUED.\n",
    )
    assert err.startswith(f"gateway: delivery {refused[0]} is left as it is: GW705 ")
    assert "agency.KFDA.wsdl" in err
    status, out, err = run(refused[0])
    assert (status, out) == (1, "")
    assert err.startswith("gateway: GW705 the call of delivery "), err


@pytest.mark.long
@pytest.mark.parametrize(
    "words",
    [
        (),
        (1, "--agency", "KPTA"),
        ("--agency", "NOBODY"),
        ("--error", "GW000"),
        ("--agency", "KPTA", "--reason", ""),
    ],
)
def test_misuse_is_told(run: Run, words: tuple[object, ...]) -> None:
    status, out, err = run(*words)
    assert (status, out) == (2, "")
    assert err
