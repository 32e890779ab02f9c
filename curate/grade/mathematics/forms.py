"""The forms that an answer can have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from curate.grade.mathematics.trees import Tree
from curate.grade.mathematics.units import Unit


@dataclass(frozen=True, slots=True)
class Quantity:
    """An expression, with or without a unit."""

    tree: Tree
    unit: Unit | None = None
    base: int | None = None
    """The base in which the number was written, if it was not ten."""
    run: str = ""
    """The letters, if the answer is a run of letters that may be a product or a word."""


@dataclass(frozen=True, slots=True)
class Collection:
    """Several answers. Only the items of a tuple have an order."""

    kind: Literal["list", "set", "tuple"]
    items: tuple[Form, ...]
    brackets: str = ""
    """Of a tuple."""


@dataclass(frozen=True, slots=True)
class Matrix:
    """Rows of answers."""

    rows: tuple[tuple[Form, ...], ...]


@dataclass(frozen=True, slots=True)
class Interval:
    """All numbers between two. A point if both are the same and belong to it."""

    low: Tree
    high: Tree
    with_low: bool
    with_high: bool


@dataclass(frozen=True, slots=True)
class Region:
    """A union of intervals. Without any, the empty set."""

    pieces: tuple[Interval, ...]


@dataclass(frozen=True, slots=True)
class Named:
    """What a name is said to be: x = 5, f(x) = x^2, x < 2."""

    name: str
    value: Form


@dataclass(frozen=True, slots=True)
class Equation:
    """A relation between two expressions."""

    left: Tree
    right: Tree
    relation: Literal["=", "<", "\\le", "\\ne"]


@dataclass(frozen=True, slots=True)
class Congruence:
    """n ≡ 1, 2 (mod 3)."""

    name: str
    residues: tuple[Tree, ...]
    modulus: Tree


@dataclass(frozen=True, slots=True)
class Progression:
    """A list that continues: 1, 3, 5, …, 2n - 1. None is the part that is left out."""

    items: tuple[Form | None, ...]


@dataclass(frozen=True, slots=True)
class Option:
    """The choice of one of several answers by its letter."""

    label: str
    content: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Phrase:
    """Words, in lower case."""

    words: tuple[str, ...]


Form = (
    Quantity
    | Collection
    | Matrix
    | Region
    | Named
    | Equation
    | Congruence
    | Progression
    | Option
    | Phrase
)
