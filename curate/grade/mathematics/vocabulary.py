"""The words and commands that answers are read with."""

from __future__ import annotations

from fractions import Fraction


def words(text: str) -> frozenset[str]:
    """Returns the words of a text."""
    return frozenset(text.split())


SYNONYMS = {
    "\\leq": "\\le", "\\leqslant": "\\le", "\\geq": "\\ge", "\\geqslant": "\\ge", "\\lt": "<",
    "\\gt": ">", "\\neq": "\\ne", "\\dfrac": "\\frac", "\\tfrac": "\\frac", "\\cfrac": "\\frac",
    "\\dbinom": "\\binom", "\\tbinom": "\\binom", "\\lbrace": "\\{", "\\rbrace": "\\}",
    "\\vert": "|", "\\lvert": "|", "\\rvert": "|", "\\mid": "|", "\\dots": "\\ldots",
    "\\cdots": "\\ldots", "\\dotsc": "\\ldots", "\\varnothing": "\\emptyset", "\\cdot": "*",
    "\\times": "*", "\\ast": "*", "\\div": "/", "\\colon": ":", "\\%": "%", "\\$": "$", "\\&": "&",
    "\\#": "#", "\\_": "_", "\\backslash": "\\setminus", "\\smallsetminus": "\\setminus",
    "\\bmod": "\\mod", "\\lbrack": "[", "\\rbrack": "]", "\\tg": "\\tan",
    "\\ctg": "\\cot", "\\cosec": "\\csc", "\\arctg": "\\arctan", "\\varphi": "\\phi",
    "\\varepsilon": "\\epsilon", "\\vartheta": "\\theta", "\\approxeq": "\\approx",
    "\\simeq": "\\approx", "\\lor": "\\vee", "\\land": "\\wedge", "\\prime": "'",
}  # fmt: skip
"""Commands that mean the same as another."""

FUNCTIONS = words(
    "\\sin \\cos \\tan \\cot \\sec \\csc \\arcsin \\arccos \\arctan \\sinh \\cosh \\tanh \\ln \\log "
    "\\exp"
)
BARE_COMMANDS = {name[1:]: name for name in FUNCTIONS} | {
    "pi": "\\pi", "sqrt": "\\sqrt", "infinity": "\\infty", "inf": "\\infty", "infty": "\\infty",
    "Infinity": "\\infty", "theta": "\\theta", "alpha": "\\alpha", "beta": "\\beta",
    "lambda": "\\lambda", "mod": "\\mod", "pmod": "\\pmod",
}  # fmt: skip
"""Words that are commands without a backslash."""

GREEK = words(
    "\\alpha \\beta \\gamma \\delta \\epsilon \\zeta \\eta \\theta \\iota \\kappa \\lambda \\mu \\nu "
    "\\xi \\rho \\sigma \\tau \\upsilon \\phi \\chi \\psi \\omega \\Gamma \\Delta \\Theta \\Lambda "
    "\\Xi \\Pi \\Sigma \\Upsilon \\Phi \\Psi \\Omega \\ell \\hbar"
)

NUMBER_WORDS = {
    "zero": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8,
    "nine": 9, "ten": 10, "eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14, "fifteen": 15,
    "sixteen": 16, "seventeen": 17, "eighteen": 18, "nineteen": 19, "twenty": 20, "thirty": 30,
    "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90,
}  # fmt: skip
SCALES = {
    "dozen": Fraction(12), "dozens": Fraction(12), "hundred": Fraction(10**2),
    "hundreds": Fraction(10**2), "thousand": Fraction(10**3), "thousands": Fraction(10**3),
    "million": Fraction(10**6), "millions": Fraction(10**6), "billion": Fraction(10**9),
    "billions": Fraction(10**9), "trillion": Fraction(10**12), "trillions": Fraction(10**12),
}  # fmt: skip
"""Words after a number that multiply it."""

OPPOSITES = (
    frozenset(("odd", "even")),
    frozenset(("yes", "no")),
    frozenset(("true", "false")),
    frozenset(("increasing", "decreasing")),
    frozenset(("increases", "decreases")),
    frozenset(("positive", "negative")),
    frozenset(("left", "right")),
    frozenset(("rational", "irrational")),
    frozenset(("convergent", "divergent")),
    frozenset(("converges", "diverges")),
    frozenset(("million", "billion", "trillion", "thousand", "hundred")),
)
"""Words that exclude each other."""
VAGUE = words(
    "none nothing undefined impossible infinite infinity empty nowhere never neither zero nobody "
    "indeterminate unknown any all always everywhere insufficient dne"
)
"""Words that may mean the same as another word or as a formula."""

OPTION_WORDS = frozenset(("option", "choice"))
SHORT_WORDS = words(
    "no yes or and if is of in on at to by as an a the for per all any not odd our its it so we day "
    "one two six ten net due low mid max min red sum gcd lcm cat dog man men set end out off top non "
    "but nor new old few big hot dry wet try use via yet her his she he you who why how was are has had "
    "fun gas oil ice air sea sun sky car bus box bag cup egg pie pen hen cow pig ant bee"
)
"""Words of two or three letters. Other runs of so few letters are products."""
