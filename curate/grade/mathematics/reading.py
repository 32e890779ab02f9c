"""Reads an answer: which form it has, and its parts."""

from __future__ import annotations

from collections.abc import Sequence

from curate.grade.mathematics.characters import Unreadable
from curate.grade.mathematics.expressions import Expressions
from curate.grade.mathematics.forms import (
    Collection,
    Congruence,
    Equation,
    Form,
    Interval,
    Matrix,
    Named,
    Option,
    Progression,
    Quantity,
    Region,
)
from curate.grade.mathematics.lexer import Habits, Token
from curate.grade.mathematics.quantities import quantity
from curate.grade.mathematics.regions import intersection, only_values
from curate.grade.mathematics.splitting import Tokens, closes, group, has, separators, split
from curate.grade.mathematics.trees import INFINITY, MINUS_INFINITY, Apply, Name, Tree, names
from curate.grade.mathematics.vocabulary import NUMBER_WORDS, OPTION_WORDS
from curate.grade.mathematics.words import phrase_of

_ORDERS = ("<", ">", "\\le", "\\ge")
_RELATIONS = (*_ORDERS, "=", "\\ne", "\\approx", "\\in")
_FLIPPED = {"<": ">", ">": "<", "\\le": "\\ge", "\\ge": "\\le"}
_MOST_ITEMS = 60


def read(tokens: Sequence[Token], habits: Habits) -> Form:
    """Reads an answer from all of its tokens.

    Raises:
        Unreadable: a part of them is not understood.
    """
    if not tokens:
        raise Unreadable("it is empty")
    if tokens[0].text == "{" and (inner := group(tokens)) and not has(inner, ",", ";"):
        return read(inner, habits)
    if option := _option(tokens):
        return option
    if (words := phrase_of(tokens)) is not None:
        return words
    if congruence := _congruence(tokens, habits):
        return congruence
    return _several(tokens, habits)


def _option(tokens: Tokens) -> Option | None:
    """Reads "Option B", "(B)", "B) text", "B. text" or `\\text{B}`."""
    named = tokens[0].kind == "word" and tokens[0].text.lower() in OPTION_WORDS
    rest = tokens[1:] if named else tokens
    bracketed = bool(rest) and rest[0].text == "("
    rest = rest[1:] if bracketed else rest
    if not rest or rest[0].kind not in ("name", "word") or not _is_label(rest[0].text):
        return None
    label, after, content = rest[0].text.upper(), rest[1:2], rest[2:]
    capital = named or rest[0].text.isupper()
    if not after:
        return Option(label) if not bracketed and (named or (rest[0].in_text and capital)) else None
    if after[0].text == ")" and not content:
        return Option(label)
    if after[0].text in (")", ":") and capital and _is_text_of_option(content):
        return Option(label, tuple(token.text.lower() for token in content))
    return None


def _is_text_of_option(content: Tokens) -> bool:
    """Whether this is the text of an option rather than the rest of a formula or of a list."""
    if not content or not content[0].spaced or (len(content) == 1 and _is_label(content[0].text)):
        return False
    first = content[0]
    if first.text == "-":
        return len(content) > 1 and content[1].kind == "number" and not content[1].spaced
    if first.kind == "word":
        return first.text.lower() not in ("and", "or")
    return first.kind in ("number", "name") or first.text in (
        "\\frac",
        "\\sqrt",
        "\\pi",
        "$",
        "\\{",
    )


def _is_label(text: str) -> bool:
    return len(text) == 1 and text.upper() in "ABCDEFGHIJ"


