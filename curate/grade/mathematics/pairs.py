"""Compares two answers whose forms are known."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from curate.grade.comparison import EQUAL, UNEQUAL, Comparison, all_of, unknown
from curate.grade.mathematics.equations import compare_equations
from curate.grade.mathematics.forms import (
    Collection,
    Congruence,
    Equation,
    Form,
    Interval,
    Matrix,
    Named,
    Option,
    Phrase,
    Progression,
    Quantity,
    Region,
)
from curate.grade.mathematics.numbers import same_value
from curate.grade.mathematics.regions import compare_regions
from curate.grade.mathematics.trees import Apply, Name, Number, Tree, names, negative, uses
from curate.grade.mathematics.units import ANGLE, PERCENT, UNCLEAR
from curate.grade.mathematics.values import Undecided, exact
from curate.grade.mathematics.vocabulary import VAGUE


def compare_answers(left: Form, right: Form) -> Comparison:
    """Compares two whole answers. The set of a single solution is that solution."""
    return compare_forms(_single(left, right), _single(right, left))


def _single(form: Form, other: Form) -> Form:
    other = other.value if isinstance(other, Named) else other
    if isinstance(form, Named):
        return Named(form.name, _single(form.value, other))
    if isinstance(form, Collection) and isinstance(other, Quantity):
        return form.items[0] if form.kind == "set" and len(form.items) == 1 else form
    return form


def compare_forms(left: Form, right: Form) -> Comparison:
    """Compares two answers. The order of the two does not matter."""
    left, right = _without_signs(left), _without_signs(right)
    match left, right:
        case Named(), _:
            return _named(left, right)
        case _, Named():
            return _named(right, left)
        case Option(), _:
            return _option(left, right)
        case _, Option():
            return _option(right, left)
        case Quantity(), Quantity():
            return _quantities(left, right)
        case Phrase(), Phrase():
            return _phrases(left, right)
        case Equation(), Equation():
            return compare_equations(left, right)
        case Congruence(), Congruence():
            return _congruences(left, right)
        case Progression(), Progression():
            return _progressions(left, right)
        case Matrix(), Matrix():
            return _matrices(left, right)
        case _:
            return _sets(left, right)


def _without_signs(form: Form) -> Form:
    """Writes 1 ± 2 as the list of its two values."""
    if isinstance(form, Quantity) and uses(form.tree, "pm"):
        plus, minus = (replace_sign(form.tree, positive) for positive in (True, False))
        return Collection("list", (Quantity(plus, form.unit), Quantity(minus, form.unit)))
    if isinstance(form, Collection) and form.kind != "tuple":
        items: list[Form] = []
        for item in map(_without_signs, form.items):
            if isinstance(item, Collection) and item.kind == "list":
                items.extend(item.items)
            else:
                items.append(item)
        return Collection(form.kind, tuple(items))
    return form


def replace_sign(tree: Tree, positive: bool) -> Tree:
    """Returns an expression in which ± is + or -."""
    if not isinstance(tree, Apply):
        return tree
    arguments = tuple(replace_sign(one, positive) for one in tree.arguments)
    if tree.operation == "pm":
        return arguments[0] if positive else negative(arguments[0])
    return Apply(tree.operation, arguments)


# --- values ---


def _quantities(left: Quantity, right: Quantity) -> Comparison:
    if left.run != right.run and sorted(left.run.lower()) == sorted(right.run.lower()):
        return unknown(f"{left.run!r} and {right.run!r} may be words or products")
    if _same_letter(left.tree, right.tree):
        return unknown("they differ in the case of a letter")
    if left.unit is None and right.unit is None:
        return _in_bases(left, right)
    if left.unit is None or right.unit is None:
        bare, measured = (left, right) if left.unit is None else (right, left)
        return _one_without_unit(bare, measured)
    a, b = left.unit, right.unit
    values = same_value(left.tree, right.tree)
    if a == b:
        return values
    if a.noun or b.noun:
        return UNEQUAL if values == UNEQUAL and a.noun and b.noun else unknown("their units differ")
    if a.dimensions != b.dimensions:
        unclear = {name for unit in (a, b) for name, _ in unit.dimensions} & UNCLEAR
        return unknown("their units cannot be converted") if unclear else UNEQUAL
    return same_value(_scaled(left.tree, a.size), _scaled(right.tree, b.size))


def _same_letter(left: Tree, right: Tree) -> bool:
    if not isinstance(left, Name) or not isinstance(right, Name):
        return False
    return left.name != right.name and left.name.lower() == right.name.lower()


def _in_bases(left: Quantity, right: Quantity) -> Comparison:
    found = same_value(left.tree, right.tree)
    if found == UNEQUAL and (left.base is None) is not (right.base is None):
        based, bare = (left, right) if right.base is None else (right, left)
        digits = exact(bare.tree) if isinstance(bare.tree, Number) else None
        if digits is not None and digits.denominator == 1 and _digits_in(based, digits):
            return unknown("only one of them says its base")
    return found


def _digits_in(based: Quantity, digits: Fraction) -> bool:
    assert based.base is not None
    try:
        return isinstance(based.tree, Number) and based.tree.value == int(str(digits), based.base)
    except ValueError:
        return False


def _one_without_unit(bare: Quantity, measured: Quantity) -> Comparison:
    """A unit that is not said is taken for the same. So 50 % is 50, and 0.5 too."""
    found = same_value(bare.tree, measured.tree)
    operation = {ANGLE: "degree", PERCENT: "percent"}.get(measured.unit) if measured.unit else None
    if found == UNEQUAL and operation:
        return same_value(bare.tree, Apply(operation, (measured.tree,)))
    return found


def _scaled(tree: Tree, size: Fraction) -> Tree:
    return Apply("*", (tree, Number(size)))


# --- names, options, words ---


def _named(left: Named, right: Form) -> Comparison:
    if not isinstance(right, Named):
        if isinstance(right, Equation) and (equation := _as_equation(left)):
            return compare_equations(equation, right)
        if isinstance(right, Phrase | Option):
            return unknown("one is a relation and the other is not")
        return compare_forms(left.value, right)
    found = compare_forms(left.value, right.value)
    if left.name == right.name:
        return found
    first, second = _as_equation(left), _as_equation(right)
    if first and second and compare_equations(first, second) == EQUAL:
        return EQUAL
    plain = all(len(one.name) == 1 and _is_constant(one.value) for one in (left, right))
    return UNEQUAL if found == UNEQUAL and plain else unknown("they are about different names")


def _as_equation(named: Named) -> Equation | None:
    value = named.value
    if isinstance(value, Quantity) and value.unit is None and "(" not in named.name:
        return Equation(Name(named.name), value.tree, "=")
    return None


def _is_constant(form: Form) -> bool:
    return isinstance(form, Quantity) and not list(names(form.tree)) and not form.run


def _option(left: Option, right: Form) -> Comparison:
    if isinstance(right, Option):
        if left.label != right.label:
            return UNEQUAL
        agree = not left.content or not right.content or left.content == right.content
        return EQUAL if agree else unknown("the same option has different texts")
    if isinstance(right, Quantity) and isinstance(right.tree, Name) and len(right.tree.name) == 1:
        return EQUAL if right.tree.name.upper() == left.label else UNEQUAL
    return unknown("one is an option and the other is not")


def _phrases(left: Phrase, right: Phrase) -> Comparison:
    if left.words == right.words:
        return EQUAL
    single = len(left.words) == len(right.words) == 1
    if single and not {*left.words, *right.words} & VAGUE:
        return UNEQUAL
    return unknown("they are different words")


# --- several values ---


def _congruences(left: Congruence, right: Congruence) -> Comparison:
    try:
        moduli = [exact(one.modulus) for one in (left, right)]
        residues = [[exact(tree) for tree in one.residues] for one in (left, right)]
    except Undecided as why:
        return unknown(str(why))
    flat = [*moduli, *residues[0], *residues[1]]
    if any(number is None or number.denominator != 1 for number in flat) or not all(moduli):
        same = same_value(left.modulus, right.modulus) == EQUAL
        return (
            EQUAL
            if same and left.residues == right.residues and left.name == right.name
            else (unknown("congruences of expressions"))
        )
    modulus = abs(moduli[0] or 1)
    first, second = ({(number or 0) % modulus for number in row} for row in residues)
    if modulus != abs(moduli[1] or 1) or first != second:
        return UNEQUAL
    return (
        EQUAL
        if left.name == right.name or not left.name or not right.name
        else (unknown("they are about different names"))
    )


def _progressions(left: Progression, right: Progression) -> Comparison:
    a, b = left.items, right.items
    if len(a) == len(b) and [x is None for x in a] == [x is None for x in b]:
        return all_of(compare_forms(x, y) for x, y in zip(a, b, strict=True) if x and y)
    for x, y in zip(a, b, strict=False):
        if x is None or y is None:
            return unknown("what a list leaves out may differ")
        if compare_forms(x, y) == UNEQUAL:
            return UNEQUAL
    return unknown("what a list leaves out may differ")


def _matrices(left: Matrix, right: Matrix) -> Comparison:
    if [len(row) for row in left.rows] != [len(row) for row in right.rows]:
        return UNEQUAL
    return all_of(
        compare_forms(a, b)
        for row, other in zip(left.rows, right.rows, strict=True)
        for a, b in zip(row, other, strict=True)
    )


def _sets(left: Form, right: Form) -> Comparison:
    """Compares forms of which at least one has several values."""
    left, right = _vector(left, right), _vector(right, left)
    if isinstance(left, Region) or isinstance(right, Region):
        first, second = (
            one if isinstance(one, Region) else _as_region(one) for one in (left, right)
        )
        if first is not None and second is not None:
            return compare_regions(first, second)
        return _of_different_forms(left, right)
    if not isinstance(left, Collection) or not isinstance(right, Collection):
        return _of_different_forms(left, right)
    if left.kind == right.kind == "tuple":
        return _tuples(left, right)
    found = _unordered(left.items, right.items)
    if "tuple" not in (left.kind, right.kind) or found == UNEQUAL:
        return found
    in_order = len(left.items) == len(right.items) and _tuples(left, right) == EQUAL
    ordered = in_order and "set" not in (left.kind, right.kind)
    return EQUAL if ordered else unknown("only one of them says that the order matters")


def _tuples(left: Collection, right: Collection) -> Comparison:
    if len(left.items) != len(right.items):
        return UNEQUAL
    if len(left.items) == 2 and {left.brackets, right.brackets} == {"()", "[]"}:
        return UNEQUAL
    return all_of(compare_forms(a, b) for a, b in zip(left.items, right.items, strict=True))


def _unordered(left: Sequence[Form], right: Sequence[Form]) -> Comparison:
    if len(left) != len(right):
        return UNEQUAL
    a, b = _by_name(left), _by_name(right)
    if a and b and a.keys() == b.keys():
        return all_of(compare_forms(value, b[name]) for name, value in a.items())
    rest = list(right)
    doubt: Comparison | None = None
    for item in left:
        found = [compare_forms(item, other) for other in rest]
        if EQUAL in found:
            del rest[found.index(EQUAL)]
            continue
        doubts = [one for one in found if one != UNEQUAL]
        if not doubts:
            return UNEQUAL
        doubt = doubts[0]
    return doubt or EQUAL


def _by_name(forms: Sequence[Form]) -> dict[str, Form]:
    """Returns the values of forms by name, or nothing if they do not have different names."""
    values = {form.name: form.value for form in forms if isinstance(form, Named)}
    return values if len(values) == len(forms) else {}


def _vector(form: Form, other: Form) -> Form:
    """Reads a matrix of one row or column as a tuple, if it is compared with one."""
    if not isinstance(form, Matrix) or not isinstance(other, Collection):
        return form
    if len(form.rows) == 1:
        return Collection("tuple", form.rows[0], other.brackets)
    column = len(form.rows[0]) == 1
    return (
        Collection("tuple", tuple(row[0] for row in form.rows), other.brackets) if column else form
    )


def _as_region(form: Form) -> Region | None:
    match form:
        case Collection(
            "tuple", (Quantity(low, None), Quantity(high, None)), "()" | "[]" as brackets
        ):
            return Region((Interval(low, high, brackets == "[]", brackets == "[]"),))
        case Collection("set" | "list", items):
            trees = [
                item.tree for item in items if isinstance(item, Quantity) and item.unit is None
            ]
            if len(trees) == len(items):
                return Region(tuple(Interval(tree, tree, True, True) for tree in trees))
        case _:
            pass
    return None


def _of_different_forms(left: Form, right: Form) -> Comparison:
    """A number is never an interval, a tuple or a matrix. Of other pairs nothing is certain."""
    forms = (left, right)
    items = [item for form in forms if isinstance(form, Collection) for item in form.items]
    if any(isinstance(item, Phrase) for item in items):
        return unknown("a part of one of them is in words")
    if any(_is_constant(form) for form in forms) and any(
        isinstance(form, Region | Matrix | Collection) for form in forms
    ):
        return UNEQUAL
    if any(_is_constant(form) for form in forms):
        words = next((form.words for form in forms if isinstance(form, Phrase)), None)
        if words and len(words) == 1 and words[0] not in VAGUE:
            return UNEQUAL
    kinds = " and ".join(type(form).__name__.lower() for form in forms)
    return unknown(f"they have different forms: {kinds}")
