from __future__ import annotations

import pytest
from sqlalchemy import Engine

from tests.kit.console import Browser, Console
from tests.kit.story import Story, unreachable


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """Give one kind of database; what depends on the kind imports the fixture of both."""
    return sqlite_url


@pytest.fixture
def story(engine: Engine) -> Story:
    return Story(engine)


@pytest.fixture
def console(story: Story) -> Console:
    return Console(story.house.hub)


@pytest.fixture
def operator(console: Console) -> Browser:
    """A browser of a person who observes, operates and publishes."""
    console.add_account("kim", ("operator", "operator"), "operator")
    return console.sign_in("kim")


@pytest.fixture
def failed(story: Story) -> int:
    """The call to an agency that has failed for good; return its number."""
    story.say("KPTA", *[unreachable()] * 4)
    story.submit()
    for _ in range(6):
        story.tick(minutes=30)
    return int(story.delivery(destination="KPTA", state="FAILED").id)


@pytest.fixture
def two(story: Story) -> Console:
    """A console on which cancelling and suspending need a second person."""
    console = Console(story.house.hub, console={"second_person": ["queue cancel", "party suspend"]})
    for name, role in (
        ("kim", "supervisor"),
        ("lee", "supervisor"),
        ("han", "operator"),
        ("choi", "supervisor"),
    ):
        console.add_account(name, ("operator", "operator"), role)
    return console