def _congruence(tokens: Tokens, habits: Habits) -> Congruence | None:
    places = [k for k, token in enumerate(tokens) if token.text in ("\\pmod", "\\mod")]
    if not places:
        if has(tokens, "\\equiv"):
            raise Unreadable("a congruence without a modulus")
        return None
    at = places[0]
    start = at - 1 if at and tokens[at - 1].text == "(" else at
    modulus = tokens[at + 1 : -1] if start < at and tokens[-1].text == ")" else tokens[at + 1 :]
    sides = split(tokens[:start], ("\\equiv", "="))
    if len(places) > 1 or len(sides) > 2:
        raise Unreadable("several congruences")
    residues = [_tree(part) for part in split(sides[-1], (",", "or", "and")) if part]
    name = _label(sides[0]) if len(sides) == 2 else ""
    if name is None:
        raise Unreadable("the left side of a congruence is not a name")
    return Congruence(name, tuple(residues), _tree(modulus))


def _several(tokens: Tokens, habits: Habits) -> Form:
    """Reads a list of answers, or one."""
    # ∨ and ∧ join inequalities. Between other things they are logic.
    signs = ("\\vee", "\\wedge") if has(tokens, *_ORDERS) else ()
    words = [word for word in ("or", "and", *signs) if has(tokens, word)]
    parts = split(tokens, (",", ";", *words))
    if len(parts) == 1:
        return _one(tokens, habits)
    if words:  # "a, b, and c"
        parts = [part for k, part in enumerate(parts) if part or k in (0, len(parts) - 1)]
    if len(parts) > _MOST_ITEMS or not all(parts):
        raise Unreadable("an item of a list is empty, or there are too many")
    if any(_is_ellipsis(part) for part in parts):
        return Progression(tuple(None if _is_ellipsis(p) else _one(p, habits) for p in parts))
    items = tuple(_one(part, habits) for part in parts)
    if isinstance(items[0], Named):
        return _named_list(items[0], items, words)
    return Collection("list", items)


def _named_list(first: Named, items: tuple[Form, ...], words: list[str]) -> Form:
    """x = 2 or x = 3; x = 2, 3; x < 1 or x > 3; x = 1, y = 2."""
    same = [item for item in items if isinstance(item, Named) and item.name == first.name]
    if len(same) == len(items) and all(isinstance(one.value, Region) for one in same):
        regions = [one.value for one in same if isinstance(one.value, Region)]
        if words in (["or"], ["\\vee"]):
            return Named(first.name, Region(tuple(p for region in regions for p in region.pieces)))
        if words in (["and"], ["\\wedge"]):
            return Named(first.name, intersection(regions))
        raise Unreadable("inequalities without 'and' or 'or' between them")
    if any(isinstance(item, Region | Equation) for item in items):
        raise Unreadable("relations of several kinds are in one list")
    bare = [item for item in items[1:] if not isinstance(item, Named)]
    if len(same) == len(items):
        return Named(first.name, Collection("list", tuple(one.value for one in same)))
    if len(bare) == len(items) - 1:
        return Named(first.name, Collection("list", (first.value, *bare)))
    if bare:
        raise Unreadable("only some of the items have names")
    return Collection("list", items)


def _is_ellipsis(tokens: Tokens) -> bool:
    return len(tokens) == 1 and tokens[0].text == "\\ldots"


def _one(tokens: Tokens, habits: Habits) -> Form:
    """Reads one answer: a relation, a set, or a value."""
    if not tokens:
        raise Unreadable("a part of it is empty")
    if not has(tokens, *_RELATIONS):
        words = phrase_of(tokens)
        return words if words is not None else _value(tokens, habits)
    sides = split(tokens, _RELATIONS)
    operators = separators(tokens, _RELATIONS)
    if len(sides) == 3 and all(operator in _ORDERS for operator in operators):
        return _between(sides, operators)
    if len(sides) == 2:
        return _relation(sides[0], operators[0], sides[1], habits)
    if set(operators) == {"="}:
        return _chain(sides, habits)
    raise Unreadable("a chain of relations")


def _between(sides: list[Tokens], operators: list[str]) -> Named:
    """Reads a < x < b."""
    first, second = (operator in (">", "\\ge") for operator in operators)
    name = _label(sides[1])
    if first is not second or name is None:
        raise Unreadable("a chain of inequalities that is not a < x < b")
    low, high = (_tree(sides[k]) for k in ((2, 0) if first else (0, 2)))
    low_sign, high_sign = operators if not first else reversed(operators)
    return Named(name, Region((Interval(low, high, len(low_sign) > 1, len(high_sign) > 1),)))


