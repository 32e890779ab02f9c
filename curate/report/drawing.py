"""Lays out drawings of graphs: the positions of boxes and lines, with one column for each stage.

A line to a later stage leaves its box on the right and arrives from the left. A line within a stage
runs down beside its column, as in a tree of files. Units are those of the SVG (CSS pixels at full
size).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from curate.report import wrap
from curate.report.order import Node, ordered

FONT = 12
_LINE = 15
_BOX_WIDTH = 160
_PAD = 9
_GAP = 12
_WAYPOINT_HEIGHT = 8
_LANE = 9
_INSET = 16
_BETWEEN = 26
_HEADER = 30
_MARGIN = 1
_MOST_LINES = 3
_TALL = 640
"""If a column is taller than this, its boxes get fewer lines of text."""
_CORNER = 5
_HEAD = 6


@dataclass(frozen=True, slots=True)
class Item:
    """The content of a box: one step."""

    number: str
    text: str
    """The label. It is cut to fit into the box."""
    tooltip: str
    """The complete text."""
    column: int
    """The column, counted from 0."""
    executes: bool
    """Whether an executor does the step, and not the planner alone."""
    target: str
    """The id of the element on the page to which the box links."""


@dataclass(frozen=True, slots=True)
class Link:
    """A line from one item to a later one. Both are given by their positions in the list of items."""

    source: int
    target: int
    added: str = ""
    """The reason, if the leak check added the line."""


@dataclass(frozen=True, slots=True)
class Column:
    """The background of a stage, as high as the drawing."""

    x: float
    width: float
    title: str


@dataclass(frozen=True, slots=True)
class Text:
    """A line of text. `y` is its baseline."""

    x: float
    y: float
    text: str


@dataclass(frozen=True, slots=True)
class Box:
    """An item with its position: the upper left corner of its box."""

    item: Item
    x: float
    y: float
    width: float
    height: float
    number: Text
    lines: tuple[Text, ...]


@dataclass(frozen=True, slots=True)
class Line:
    """A link with its position, as SVG paths."""

    path: str
    head: str
    """The arrowhead."""
    added: str
    """The reason, if the leak check added the link."""


@dataclass(frozen=True, slots=True)
class Drawing:
    """A complete drawing, as the template renders it."""

    width: int
    height: int
    columns: tuple[Column, ...]
    boxes: tuple[Box, ...]
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class _Waypoint:
    """The point at which the lines from an item to items of later columns cross a column."""

    source: int
    column: int
    added: bool


@dataclass(frozen=True, slots=True)
class _Position:
    """The position of a node: its left and right edges, and the vertical middle."""

    left: float
    right: float
    y: float


def draw(items: Sequence[Item], links: Iterable[Link], titles: Sequence[str]) -> Drawing:
    """Lays out items in columns with `titles`, and the links between them.

    Links must lead to the same column or to a later one. The links within a column must not form a
    cycle.
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
    positions: dict[Node, _Position] = {}
    lanes: dict[tuple[int, bool], float] = {}
    bands: list[Column] = []
    x = float(_MARGIN)
    for column, title, height in zip(columns, titles, heights, strict=True):
        used, count = _lanes(column, within)
        left = x + _INSET + count * _LANE
        band = left - x + _BOX_WIDTH + _PAD
        bands.append(Column(x, band, title))
        lanes |= {key: left - _INSET + 4 - lane * _LANE for key, lane in used.items()}
        positions |= _stacked(column, texts, left, _HEADER + (tall - height) / 2)
        x += band + _BETWEEN
    lines = [_across(link, route, positions) for link, route in routes.items()]
    lines += [_within(link, lanes[link.source, bool(link.added)], positions) for link in within]
    return Drawing(
        width=round(max(x - _BETWEEN, 0) + _MARGIN),
        height=round(tall + _HEADER + _GAP),
        columns=tuple(bands),
        boxes=tuple(_box(n, items, positions, texts, indent) for n in range(len(items))),
        lines=tuple(lines),
    )


def _columns(
    items: Sequence[Item],
    count: int,
    routes: Collection[Sequence[Node]],
    within: Iterable[Link],
) -> list[list[Node]]:
    """Returns the ordered nodes of each column: boxes, and the waypoints of lines that cross it."""
    columns: list[dict[Node, None]] = [{} for _ in range(count)]
    for number, item in enumerate(items):
        columns[item.column][number] = None
    for node in (node for route in routes for node in route):
        if isinstance(node, _Waypoint):
            columns[node.column][node] = None
    across = dict.fromkeys(pair for route in routes for pair in pairwise(route))
    inner = ((link.source, link.target) for link in within)
    return ordered([list(column) for column in columns], across, inner)


def _route(link: Link, items: Sequence[Item]) -> tuple[Node, ...]:
    passed = range(items[link.source].column + 1, items[link.target].column)
    waypoints = (_Waypoint(link.source, column, bool(link.added)) for column in passed)
    return (link.source, *waypoints, link.target)


