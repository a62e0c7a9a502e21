"""Makes the page about the two state machines from the code that runs them."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from functools import partial
from typing import get_args

from openjd.sessions._core import action_events as events
from openjd.sessions._core.lifecycle import TRANSITIONS, ActionMachine, Phase
from openjd.sessions._types import SessionState

NODE_WIDTH, NODE_HEIGHT, GAP = 120, 34, 46

SAMPLES = {"reason": "reason", "code": 0}


def sample(kind: type) -> events.ActionEvent:
    """An event of this kind, made with nothing but what it requires."""
    return kind(**{field.name: SAMPLES[field.name] for field in fields(kind) if field.default is MISSING})


EVENTS = [sample(kind) for kind in get_args(events.ActionEvent)]


@dataclass(frozen=True)
class Edge:
    source: str
    label: str
    target: str


def session_edges() -> Iterator[Edge]:
    for (state, call), target in TRANSITIONS.items():
        yield Edge(state.name, call.value, target.name)
    yield Edge(SessionState.RUNNING.name, "succeeded (ending-only)", SessionState.READY_ENDING.name)


AT_THE_START = (events.Started, events.StartFailed, events.NothingToRun)


def can_happen(phase: Phase, event: events.ActionEvent) -> bool:
    if phase is Phase.PREPARING:
        return isinstance(event, (*AT_THE_START, events.CancelRequested, events.Lost))
    if isinstance(event, events.KillLimitReached):
        return phase is Phase.TERMINATED
    return not isinstance(event, AT_THE_START)


def action_edges() -> list[Edge]:
    """Every change of phase that any order of events can lead to, found by trying them all."""
    found: dict[Edge, None] = {}
    for notify_period in (30.0, None):
        machine = ActionMachine()
        machine.set_limits(notify_period=notify_period, time_limit=None)
        waiting, seen = [machine], set()
        while waiting:
            machine = waiting.pop()
            for event in filter(partial(can_happen, machine.phase), EVENTS):
                after = copy.copy(machine)
                after.handle(event, 1000.0 if isinstance(event, events.GraceEnded) else 0.0)
                if after.phase is not machine.phase:
                    found[Edge(machine.phase.name, type(event).__name__, after.phase.name)] = None
                if repr(sorted(vars(after).items())) not in seen:
                    seen.add(repr(sorted(vars(after).items())))
                    waiting.append(after)
    order = {phase.name: number for number, phase in enumerate(Phase)}
    return sorted(found, key=lambda edge: (order[edge.source], order[edge.target], edge.label))


def table(edges: Iterable[Edge]) -> str:
    together: dict[tuple[str, str], list[str]] = {}
    for edge in edges:
        together.setdefault((edge.source, edge.target), []).append(f"`{edge.label}`")
    rows = [f"| {source} | {', '.join(labels)} | {target} |" for (source, target), labels in together.items()]
    return "\n".join(["| from | by | to |", "| --- | --- | --- |", *rows])


def drawing(nodes: Sequence[str], edges: Iterable[Edge]) -> str:
    """The nodes in a row; what leads on goes above, what leads back goes below."""
    pairs = dict.fromkeys((edge.source, edge.target) for edge in edges if edge.source != edge.target)
    place = {name: 10 + number * (NODE_WIDTH + GAP) for number, name in enumerate(nodes)}
    middle = 10 + max(place[target] - place[source] for source, target in pairs) // 5
    below = 10 + max(place[source] - place[target] for source, target in pairs) // 5
    parts = [arc(place, source, target, middle) for source, target in pairs]
    for name, x in place.items():
        parts.append(f'<rect x="{x}" y="{middle}" width="{NODE_WIDTH}" height="{NODE_HEIGHT}" rx="8" class="node"/>')
        parts.append(f'<text x="{x + NODE_WIDTH // 2}" y="{middle + 21}">{name}</text>')
    width, height = max(place.values()) + NODE_WIDTH + 10, middle + NODE_HEIGHT + below
    return (
        f'<svg class="states" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">{STYLE}'
        + "".join(parts)
        + "</svg>"
    )


STYLE = (
    "<style>.states text{font:12px sans-serif;text-anchor:middle;fill:currentColor}"
    ".states .node{fill:none;stroke:currentColor}.states path{fill:none;stroke:currentColor;opacity:.6}"
    ".states marker path{fill:currentColor;stroke:none}</style>"
    '<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
    '<path d="M0 0L8 4L0 8z"/></marker>'
)


def arc(place: Mapping[str, int], source: str, target: str, middle: int) -> str:
    onwards = place[target] > place[source]
    bend = abs(place[target] - place[source]) // 4
    edge = middle if onwards else middle + NODE_HEIGHT
    top = edge - bend if onwards else edge + bend
    start, end = place[source] + NODE_WIDTH * 2 // 3, place[target] + NODE_WIDTH // 3
    if not onwards:
        start, end = place[source] + NODE_WIDTH // 3, place[target] + NODE_WIDTH * 2 // 3
    return f'<path d="M{start} {edge}C{start} {top} {end} {top} {end} {edge}" marker-end="url(#tip)"/>'


def page() -> str:
    session, action = list(session_edges()), action_edges()
    states = [state.name for state in SessionState if state is not SessionState.CANCELING]
    return "\n\n".join(
        [
            "# State machines",
            "Both are drawn from the code that runs them, `_core/lifecycle.py`; the [design page](design.md) says what "
            "they mean.",
            "## Session",
            "What is not in the table raises `InvalidStateError` and changes nothing. *Ending-only* is a Session after "
            "an exit without `keep_session_running`, or after any action that ended other than in SUCCESS.",
            drawing(states, session),
            table(session),
            "## Action",
            "Every change of phase that any order of events can lead to. An event that is not listed for a phase does "
            "not change the phase.",
            drawing([phase.name for phase in Phase], action),
            table(action),
            "",
        ]
    )