def _relation(left: Tokens, operator: str, right: Tokens, habits: Habits) -> Form:
    if operator in ("=", "\\approx"):
        if not left:
            return _value(right, habits)
        if (name := _label(left)) is not None:
            return Named(name, _value(right, habits))
        if operator == "=" and (name := _label(right)) is not None:
            return Named(name, _value(left, habits))
        equation = Equation(_tree(left), _tree(right), "=")
        if any(True for side in (equation.left, equation.right) for _ in names(side)):
            return equation
        return only_values([Quantity(equation.left), Quantity(equation.right)])
    name = _label(left)
    if operator == "\\in":
        if name is None:
            raise Unreadable("the left side of ∈ is not a name")
        return Named(name, _value(right, habits))
    if name is not None and not _label(right):
        return Named(name, _half(operator, _tree(right)))
    if operator in _FLIPPED and name is None and (name := _label(right)) is not None:
        return Named(name, _half(_FLIPPED[operator], _tree(left)))
    if operator in (">", "\\ge"):
        left, operator, right = right, _FLIPPED[operator], left
    relation = "<" if operator == "<" else "\\le" if operator == "\\le" else "\\ne"
    return Equation(_tree(left), _tree(right), relation)


def _half(operator: str, bound: Tree) -> Region:
    below = Interval(MINUS_INFINITY, bound, False, operator == "\\le")
    above = Interval(bound, INFINITY, operator == "\\ge", False)
    if operator == "\\ne":
        return Region((below, above))
    return Region((below if operator in ("<", "\\le") else above,))


def _chain(sides: list[Tokens], habits: Habits) -> Form:
    """Reads x = 2^3 = 8. All sides but a name must have the same value."""
    name = _label(sides[0])
    values = [_value(side, habits) for side in (sides if name is None else sides[1:])]
    value = only_values(values)
    return value if name is None else Named(name, value)


def _label(tokens: Tokens) -> str | None:
    """Returns what tokens name, or None if they are a value or an expression."""
    if not tokens:
        return None
    first = tokens[0]
    if all(token.kind == "word" and token.in_text for token in tokens):
        return " ".join(token.text.lower() for token in tokens)
    if first.kind == "word" and (len(first.text) > 3 or first.text.isupper()) and len(tokens) == 1:
        return None if first.text.lower() in NUMBER_WORDS else first.text
    if first.text == "\\angle" and all(token.kind in ("word", "name") for token in tokens[1:]):
        return " ".join(token.text for token in tokens)
    if first.kind == "name" and len(tokens) > 3 and tokens[1].text == "(" and closes(tokens, 1):
        return "".join(token.text for token in tokens)
    try:
        tree = _tree(tokens)
    except Unreadable:
        return None
    return (
        tree.name
        if isinstance(tree, Name) and tree.name not in ("e", "i", "\\pi", "\\infty")
        else None
    )


def _tree(tokens: Tokens) -> Tree:
    """Reads an expression from all of the tokens."""
    parser = Expressions(tokens)
    tree = parser.sum()
    if parser.peek() is not None:
        raise Unreadable(f"{parser.shown()} is not understood")
    if isinstance(tree, Apply) and parser.base is not None:
        raise Unreadable("a base inside an expression")
    return tree


def _value(tokens: Tokens, habits: Habits) -> Form:
    """Reads a set, an interval, a matrix, a tuple, or a quantity."""
    if not tokens:
        raise Unreadable("a part of it is empty")
    if has(tokens, "\\cup", "\\setminus"):
        return _union(tokens, habits)
    if len(tokens) == 1 and tokens[0].text in ("\\emptyset", "\\mathbb{R}"):
        everything = Interval(MINUS_INFINITY, INFINITY, False, False)
        return Region((everything,) if tokens[0].text == "\\mathbb{R}" else ())
    if tokens[0].text.startswith("\\begin"):
        return _matrix(tokens, habits)
    if (inner := group(tokens)) is not None:
        return _bracketed(tokens[0].text, inner, tokens[-1].text, habits)
    return quantity(tokens, habits)


