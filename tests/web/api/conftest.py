"""The API over a story. Most tests need one kind of database; those marked `BOTH` run on both."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from gateway.store import make_engine
from tests.kit.api import Api, Client
from tests.kit.story import Story


@pytest.fixture
def kind(request: pytest.FixtureRequest) -> str:
    return str(getattr(request, "param", "sqlite"))


@pytest.fixture
def engine(kind: str, request: pytest.FixtureRequest) -> Iterator[Engine]:
    made = make_engine(request.getfixturevalue(f"{kind}_url"))
    yield made
    made.dispose()


@pytest.fixture
def story(engine: Engine) -> Story:
    return Story(engine, customs=False)


@pytest.fixture
def api(story: Story) -> Api:
    return Api(story.house.hub)


@pytest.fixture
def broker(api: Api) -> Client:
    return api.client("broker1")
