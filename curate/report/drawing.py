"""Drawings of graphs: where boxes and lines stand when each stage is a column.

A line to a later stage leaves its box to the right and arrives from the left. A line within a stage
runs down beside its column, as in a list of files. Units are those of the SVG (CSS pixels at full size).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from curate.report import wrap
from curate.report.order import Slot, ordered

FONT = 12
_LINE = 15
_BOX_WIDTH = 160
_PAD = 9
_GAP = 12
_WAY_HEIGHT = 8
_LANE = 9
_INSET = 16
_BETWEEN = 26
_HEADER = 30
_MARGIN = 1
_MOST_LINES = 3
_TALL = 640
"""A column that would be taller than this has fewer lines of text in its boxes."""
_CORNER = 5
_HEAD = 6


@dataclass(frozen=True, slots=True)
class Item:
    """What a box stands for: a step, in a column counted from 0.

    `text` is cut to fit, `tooltip` is not. `executes` tells work that is handed on from thought of the
    planner; `target` is the id of the text on the page that the box leads to.
    """

    number: str
    text: str
    tooltip: str
    column: int
    executes: bool
    target: str


@dataclass(frozen=True, slots=True)
class Link:
    """A line from one item to a later one, by their positions. `added` is why, if a check added it."""

    source: int
    target: int
    added: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    """The band behind a stage."""

    x: float
    width: float
    title: str


@dataclass(frozen=True, slots=True)
class Text:
    """A line of text; `y` is its baseline."""

    x: float
    y: float
    text: str


@dataclass(frozen=True, slots=True)
class Box:
    """An item in its place."""

    item: Item
    x: float
    y: float
    width: float
    height: float
    number: Text
    lines: tuple[Text, ...]


@dataclass(frozen=True, slots=True)
class Line:
    """A link in its place: the path, and the arrowhead's."""

    path: str
    head: str
    added: str


