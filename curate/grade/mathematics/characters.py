"""Writes an answer in the characters of LaTeX: `√2` becomes `\\sqrt 2`, and `10²` becomes `10^{2}`."""

from __future__ import annotations

import re
import unicodedata

from curate.grade.mathematics.vocabulary import words


class Unreadable(Exception):
    """A text, or a part of it, cannot be read as mathematics. The message says what and why."""


_GREEK = {
    unicodedata.lookup(f"GREEK {size} LETTER {'LAMDA' if name == 'lambda' else name.upper()}"): (
        f"\\{name if size == 'SMALL' else name.capitalize()} "
    )
    for name in words(
        "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau "
        "upsilon phi chi psi omega"
    )
    for size in ("SMALL", "CAPITAL")
}
_SYMBOLS = {
    "−": "-", "﹣": "-", "×": "\\times ", "✕": "\\times ", "·": "\\cdot ", "⋅": "\\cdot ",
    "∙": "\\cdot ", "∗": "*", "÷": "\\div ", "∕": "/", "⁄": "/", "√": "\\sqrt ", "∛": "\\sqrt[3] ",
    "∜": "\\sqrt[4] ", "∞": "\\infty ", "°": "^\\circ ", "∘": "\\circ ", "±": "\\pm ", "∓": "\\mp ",
    "≤": "\\le ", "⩽": "\\le ", "≦": "\\le ", "≥": "\\ge ", "⩾": "\\ge ", "≧": "\\ge ",
    "≠": "\\ne ", "≈": "\\approx ", "≡": "\\equiv ", "∈": "\\in ", "∪": "\\cup ", "∩": "\\cap ",
    "∖": "\\setminus ", "∅": "\\emptyset ", "⌀": "\\emptyset ", "ℝ": "\\mathbb{R}",
    "ℤ": "\\mathbb{Z}", "ℕ": "\\mathbb{N}", "ℚ": "\\mathbb{Q}", "ℂ": "\\mathbb{C}",
    "⟨": "\\langle ", "⟩": "\\rangle ", "…": "\\ldots ", "⋯": "\\ldots ", "′": "'", "’": "'",
    "″": "''", "∠": "\\angle ", "⌊": "\\lfloor ", "⌋": "\\rfloor ", "⌈": "\\lceil ",
    "⌉": "\\rceil ", "∂": "\\partial ", "∣": "|", "¬": "\\neg ", "∧": "\\land ", "∨": "\\lor ",
    "∫": "\\int ", "∑": "\\sum ", "∏": "\\prod ", "→": "\\to ", "⇒": "\\Rightarrow ",
    "∥": "\\parallel ", "⊥": "\\perp ", "⊂": "\\subset ", "⊆": "\\subseteq ", "∼": "\\sim ",
    "µ": "\\mu ", "Ω": "\\Omega ", "ϕ": "\\phi ", "ϵ": "\\epsilon ", "ς": "\\sigma ",
}  # fmt: skip
_CHARACTERS = _GREEK | _SYMBOLS
_SUPERSCRIPTS = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ⁿⁱˣ", "0123456789+-=()nix", strict=True))
_SUBSCRIPTS = dict(zip("₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎ₙₐₓ", "0123456789+-=()nax", strict=True))
_SCRIPTS = (
    ("^", _SUPERSCRIPTS, re.compile(f"[{''.join(_SUPERSCRIPTS)}]+")),
    ("_", _SUBSCRIPTS, re.compile(f"[{''.join(_SUBSCRIPTS)}]+")),
)
_INVISIBLE = dict.fromkeys(map(ord, "\u200b\u200c\u200d\u2060\u2061\u2062\u2063\ufeff\u00ad"))
_AFTER_SCRIPT = re.compile(r"(?<![⁰¹²³⁴⁵⁶⁷⁸⁹])[⁰¹²³⁴⁵⁶⁷⁸⁹]++⁄[₀₁₂₃₄₅₆₇₈₉]+")
_DEGREE = re.compile(r"(?:\^\s?)?\\degree(?![a-zA-Z])")


def plain(text: str) -> str:
    """Returns the text with each character that is not ASCII written as LaTeX, if there is a way.

    Characters without a way, such as the letters of other alphabets, stay as they are.

    Raises:
        Unreadable: the text contains a control character or an unpaired surrogate.
    """
    text = text.translate(_INVISIBLE)
    for character in text:
        category = unicodedata.category(character)
        if category in ("Cs", "Cn", "Co") or (category == "Cc" and character not in "\t\n\r"):
            raise Unreadable(f"it contains the character U+{ord(character):04X}")
    text = _DEGREE.sub(r"^\\circ ", text)
    if text.isascii():
        return text
    text = _AFTER_SCRIPT.sub(_fraction_of_scripts, text)
    for mark, plain_characters, pattern in _SCRIPTS:
        table = str.maketrans(plain_characters)
        text = pattern.sub(lambda run, m=mark, t=table: f"{m}{{{run[0].translate(t)}}}", text)
    return "".join(map(_latex, text))


def _fraction_of_scripts(match: re.Match[str]) -> str:
    above, below = match[0].split("⁄")
    above = above.translate(str.maketrans(_SUPERSCRIPTS))
    return f"\\frac{{{above}}}{{{below.translate(str.maketrans(_SUBSCRIPTS))}}}"


def _latex(character: str) -> str:
    if character in _CHARACTERS:
        return _CHARACTERS[character]
    kind, _, parts = unicodedata.decomposition(character).partition(" ")
    if kind == "<fraction>":
        above, _, below = "".join(chr(int(part, 16)) for part in parts.split()).partition("⁄")
        return f"\\frac{{{above}}}{{{below}}}"
    if kind in ("<super>", "<sub>"):
        return character
    compatible = unicodedata.normalize("NFKC", character)
    return "".join(_CHARACTERS.get(one, one) for one in compatible)