def _texts(
    columns: Iterable[Sequence[Node]], items: Sequence[Item], room: float
) -> list[tuple[str, ...]]:
    """Returns the lines of text of each box."""
    texts: list[tuple[str, ...]] = [()] * len(items)
    for column in columns:
        boxes = [node for node in column if isinstance(node, int)]
        for most in range(_MOST_LINES, 0, -1):
            for number in boxes:
                texts[number] = wrap.lines(items[number].text, room / FONT, most)
            if _column_height(column, texts) <= _TALL:
                break
    return texts


def _height(node: Node, texts: Sequence[tuple[str, ...]]) -> float:
    return 12 + _LINE * max(len(texts[node]), 1) if isinstance(node, int) else _WAYPOINT_HEIGHT


def _column_height(column: Sequence[Node], texts: Sequence[tuple[str, ...]]) -> float:
    return sum(_height(node, texts) for node in column) + _GAP * max(len(column) - 1, 0)


def _stacked(
    column: Sequence[Node], texts: Sequence[tuple[str, ...]], left: float, top: float
) -> dict[Node, _Position]:
    positions: dict[Node, _Position] = {}
    for node in column:
        height = _height(node, texts)
        positions[node] = _Position(left, left + _BOX_WIDTH, top + height / 2)
        top += height + _GAP
    return positions


def _lanes(
    column: Sequence[Node], within: Sequence[Link]
) -> tuple[dict[tuple[int, bool], int], int]:
    """Returns the lanes for the lines within a column, and how many lanes there are.

    A lane is a vertical track beside the column, counted from the boxes outwards. All lines of the same
    kind (added or not) from one box share one.
    """
    at = {node: n for n, node in enumerate(column)}
    spans: dict[tuple[int, bool], tuple[int, int]] = {}
    for link in within:
        if link.source in at:
            key = (link.source, bool(link.added))
            low, high = spans.get(key, (at[link.source], at[link.source]))
            spans[key] = (low, max(high, at[link.target]))
    taken: list[list[tuple[int, int]]] = []
    lanes: dict[tuple[int, bool], int] = {}
    for key, (low, high) in sorted(spans.items(), key=lambda span: (span[1][1] - span[1][0], span)):
        lane = next((n for n, used in enumerate(taken) if _free(used, low, high)), len(taken))
        if lane == len(taken):
            taken.append([])
        taken[lane].append((low, high))
        lanes[key] = lane
    return lanes, len(taken)


def _free(used: Iterable[tuple[int, int]], low: int, high: int) -> bool:
    return all(high < first or last < low for first, last in used)


def _box(
    number: int,
    items: Sequence[Item],
    positions: Mapping[Node, _Position],
    texts: Sequence[tuple[str, ...]],
    indent: float,
) -> Box:
    position, height = positions[number], _height(number, texts)
    top = position.y - height / 2
    first = top + 6 + FONT - 1
    shown = tuple(
        Text(position.left + indent, first + n * _LINE, line)
        for n, line in enumerate(texts[number])
    )
    label = Text(position.left + indent - 5, first, items[number].number)
    return Box(items[number], position.left, top, _BOX_WIDTH, height, label, shown)


def _across(link: Link, route: Sequence[Node], positions: Mapping[Node, _Position]) -> Line:
    """Returns a line to a later column: straight along its waypoints, curved between columns."""
    start = positions[route[0]]
    path = f"M{start.right:.1f} {start.y:.1f}"
    x, y = start.right, start.y
    for node in route[1:]:
        position = positions[node]
        end = position.left - (0 if isinstance(node, _Waypoint) else _HEAD)
        middle = (x + end) / 2
        path += f"C{middle:.1f} {y:.1f} {middle:.1f} {position.y:.1f} {end:.1f} {position.y:.1f}"
        x, y = end, position.y
        if isinstance(node, _Waypoint):
            path += f"H{position.right:.1f}"
            x = position.right
    return Line(path, _head(positions[route[-1]]), link.added)


def _within(link: Link, lane: float, positions: Mapping[Node, _Position]) -> Line:
    """Returns a line that runs down in a lane beside its column."""
    start, end = positions[link.source], positions[link.target]
    path = (
        f"M{start.left:.1f} {start.y:.1f}H{lane + _CORNER:.1f}"
        f"Q{lane:.1f} {start.y:.1f} {lane:.1f} {start.y + _CORNER:.1f}"
        f"V{end.y - _CORNER:.1f}Q{lane:.1f} {end.y:.1f} {lane + _CORNER:.1f} {end.y:.1f}"
        f"H{end.left - _HEAD:.1f}"
    )
    return Line(path, _head(end), link.added)


def _head(position: _Position) -> str:
    x, y = position.left, position.y
    return f"M{x:.1f} {y:.1f}l-{_HEAD + 1} -3.5v7z"
