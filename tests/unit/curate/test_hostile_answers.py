"""Hostile answers: nothing in them is executed, and none takes long."""

from __future__ import annotations

import builtins
import os
import random
import subprocess
import time
from typing import Any, NoReturn

import pytest

from curate.grade.graders import normalize
from curate.grade.mathematics.compare import compare

TEXT = (
    "0 1 2 10 3.5 x y n a i e + - * / ^ _ ( ) [ ] { } , ; = < > | ! % & ' ~ : ? # . \" \\{ "
    "\\} \\le \\ge \\ne \\in \\cup \\cap \\setminus \\frac \\dfrac \\sqrt \\sin \\log \\ln "
    "\\exp \\pi \\infty \\pm \\text{ \\text{m} km two th \\ldots ... \\% \\$ $ ° √ ½ ² ∛ "
    "\\overline{3} million 0. e5 e999999 \\pmod \\equiv \\begin{pmatrix} \\end{pmatrix} \\\\ "
    "\\left \\right or and option B \\binom 9^{9^{9^{9}}} 99999! \x00 \ud800 \u202e "
    "__import__('os').system('true') eval(1) \\input{x} \\circ \\emptyset \\mathbb{R} f(x) "
    "dy/dx \\lfloor \\rfloor 1,234 \\angle \\ ≤ ∞ 中 é"
)
PIECES = (*TEXT.split(" "), " ", "\n", "\t")
SIMPLE = (
    "1",
    "x",
    "(1,2)",
    "x<2",
    "5\\text{ m}",
    "\\{1,2\\}",
    "x^2+1",
    "B",
    "y=2x",
    "x+y=1",
    "Tuesday",
)
REPEATED = (
    *("9^", "9^{", "(", "[", "{", "\\{", "\\sqrt", "\\sqrt{", "\\frac"),
    *("\\frac{1}{", "\\text{", "|", "-", "+", "!", "1,", "1 ", "1,111"),
    *("x", "ab", "sin", "\\sin", "\\log_", "a_{", "'", "\\cup", "x<"),
    *("=", "1 or ", "\\pm 1", "\\left", "\\begin{pmatrix}", "1&", "\\\\", "$", "\\$"),
    *("°", "²", "½", "%", "^\\circ", "\\ldots,", "\\equiv", "\\pmod", "m/"),
    *("dy/dx", "0.(3)", "\\overline{3}", "e5", "x(", "f(", "\\binom{9}", "9!", "1/"),
    *("\u0000", "\ud800", "中"),
)


def refuse(*_: Any, **__: Any) -> NoReturn:
    raise AssertionError("an answer was executed")


def seconds(reference: str, claimed: str) -> float:
    """Compares two answers in both orders while nothing can be executed."""
    owners = ((builtins, "eval"), (builtins, "exec"), (builtins, "compile"), (os, "system"))
    start = time.process_time()
    with pytest.MonkeyPatch.context() as patch:
        for owner, name in (*owners, (subprocess, "Popen")):
            patch.setattr(owner, name, refuse)
        found = compare(reference, claimed), compare(claimed, reference)
    assert found[0].outcome == found[1].outcome
    return time.process_time() - start


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(k, marks=pytest.mark.slow) for k in range(1, 10))]
)
def test_ten_thousand_texts(seed: int) -> None:
    chance = random.Random(seed)
    slowest = 0.0
    for _ in range(1000):
        text = "".join(chance.choices(PIECES, k=chance.randint(1, 16)))
        other = chance.choice((chance.choice(SIMPLE), text[1:], text + "1", f"({text})"))
        slowest = max(slowest, seconds(other, text))
        assert compare(text, text).outcome == "equal", text
    assert slowest < 5


@pytest.mark.parametrize("piece", REPEATED)
def test_repeated_pieces(piece: str) -> None:
    for text in (piece * (2000 // len(piece)), "1" + piece * 30 + "1", piece * 30 + "1" + ")" * 30):
        assert seconds("1", text) < 5


@pytest.mark.parametrize(
    "text",
    [
        "9^{9^{9^{9}}}",
        "9**9**9",
        "2^{10^{9}}",
        "(10^{4000})^{4000}",
        "1.0000001^{10^{12}}",
        "e^{e^{e^{e^{e}}}}",
        "\\pi^{\\pi^{\\pi^{\\pi^{\\pi}}}}",
        "(10^{10})!",
        "((10)!)!",
        "\\binom{10^{10}}{10^{9}}",
        "\\sqrt[10^{20}]{2}",
        "\\sin(10^{100000})",
        "\\tan(\\frac{\\pi}{2})",
        "\\ln(0)",
        "\\frac{1}{0}",
        "0^0",
        "0^{-1}",
        "\\frac{1}{\\sqrt{2}-\\sqrt{2}}",
        "\\lfloor\\pi^{100}\\rfloor",
        "x^{x^{x^{x^{x^{x}}}}}",
        "1e400-1e-400",
        "+".join(f"\\sqrt{{{k}}}" for k in range(2, 180)),
        "*".join(f"(x+{k})" for k in range(280)),
        "+".join("abcdefghjklmnopqrstuvwxyz"),
        ",".join(f"\\sqrt{{{k}}}" for k in range(2, 60)),
    ],
)
def test_large_values(text: str) -> None:
    for other in ("1", "x", "1,2", f"{text}+0", f"({text})\\cdot 1"):
        assert seconds(other, text) < 10


@pytest.mark.parametrize("piece", [*REPEATED, "\\text{a}", "1 111 ", "\\quad", "\\left(", ". "])
def test_the_time_of_normalizing_is_flat(piece: str) -> None:
    def taken(characters: int) -> float:
        text = f"x{piece * (characters // len(piece))}x"
        start = time.process_time()
        normalize(text)
        return time.process_time() - start

    # A quadratic reader would take 100 times as long for each character.
    assert taken(1_000_000) / 100 < 20 * max(taken(10_000), 0.001)
