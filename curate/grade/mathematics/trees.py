"""Expressions as trees."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True, slots=True)
class Number:
    """An exact number."""

    value: Fraction


@dataclass(frozen=True, slots=True)
class Name:
    """A variable or a constant: `x`, `x_{1}`, `\\pi`, `y'`."""

    name: str


@dataclass(frozen=True, slots=True)
class Apply:
    """An operation: + * / ^ neg root abs ! `\\sin` … or "call f" for an unknown function."""

    operation: str
    arguments: tuple[Tree, ...]


Tree = Number | Name | Apply

CONSTANTS = frozenset(("\\pi", "e", "i", "\\infty"))
"""Names that have a value."""
INFINITY: Tree = Name("\\infty")
MINUS_INFINITY: Tree = Apply("neg", (INFINITY,))


def names(tree: Tree) -> Iterator[str]:
    """Yields the variables of an expression."""
    stack = [tree]
    while stack:
        match stack.pop():
            case Name(name) if name not in CONSTANTS:
                yield name
            case Apply(_, arguments):
                stack.extend(arguments)
            case _:
                pass


def uses(tree: Tree, operation: str) -> bool:
    """Returns whether an operation whose name begins so is in an expression."""
    stack = [tree]
    while stack:
        one = stack.pop()
        if isinstance(one, Apply):
            if one.operation.startswith(operation):
                return True
            stack.extend(one.arguments)
    return False


def negative(tree: Tree) -> Tree:
    """Returns the negative of an expression."""
    return Number(-tree.value) if isinstance(tree, Number) else Apply("neg", (tree,))


def times(left: Tree, right: Tree) -> Tree:
    """Returns a product. Products of many factors are flat, so that no tree is deep."""
    if isinstance(left, Apply) and left.operation == "*":
        return Apply("*", (*left.arguments, right))
    return Apply("*", (left, right))


def difference(left: Tree, right: Tree) -> Tree:
    """Returns left - right."""
    return Apply("+", (left, negative(right)))
