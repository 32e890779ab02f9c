"""Comparisons of answers, held against sympy: what is called equal has the same value."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import sympy
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from curate.grade.mathematics.compare import compare

X, Y = sympy.symbols("x y", positive=True)
POINTS = [{X: sympy.Rational(7, 5), Y: sympy.Rational(11, 3)}, {X: sympy.Rational(1, 9), Y: 2}]


@dataclass(frozen=True)
class Written:
    """An expression in two ways of writing, and sympy's."""

    latex: str
    plain: str
    value: sympy.Expr


def number(value: int) -> Written:
    return Written(str(value), str(value), sympy.Integer(value))


def decimal(value: Fraction) -> Written:
    exact = sympy.Rational(value.numerator, value.denominator)
    fraction = f"\\frac{{{value.numerator}}}{{{value.denominator}}}"
    return Written(fraction, f"{value.numerator / value.denominator:.3f}", exact)


def joined(a: Written, b: Written, operation: str) -> Written:
    match operation:
        case "+":
            return Written(f"{a.latex}+{b.latex}", f"({a.plain} + {b.plain})", a.value + b.value)
        case "-":
            latex = f"{a.latex}-\\left({b.latex}\\right)"
            return Written(latex, f"({a.plain} - ({b.plain}))", a.value - b.value)
        case "*":
            latex = f"\\left({a.latex}\\right)\\left({b.latex}\\right)"
            return Written(latex, f"({a.plain})*({b.plain})", a.value * b.value)
        case _:
            assume(b.value != 0)
            latex = f"\\frac{{{a.latex}}}{{{b.latex}}}"
            return Written(latex, f"(({a.plain})/({b.plain}))", a.value / b.value)


def applied(a: Written, function: str) -> Written:
    match function:
        case "root":
            latex, plain = f"\\sqrt{{{a.latex}}}", f"√({a.plain})"
            return Written(latex, plain, sympy.sqrt(a.value))
        case "square":
            return Written(f"\\left({a.latex}\\right)^{{2}}", f"({a.plain})²", a.value**2)
        case _:
            return Written(f"\\sin\\left({a.latex}\\right)", f"sin({a.plain})", sympy.sin(a.value))


LEAVES = st.one_of(
    st.integers(1, 30).map(number),
    st.integers(1, 4000).filter(lambda n: n % 1000).map(lambda n: decimal(Fraction(n, 1000))),
    st.just(Written("x", "x", X)),
    st.just(Written("y", "y", Y)),
    st.just(Written("\\pi", "π", sympy.pi)),
)
EXPRESSIONS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(joined, inner, inner, st.sampled_from("+-*/")),
        st.builds(applied, inner, st.sampled_from(["root", "square", "sine"])),
    ),
    max_leaves=6,
)
ANSWERS = st.one_of(
    st.text(max_size=20),
    st.text(alphabet="0123456789xyn+-*/^=<>()[]{},.\\ %$°√½", max_size=16),
    EXPRESSIONS.map(lambda one: one.latex),
    EXPRESSIONS.map(lambda one: one.plain),
)


def same(first: sympy.Expr, second: sympy.Expr) -> bool:
    """Whether two expressions have the same values to 30 digits, as sympy computes them."""
    for point in POINTS:
        a, b = (sympy.N(one.subs(point), 40) for one in (first, second))
        if abs(a - b) > sympy.Float("1e-30") * (1 + abs(a)):
            return False
    return True


@given(EXPRESSIONS)
@settings(deadline=None, max_examples=150)
def test_two_ways_of_writing_are_never_unequal(one: Written) -> None:
    assume(one.value.is_finite is not False and not one.value.has(sympy.zoo, sympy.nan))
    assert compare(one.latex, one.plain).outcome != "unequal"


@given(EXPRESSIONS, EXPRESSIONS)
@settings(deadline=None, max_examples=150)
def test_equal_and_unequal_are_as_sympy_says(one: Written, other: Written) -> None:
    assume(not any(value.has(sympy.zoo, sympy.nan) for value in (one.value, other.value)))
    found = compare(one.latex, other.plain).outcome
    assert found == "unknown" or (found == "equal") == same(one.value, other.value)


@given(EXPRESSIONS, st.integers(1, 10**6), st.integers(1, 40))
@settings(deadline=None, max_examples=100)
def test_a_value_beside_another_is_not_equal(one: Written, step: int, place: int) -> None:
    assert compare(one.latex, f"{one.latex}+{step}\\cdot 10^{{-{place}}}").outcome != "equal"


@given(ANSWERS, ANSWERS)
@settings(deadline=None, max_examples=300)
def test_the_order_does_not_matter_and_all_are_equal_to_themselves(a: str, b: str) -> None:
    assert compare(a, b).outcome == compare(b, a).outcome
    assert compare(a, a).outcome == "equal"