@dataclass(frozen=True, slots=True)
class Drawing:
    """A drawing, ready to be written."""

    width: int
    height: int
    columns: tuple[Column, ...]
    boxes: tuple[Box, ...]
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class _Way:
    """Where the lines from an item to items of later columns pass a column."""

    source: int
    column: int
    added: bool


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a slot stands: its left and right edge, and its middle."""

    left: float
    right: float
    y: float


def draw(items: Sequence[Item], links: Iterable[Link], titles: Sequence[str]) -> Drawing:
    """Draws items in columns with `titles`, and the links between them.

    Links lead to the same column or to a later one; those of a column make no circle.
    """
    links = tuple(links)
    within = [link for link in links if items[link.source].column == items[link.target].column]
    inner = frozenset(within)
    routes = {link: _route(link, items) for link in links if link not in inner}
    columns = _columns(items, len(titles), routes.values(), within)
    indent = 16 + FONT * max((wrap.width(item.number) for item in items), default=0.0)
    texts = _texts(columns, items, _BOX_WIDTH - indent - _PAD)
    heights = [_column_height(column, texts) for column in columns]
    tall = max(heights, default=0.0)
    places: dict[Slot, _Place] = {}
    lanes: dict[tuple[int, bool], float] = {}
    bands: list[Column] = []
    x = float(_MARGIN)
    for column, title, height in zip(columns, titles, heights, strict=True):
        used, count = _lanes(column, within)
        left = x + _INSET + count * _LANE
        band = left - x + _BOX_WIDTH + _PAD
        bands.append(Column(x, band, title))
        lanes |= {key: left - _INSET + 4 - lane * _LANE for key, lane in used.items()}
        places |= _stacked(column, texts, left, _HEADER + (tall - height) / 2)
        x += band + _BETWEEN
    lines = [_across(link, route, places) for link, route in routes.items()]
    lines += [_within(link, lanes[link.source, bool(link.added)], places) for link in within]
    return Drawing(
        width=round(max(x - _BETWEEN, 0) + _MARGIN),
        height=round(tall + _HEADER + _GAP),
        columns=tuple(bands),
        boxes=tuple(_box(n, items, places, texts, indent) for n in range(len(items))),
        lines=tuple(lines),
    )


def _columns(
    items: Sequence[Item],
    count: int,
    routes: Collection[Sequence[Slot]],
    within: Iterable[Link],
) -> list[list[Slot]]:
    """What stands in each column, in order: boxes, and the way points of lines that pass."""
    columns: list[dict[Slot, None]] = [{} for _ in range(count)]
    for number, item in enumerate(items):
        columns[item.column][number] = None
    for slot in (slot for route in routes for slot in route):
        if isinstance(slot, _Way):
            columns[slot.column][slot] = None
    across = dict.fromkeys(pair for route in routes for pair in pairwise(route))
    inner = ((link.source, link.target) for link in within)
    return ordered([list(column) for column in columns], across, inner)


def _route(link: Link, items: Sequence[Item]) -> tuple[Slot, ...]:
    passed = range(items[link.source].column + 1, items[link.target].column)
    ways = (_Way(link.source, column, bool(link.added)) for column in passed)
    return (link.source, *ways, link.target)


def _texts(
    columns: Iterable[Sequence[Slot]], items: Sequence[Item], room: float
) -> list[tuple[str, ...]]:
    """The lines of text in each box."""
    texts: list[tuple[str, ...]] = [()] * len(items)
    for column in columns:
        boxes = [slot for slot in column if isinstance(slot, int)]
        for most in range(_MOST_LINES, 0, -1):
            for number in boxes:
                texts[number] = wrap.lines(items[number].text, room / FONT, most)
            if _column_height(column, texts) <= _TALL:
                break
    return texts


def _height(slot: Slot, texts: Sequence[tuple[str, ...]]) -> float:
    return 12 + _LINE * max(len(texts[slot]), 1) if isinstance(slot, int) else _WAY_HEIGHT


def _column_height(column: Sequence[Slot], texts: Sequence[tuple[str, ...]]) -> float:
    return sum(_height(slot, texts) for slot in column) + _GAP * max(len(column) - 1, 0)


def _stacked(
    column: Sequence[Slot], texts: Sequence[tuple[str, ...]], left: float, top: float
) -> dict[Slot, _Place]:
    places: dict[Slot, _Place] = {}
    for slot in column:
        height = _height(slot, texts)
        places[slot] = _Place(left, left + _BOX_WIDTH, top + height / 2)
        top += height + _GAP
    return places


def _lanes(
    column: Sequence[Slot], within: Sequence[Link]
) -> tuple[dict[tuple[int, bool], int], int]:
    """The lane, counted from the boxes outwards, of the lines from each box within a column."""
    at = {slot: n for n, slot in enumerate(column)}
    spans: dict[tuple[int, bool], tuple[int, int]] = {}
    for link in within:
        if link.source in at:
            key = (link.source, bool(link.added))
            low, high = spans.get(key, (at[link.source], at[link.source]))
            spans[key] = (low, max(high, at[link.target]))
    taken: list[list[tuple[int, int]]] = []
    lanes: dict[tuple[int, bool], int] = {}
    for key, (low, high) in sorted(spans.items(), key=lambda span: (span[1][1] - span[1][0], span)):
        lane = next((n for n, held in enumerate(taken) if _free(held, low, high)), len(taken))
        if lane == len(taken):
            taken.append([])
        taken[lane].append((low, high))
        lanes[key] = lane
    return lanes, len(taken)


def _free(held: Iterable[tuple[int, int]], low: int, high: int) -> bool:
    return all(high < first or last < low for first, last in held)


def _box(
    number: int,
    items: Sequence[Item],
    places: Mapping[Slot, _Place],
    texts: Sequence[tuple[str, ...]],
    indent: float,
) -> Box:
    place, height = places[number], _height(number, texts)
    top = place.y - height / 2
    first = top + 6 + FONT - 1
    shown = tuple(
        Text(place.left + indent, first + n * _LINE, line) for n, line in enumerate(texts[number])
    )
    label = Text(place.left + indent - 5, first, items[number].number)
    return Box(items[number], place.left, top, _BOX_WIDTH, height, label, shown)


def _across(link: Link, route: Sequence[Slot], places: Mapping[Slot, _Place]) -> Line:
    """A line to a later column, straight along its way points and curved between columns."""
    start = places[route[0]]
    path = f"M{start.right:.1f} {start.y:.1f}"
    x, y = start.right, start.y
    for slot in route[1:]:
        place = places[slot]
        end = place.left - (0 if isinstance(slot, _Way) else _HEAD)
        middle = (x + end) / 2
        path += f"C{middle:.1f} {y:.1f} {middle:.1f} {place.y:.1f} {end:.1f} {place.y:.1f}"
        x, y = end, place.y
        if isinstance(slot, _Way):
            path += f"H{place.right:.1f}"
            x = place.right
    return Line(path, _head(places[route[-1]]), link.added)


def _within(link: Link, lane: float, places: Mapping[Slot, _Place]) -> Line:
    """A line down beside its column."""
    start, end = places[link.source], places[link.target]
    path = (
        f"M{start.left:.1f} {start.y:.1f}H{lane + _CORNER:.1f}"
        f"Q{lane:.1f} {start.y:.1f} {lane:.1f} {start.y + _CORNER:.1f}"
        f"V{end.y - _CORNER:.1f}Q{lane:.1f} {end.y:.1f} {lane + _CORNER:.1f} {end.y:.1f}"
        f"H{end.left - _HEAD:.1f}"
    )
    return Line(path, _head(end), link.added)


def _head(place: _Place) -> str:
    x, y = place.left, place.y
    return f"M{x:.1f} {y:.1f}l-{_HEAD + 1} -3.5v7z"
