"""Units of measure: what they measure, and how large they are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from curate.grade.mathematics.vocabulary import words

Dimensions = tuple[tuple[str, int], ...]
"""The powers of base quantities, sorted by their names: an area is (("length", 2),)."""

_PREFIXES = {
    "k": 3, "M": 6, "G": 9, "c": -2, "m": -3, "μ": -6, "u": -6, "n": -9, "d": -1, "p": -12, "h": 2,
}  # fmt: skip
_PREFIX_WORDS = {
    "kilo": 3, "mega": 6, "giga": 9, "centi": -2, "milli": -3, "micro": -6, "nano": -9, "deci": -1,
}  # fmt: skip
_FORCE = {"mass": 1, "length": 1, "time": -2}
_ENERGY = {"mass": 1, "length": 2, "time": -2}
_VOLT = {"mass": 1, "length": 2, "time": -3, "current": -1}
# Symbol and words, dimensions, size in SI units, whether prefixes are usual.
_TABLE: tuple[tuple[str, dict[str, int], Fraction | int, bool], ...] = (
    ("m meter meters metre metres", {"length": 1}, 1, True),
    ("inch inches in", {"length": 1}, Fraction("0.0254"), False),
    ("ft foot feet", {"length": 1}, Fraction("0.3048"), False),
    ("yd yard yards", {"length": 1}, Fraction("0.9144"), False),
    ("mi mile miles", {"length": 1}, Fraction("1609.344"), False),
    ("Å angstrom angstroms", {"length": 1}, Fraction(1, 10**10), False),
    ("g gram grams", {"mass": 1}, Fraction(1, 1000), True),
    ("ton tons tonne tonnes", {"mass": 1}, 1000, False),
    ("lb lbs pound pounds", {"mass": 1}, Fraction("0.45359237"), False),
    ("oz ounce ounces", {"mass": 1}, Fraction("0.028349523125"), False),
    ("s sec secs second seconds", {"time": 1}, 1, True),
    ("min mins minute minutes", {"time": 1}, 60, False),
    ("h hr hrs hour hours", {"time": 1}, 3600, False),
    ("day days", {"time": 1}, 86400, False),
    ("week weeks", {"time": 1}, 604800, False),
    ("month months", {"months": 1}, 1, False),
    ("year years yr yrs", {"months": 1}, 12, False),
    ("L l liter liters litre litres", {"length": 3}, Fraction(1, 1000), True),
    ("gal gallon gallons", {"length": 3}, Fraction("0.003785411784"), False),
    ("A amp amps ampere amperes", {"current": 1}, 1, True),
    ("K kelvin kelvins", {"temperature": 1}, 1, False),
    ("mol mole moles", {"amount": 1}, 1, True),
    ("N newton newtons", _FORCE, 1, True),
    ("J joule joules", _ENERGY, 1, True),
    ("eV", _ENERGY, Fraction("1.602176634") / 10**19, True),
    ("cal calorie calories", _ENERGY, Fraction("4.184"), True),
    ("W watt watts", {"mass": 1, "length": 2, "time": -3}, 1, True),
    ("Pa pascal pascals", {"mass": 1, "length": -1, "time": -2}, 1, True),
    ("atm", {"mass": 1, "length": -1, "time": -2}, 101325, False),
    ("bar bars", {"mass": 1, "length": -1, "time": -2}, 100000, False),
    ("Hz hertz", {"time": -1}, 1, True),
    ("C coulomb coulombs", {"current": 1, "time": 1}, 1, True),
    ("V volt volts", _VOLT, 1, True),
    ("\\Omega ohm ohms", {"mass": 1, "length": 2, "time": -3, "current": -2}, 1, True),
    ("T tesla teslas", {"mass": 1, "time": -2, "current": -1}, 1, True),
    ("F farad farads", {"mass": -1, "length": -2, "time": 4, "current": 2}, 1, True),
    ("mph", {"length": 1, "time": -1}, Fraction("0.44704"), False),
    ("kph kmh", {"length": 1, "time": -1}, Fraction(5, 18), False),
    ("ha hectare hectares", {"length": 2}, 10000, False),
    ("acre acres", {"length": 2}, Fraction("4046.8564224"), False),
    ("degree degrees deg", {"angle": 1}, 1, False),
    ("radian radians rad rads", {"radians": 1}, 1, False),
    ("celsius °C", {"celsius": 1}, 1, False),
    ("fahrenheit °F", {"fahrenheit": 1}, 1, False),
    ("percent %", {"percent": 1}, 1, False),
    ("dollar dollars usd $ bucks", {"dollars": 1}, 1, False),
    ("cent cents ¢", {"dollars": 1}, Fraction(1, 100), False),
    ("€ euro euros eur", {"euros": 1}, 1, False),
    ("£ gbp", {"pounds": 1}, 1, False),
    ("¥ yen", {"yen": 1}, 1, False),
    ("rupee rupees", {"rupees": 1}, 1, False),
    ("unit units", {"units": 1}, 1, False),
)
_NOT_NOUNS = re.compile(
    r"ones|twos|threes|fours|fives|sixes|sevens|eights|nines|tens|halves|thirds|quarters|fourths|"
    r"fifths|sixths|eighths|.*[dn]ths|doubles|triples|squares|cubes|minus|times|does|always|sometimes|"
    r"perhaps|besides|.*wards|others|factors|multiples|powers|roots|logs|solutions|negatives|"
    r"opposites|inverses|reciprocals|pairs|zeros|scores|.{0,3}|.*(?:ss|us|is)",
    re.IGNORECASE,
)
"""Words that end in s and may change the value of the number before them."""
_NOUNS = words(
    "people children men women sheep fish apple person child student way point piece book day egg "
    "dollar ball car marble game team player page row column box boxes foot hour "
    "cup bottle bag slice teaspoon tablespoon cookie coin card ticket minute second week month year"
)


@dataclass(frozen=True, slots=True)
class Unit:
    """A product of powers of units, or what is counted."""

    dimensions: Dimensions
    size: Fraction = Fraction(1)
    noun: str = ""
    """What is counted, in the singular. "" for a unit of measure."""

    def __mul__(self, other: Unit) -> Unit:
        return self._combined(other, 1)

    def __truediv__(self, other: Unit) -> Unit:
        return self._combined(other, -1)

    def __pow__(self, power: int) -> Unit:
        dimensions = tuple((name, count * power) for name, count in self.dimensions if power)
        return Unit(dimensions, self.size**power, f"{self.noun}^{power}" if self.noun else "")

    def _combined(self, other: Unit, sign: int) -> Unit:
        powers = dict(self.dimensions)
        for name, count in other.dimensions:
            powers[name] = powers.get(name, 0) + sign * count
        kept = tuple(sorted((name, count) for name, count in powers.items() if count))
        noun = (
            f"{self.noun}{'*' if sign > 0 else '/'}{other.noun}" if self.noun or other.noun else ""
        )
        return Unit(kept, self.size * other.size**sign, noun)


def _prefixed(name: str, unit: Unit) -> Iterator[tuple[str, Unit]]:
    for mark, power in (_PREFIXES if len(name) <= 3 else _PREFIX_WORDS).items():
        yield mark + name, Unit(unit.dimensions, unit.size * Fraction(10) ** power)


def _table() -> dict[str, Unit]:
    units: dict[str, Unit] = {}
    prefixed: dict[str, Unit] = {}
    for names, powers, size, prefixes in _TABLE:
        unit = Unit(tuple(sorted(powers.items())), Fraction(size))
        for name in names.split():
            units[name] = unit
            prefixed.update(_prefixed(name, unit) if prefixes else ())
    # Units come before prefixes: "min" is a minute, and no unit with the prefix of a thousandth.
    return prefixed | units


UNITS = _table()
ANGLE, PERCENT = UNITS["degree"], UNITS["percent"]
UNCLEAR = frozenset(
    ("celsius", "fahrenheit", "temperature", "angle", "radians", "months", "percent", "units")
)
"""Quantities that are converted by more than a factor, or by one that is not exact."""


def unit_of(word: str) -> Unit | None:
    """Returns the unit of measure with this symbol or name, or None."""
    return UNITS.get(word) or (UNITS.get(word.lower()) if len(word) > 3 else None)


def noun_of(word: str) -> Unit | None:
    """Returns the unit for a plural that counts things, such as "apples", or None.

    Plurals that may change the number, such as "tens", are none.
    """
    word = word.lower()
    if word in _NOUNS or (word.endswith("s") and not _NOT_NOUNS.fullmatch(word)):
        singular = word.removesuffix("es") if word.endswith(("xes", "shes", "ches")) else word
        return Unit((), noun=singular.removesuffix("s"))
    return None
