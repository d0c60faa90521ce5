"""One trial: a message changed, four opinions of it, and whether they agree."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from tests.xmlsec.opinions import changes_document, changes_signature, rules
from tests.xmlsec.opinions.change import CHANGES
from tests.xmlsec.opinions.messages import Message
from tests.xmlsec.opinions.voices import OURS, THEIRS, VOICES, Opinion

__all__ = ["Trial", "changes_document", "changes_signature", "trials"]

COLUMNS = (
    "all valid",
    "all invalid",
    "we refuse, others accept",
    "we accept, others refuse",
    "unexplained",
)

_DRAWS = 500


@dataclass(frozen=True)
class Trial:
    """What was asked and what was said; `explained` holds (our voice, their voice, id of the rule)."""

    number: int
    change: str
    message: Message
    opinions: Mapping[str, Opinion]
    explained: tuple[tuple[str, str, str | None], ...]

    @property
    def column(self) -> str:
        """Where the trial belongs in the table."""
        said = {one.accepted for one in self.opinions.values()}
        if any(rule is None for *_, rule in self.explained):
            return "unexplained"
        if len(said) == 1:
            return "all valid" if said.pop() else "all invalid"
        ours = [self.opinions[name].accepted for name in OURS if name in self.opinions]
        return "we accept, others refuse" if all(ours) else "we refuse, others accept"


def trials(seeds: Sequence[Message], count: int, seed: int) -> Iterator[Trial]:
    """Yield so many trials: changes in turn, each on a message drawn for it."""
    random = Random(seed)
    names = sorted(CHANGES)
    for number in range(count):
        name = names[number % len(names)]
        drawn = (CHANGES[name](random, random.choice(seeds)) for _ in range(_DRAWS))
        changed = next((one for one in drawn if one is not None), None)
        if changed is None:
            raise ValueError(f"no message at hand has anything for '{name}'")
        yield trial(number, name, changed)


def trial(number: int, name: str, changed: Message) -> Trial:
    """Ask everybody and look for the rule that explains each disagreement."""
    asked = {voice: ask(changed) for voice, ask in VOICES.items()}
    opinions = {voice: opinion for voice, opinion in asked.items() if opinion is not None}
    explained = [
        (ours, theirs, rules.explain(changed, ours, theirs, opinions))
        for ours in OURS
        for theirs in THEIRS
        if ours in opinions and opinions[ours].accepted != opinions[theirs].accepted
    ]
    if "profile" in opinions and opinions["profile"].accepted and not opinions["any"].accepted:
        explained.append(("profile", "any", None))
    return Trial(number, name, changed, opinions, tuple(explained))
