"""Draws a state machine as SVG from its table: a column for each state, a row for each change.

An event that leads from every open state to the same one is one row, from the band of all of them.
Events that leave a state as it is are not drawn; the table beside the picture has them. `draw_machine`
is a pure function of the machine, so a test can compare the stored picture with the drawn one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from gateway.state_machines import StateMachine

__all__ = ["Change", "draw_machine", "list_changes"]

_MARGIN = 24
_COLUMN = 176
_BOX = 160
_TOP = 60
_HEAD = 34
_ROW = 34
_STYLE = """
text{font-family:Helvetica,Arial,sans-serif;fill:#1d2733}
.title{font-size:20px;font-weight:bold}
.state{font-size:12px;font-weight:bold}
.event{font-size:12px;fill:#274f7a}
.open{fill:#f5f9fd;stroke:#274f7a;stroke-width:1.5}
.final{fill:#fdf6e3;stroke:#b58900;stroke-width:1.5}
.life{stroke:#b9cadb;stroke-width:1}
.band{stroke:#8ea2b5;stroke-width:3}
.line{stroke:#274f7a;stroke-width:1.5;fill:none;marker-end:url(#head)}
""".strip()


@dataclass(frozen=True)
class Change:
    """Events that lead from each of some states to another one."""

    sources: tuple[str, ...]
    target: str
    events: tuple[str, ...]


def list_changes(machine: StateMachine) -> list[Change]:
    """Return every change of state: first what leads from all open states to one, then the others."""
    open_states = tuple(state for state in machine.states if state not in machine.final_states)
    common = {
        event: target
        for event, target in (machine.transitions[open_states[0]] if len(open_states) > 2 else {}).items()
        if all(machine.transitions[state].get(event) == target for state in open_states)
    }
    found = [
        Change(open_states, target, tuple(sorted(event for event in common if common[event] == target)))
        for target in dict.fromkeys(common.values())
    ]
    for state, row in machine.transitions.items():
        own = {event: after for event, after in row.items() if after != state}
        if state in open_states:
            own = {event: after for event, after in own.items() if event not in common}
        for target in dict.fromkeys(own.values()):
            events = tuple(sorted(event for event, after in own.items() if after == target))
            found.append(Change((state,), target, events))
    return found


def draw_machine(machine: StateMachine, title: str) -> str:
    """Return the SVG text for a machine."""
    changes = list_changes(machine)
    width = 2 * _MARGIN + _COLUMN * len(machine.states)
    bottom = _TOP + _HEAD + 16 + _ROW * len(changes)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {bottom + _MARGIN}" role="img">',
        f"<title>{escape(title)}</title>",
        f"<style>{_STYLE}</style>",
        '<defs><marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7"'
        ' orient="auto"><path d="M0 0L10 5L0 10z" fill="#274f7a"/></marker></defs>',
        f'<rect width="{width}" height="{bottom + _MARGIN}" fill="#ffffff"/>',
        f'<text class="title" x="{_MARGIN}" y="36">{escape(title)}</text>',
        *_draw_states(machine, bottom),
        *_draw_changes(machine, changes),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _find_middle(machine: StateMachine, state: str) -> int:
    return _MARGIN + _COLUMN * machine.states.index(state) + _COLUMN // 2


def _draw_states(machine: StateMachine, bottom: int) -> Iterator[str]:
    for state in machine.states:
        middle = _find_middle(machine, state)
        kind = "final" if state in machine.final_states else "open"
        yield f'<path class="life" d="M{middle} {_TOP + _HEAD}V{bottom}"/>'
        yield (
            f'<rect class="{kind}" x="{middle - _BOX // 2}" y="{_TOP}" width="{_BOX}" height="{_HEAD}"'
            ' rx="6"/>'
        )
        yield f'<text class="state" x="{middle}" y="{_TOP + 21}" text-anchor="middle">{state}</text>'


def _draw_changes(machine: StateMachine, changes: Sequence[Change]) -> Iterator[str]:
    for number, change in enumerate(changes):
        y = _TOP + _HEAD + 16 + _ROW * number + 18
        ends = sorted(_find_middle(machine, state) for state in change.sources)
        target = _find_middle(machine, change.target)
        start = ends[0]
        if len(ends) > 1:
            yield f'<path class="band" d="M{ends[0]} {y}H{ends[-1]}"/>'
            # Within the band the arrow comes from the state beside the target.
            start = ends[-1] if target > ends[-1] else target - _COLUMN if target > ends[0] else ends[1]
        yield f'<path class="line" d="M{start} {y}H{target}"/>'
        left = min(start, target) + 14
        yield f'<text class="event" x="{left}" y="{y - 5}">{escape(", ".join(change.events))}</text>'