def _union(tokens: Tokens, habits: Habits) -> Region:
    whole, *removed = split(tokens, ("\\setminus",))
    pieces = tuple(p for part in split(whole, ("\\cup",)) for p in _pieces(_value(part, habits)))
    if not removed:
        return Region(pieces)
    points = _pieces(_value(removed[0], habits))
    if len(removed) > 1 or any(point.low != point.high for point in points):
        raise Unreadable("an interval is taken out of a set")
    kept = [Region((*_half("\\ne", point.low).pieces,)) for point in points]
    return intersection([Region(pieces), *kept])


def _pieces(form: Form) -> tuple[Interval, ...]:
    """Returns a set as intervals. A finite one becomes points."""
    match form:
        case Region(pieces):
            return pieces
        case Collection("tuple", (Quantity(low, None), Quantity(high, None)), brackets):
            return (Interval(low, high, brackets == "[]", brackets == "[]"),)
        case Collection("set", items):
            trees = [
                item.tree for item in items if isinstance(item, Quantity) and item.unit is None
            ]
            if len(trees) == len(items):
                return tuple(Interval(tree, tree, True, True) for tree in trees)
        case _:
            pass
    raise Unreadable("a union of something else than intervals")


def _matrix(tokens: Tokens, habits: Habits) -> Matrix:
    if tokens[-1].text != tokens[0].text.replace("begin", "end") or "matrix" not in tokens[0].text:
        raise Unreadable(f"{tokens[0].text[:40]} is not understood")
    rows = [row for row in split(tokens[1:-1], ("\\\\",)) if row]
    cells = tuple(tuple(_value(c, habits) for c in split(row, ("&",))) for row in rows)
    if len({len(row) for row in cells}) != 1:
        raise Unreadable("the rows of a matrix have different lengths")
    return Matrix(cells)


def _bracketed(opening: str, inner: Tokens, closing: str, habits: Habits) -> Form:
    pair = opening + closing
    if pair == "\\{\\}":
        return _set(inner, habits)
    parts = split(inner, (",", ";"))
    if pair == "{}":
        return _set(inner, habits) if len(parts) > 1 else _several(inner, habits)
    if any(_is_ellipsis(part) for part in parts):
        raise Unreadable("a tuple that leaves something out")
    items = tuple(_one(part, habits) for part in parts)
    if len(items) == 2 and pair in ("(]", "[)"):
        low, high = (only_values([item]) for item in items)
        if (
            isinstance(low, Quantity)
            and isinstance(high, Quantity)
            and not low.unit
            and not high.unit
        ):
            return Region((Interval(low.tree, high.tree, opening == "[", closing == "]"),))
    if len(items) > 1 and pair in ("()", "[]", "\\langle\\rangle"):
        return Collection("tuple", items, pair)
    if len(items) == 1 and pair == "()":
        return items[0]
    raise Unreadable(f"the brackets {opening}…{closing} are not understood")


def _set(inner: Tokens, habits: Habits) -> Form:
    if not inner:
        return Region(())
    if has(inner, "|", ":"):
        name, *condition = split(inner, ("|", ":"))
        whole = _several(condition[0], habits) if len(condition) == 1 else None
        if (
            isinstance(whole, Named)
            and _label(name) == whole.name
            and isinstance(whole.value, Region)
        ):
            return whole.value
        raise Unreadable("a set that is described by a condition")
    found = _several(inner, habits)
    if isinstance(found, Progression):
        return found
    return Collection(
        "set", found.items if isinstance(found, Collection) and found.kind == "list" else (found,)
    )
