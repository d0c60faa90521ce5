from __future__ import annotations

import pytest
from sqlalchemy import Engine

from tests.kit.console import Browser, Console
from tests.kit.story import Story, unreachable


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
