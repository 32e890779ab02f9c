"""Values of expressions: exact where they are rational, and otherwise to as many digits as asked for.

Everything is bounded, so that no answer takes long: what would be too large is undecided.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

import mpmath

from curate.grade.mathematics.trees import Apply, Name, Number, Tree
from curate.grade.mathematics.vocabulary import words

_MOST_BITS = 20_000
"""Of the numerator or denominator of an exact value."""
_LARGEST_LOG = 10_000
"""The largest natural logarithm of a value."""
_LARGEST_ARGUMENT = 1_000
"""Of factorials and binomial coefficients."""
_GUARD = 12
"""Digits at the end of a value that may be wrong."""


class Undecided(Exception):
    """A value is undefined at this point, or cannot be computed. The message says why."""


def exact(tree: Tree) -> Fraction | None:
    """Returns the value of an expression of rational numbers, or None for any other expression.

    Raises:
        Undecided: the value is too large, or is divided by zero.
    """
    match tree:
        case Number(value):
            return value
        case Name():
            return None
        case Apply(operation, arguments) if operation in _EXACT:
            values = [exact(one) for one in arguments]
            known = [value for value in values if value is not None]
            result = _EXACT[operation](*known) if len(known) == len(values) else None
            if result is not None and _bits(result) > _MOST_BITS:
                raise Undecided("a value is too large to compute")
            return result
        case _:
            return None


def value(tree: Tree, point: Mapping[str, Any]) -> Any:
    """Returns the value of an expression at a point, in mpmath's current precision.

    Args:
        point: the values of the variables.

    Raises:
        Undecided: the value is undefined or too large, or its digits would be lost.
    """
    found = _value(tree, point)
    return _to_float(found) if isinstance(found, Fraction) else found


def _value(tree: Tree, point: Mapping[str, Any]) -> Any:
    """Returns a Fraction if the value is rational and could be computed exactly."""
    match tree:
        case Number(number):
            return number
        case Name(name):
            return point[name] if name in point else _constant(name)
        case Apply(operation, arguments):
            return _applied(operation, [_value(one, point) for one in arguments])


def _applied(operation: str, values: list[Any]) -> Any:
    if operation in _EXACT and all(isinstance(one, Fraction) for one in values):
        result = _EXACT[operation](*values)
        if result is not None and _bits(result) <= _MOST_BITS:
            return result
    numbers = [_to_float(one) if isinstance(one, Fraction) else one for one in values]
    try:
        result = _operation(operation)(*numbers)
    except (ArithmeticError, ValueError) as error:
        raise Undecided(f"{operation} has no value here") from error
    if not mpmath.isfinite(result) or (result and abs(mpmath.log(abs(result))) > _LARGEST_LOG):
        raise Undecided("a value is too large to compute")
    return result


def _to_float(number: Fraction) -> Any:
    return mpmath.mpf(number.numerator) / number.denominator


def _bits(number: Fraction) -> int:
    return max(number.numerator.bit_length(), number.denominator.bit_length())


def _exact_sum(*terms: Fraction) -> Fraction:
    return sum(terms, Fraction(0))


def _exact_quotient(above: Fraction, below: Fraction) -> Fraction:
    if not below:
        raise Undecided("a division by zero")
    return above / below


def _exact_power(base: Fraction, exponent: Fraction) -> Fraction | None:
    if exponent.denominator != 1:
        return None
    if base in (0, 1, -1):
        if not base and exponent <= 0:
            raise Undecided("a power of zero")
        return base ** (exponent.numerator % 2) if base < 0 else base
    if abs(exponent) * _bits(base) > _MOST_BITS:
        raise Undecided("a power is too large to compute")
    return base**exponent.numerator


def _exact_product(*factors: Fraction) -> Fraction:
    product = Fraction(1)
    for factor in factors:
        product *= factor
    return product


def _exact_factorial(number: Fraction) -> Fraction:
    if number.denominator != 1 or not 0 <= number <= _LARGEST_ARGUMENT:
        raise Undecided("a factorial is too large to compute")
    product = 1
    for factor in range(2, number.numerator + 1):
        product *= factor
    return Fraction(product)


def _exact_binomial(above: Fraction, below: Fraction) -> Fraction:
    if above.denominator != 1 or below.denominator != 1 or not 0 <= below <= above:
        raise Undecided("a binomial coefficient is not of natural numbers")
    if below > above - below:
        below = above - below
    product = Fraction(1)
    if below > _LARGEST_ARGUMENT:
        raise Undecided("a binomial coefficient is too large to compute")
    for k in range(below.numerator):
        product = product * (above - k) / (k + 1)
    return product


_EXACT: dict[str, Callable[..., Fraction | None]] = {
    "+": _exact_sum,
    "*": _exact_product,
    "/": _exact_quotient,
    "^": _exact_power,
    "neg": lambda number: -number,
    "abs": lambda number: abs(number),
    "!": _exact_factorial,
    "binom": _exact_binomial,
    "floor": lambda number: Fraction(number.numerator // number.denominator),
    "ceil": lambda number: Fraction(-(-number.numerator // number.denominator)),
    "percent": lambda number: number / 100,
}


def _constant(name: str) -> Any:
    constants = {"\\pi": mpmath.pi, "e": mpmath.e}
    if name == "i":
        return mpmath.mpc(0, 1)
    if name not in constants:
        what = "infinity" if name == "\\infty" else "a variable"
        raise Undecided(f"{what} is inside an expression that must be a number")
    return +constants[name]


def _noise(size: Any) -> Any:
    """Returns how large a number is of which no digit is certain, after computing with this size."""
    return size * mpmath.mpf(10) ** (_GUARD - mpmath.mp.dps)


def _sum(*terms: Any) -> Any:
    total = mpmath.fsum(terms)
    if abs(total) <= _noise(max(map(abs, terms))):
        # All digits cancel. With more digits it may become another number, and is seen to change.
        return mpmath.mpf(0)
    smallest = min((abs(term) for term in terms if term), default=0)
    if smallest and _noise(abs(total)) > smallest:
        raise Undecided("numbers of very different sizes are added")
    return total


def _product(*factors: Any) -> Any:
    product = mpmath.mpf(1)
    for factor in factors:
        product *= factor
    return product


def _quotient(above: Any, below: Any) -> Any:
    if not below:
        raise Undecided("a division by zero")
    return above / below


def _power(base: Any, exponent: Any) -> Any:
    if not base:
        raise Undecided("a power of zero")
    if abs(exponent) * (abs(mpmath.log(abs(base))) + 4) > _LARGEST_LOG:
        raise Undecided("a power is too large to compute")
    return mpmath.power(base, exponent)


def _root(radicand: Any, degree: Any) -> Any:
    if not degree:
        raise Undecided("a root of degree zero")
    odd = mpmath.isint(degree) and degree % 2 == 1
    if odd and not mpmath.im(radicand) and mpmath.re(radicand) < 0:
        return -_root(-radicand, degree)
    return (
        mpmath.sqrt(radicand)
        if degree == 2
        else _power(radicand, 1 / degree)
        if radicand
        else radicand
    )


def _logarithm(number: Any, base: Any) -> Any:
    if not number or not base or base == 1:
        raise Undecided("a logarithm of zero")
    return mpmath.log(number) / mpmath.log(base)


def _whole(rounded: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def apply(number: Any) -> Any:
        if mpmath.im(number) or abs(number - mpmath.nint(number)) < mpmath.mpf(10) ** -_GUARD:
            raise Undecided("the rounding of a value that may be whole")
        return rounded(number)

    return apply


def _factorial(number: Any) -> Any:
    if abs(number) > _LARGEST_ARGUMENT:
        raise Undecided("a factorial is too large to compute")
    return mpmath.gamma(number + 1)


def _binomial(above: Any, below: Any) -> Any:
    return _factorial(above) / _factorial(below) / _factorial(above - below)


def _bounded(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def apply(number: Any) -> Any:
        if abs(number) > _LARGEST_LOG:
            raise Undecided("the argument of a function is too large")
        return function(number)

    return apply


def _periodic(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def apply(number: Any) -> Any:
        result = _bounded(function)(number)
        return mpmath.mpf(0) if abs(result) <= _noise(1 + abs(number)) else result

    return apply


def _degrees(number: Any) -> Any:
    return number * mpmath.pi / 180


_OPERATIONS: dict[str, Callable[..., Any]] = {
    "+": _sum,
    "*": _product,
    "/": _quotient,
    "^": _power,
    "neg": lambda number: -number,
    "abs": abs,
    "root": _root,
    "!": _factorial,
    "binom": _binomial,
    "floor": _whole(mpmath.floor),
    "ceil": _whole(mpmath.ceil),
    "percent": lambda number: number / 100,
    "degree": _degrees,
    "\\ln": lambda number: _logarithm(number, mpmath.e),
    # The base of a logarithm without one is unknown. No other value depends on it.
    "\\log": lambda number, base=None: _logarithm(
        number, mpmath.mpf("5.2718") if base is None else base
    ),
    "\\exp": _bounded(mpmath.exp),
} | {
    f"\\{name}": _periodic(getattr(mpmath, python))
    for name, python in (
        *((name, name) for name in words("sin cos tan cot sec csc sinh cosh tanh")),
        *((f"arc{name}", f"a{name}") for name in words("sin cos tan")),
    )
}


def _operation(name: str) -> Callable[..., Any]:
    if name in _OPERATIONS:
        return _OPERATIONS[name]
    if name.startswith("call "):
        # An unknown function: one that follows no other rule.
        seed = zlib.crc32(name.encode()) % 1000
        return lambda *numbers: mpmath.cos(
            _product(*(n + seed + k for k, n in enumerate(numbers))) / 1009
        )
    raise Undecided(f"{name!r} has no value")
