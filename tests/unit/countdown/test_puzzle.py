"""Countdown puzzles: questions, splits, the generator, and reachable targets."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections import Counter
from functools import cache
from itertools import islice
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sprint_agent.countdown import Puzzle, PuzzleSpace, Split, generate, reachable, split
from sprint_agent.errors import QuestionError

SPLITS: tuple[Split, ...] = get_args(Split)
VALUES = st.integers(1, 10**6)
PUZZLES = st.builds(Puzzle, st.lists(VALUES, min_size=3, max_size=6).map(tuple), VALUES)


def test_the_question_is_that_of_the_readme() -> None:
    assert Puzzle((3, 5, 7, 11), 24).question == "Use 3, 5, 7 and 11 to make 24."


@given(PUZZLES)
def test_question_round_trip(puzzle: Puzzle) -> None:
    assert Puzzle.parse(puzzle.question) == puzzle


@pytest.mark.parametrize(
    "question",
    [
        "use 3, 5, 7 and 11 to make 24",
        "  USE 3,5 , 7, and 11\n\tTO  MAKE 24 . ",
        "Use 3, 5, 7 and 11 to make 24",
    ],
)
def test_small_slips_are_tolerated(question: str) -> None:
    assert Puzzle.parse(question) == Puzzle((3, 5, 7, 11), 24)


@pytest.mark.parametrize(
    ("question", "says"),
    [
        ("", "empty"),
        (" \n ", "empty"),
        ("What is the capital of France?", "not a Countdown question"),
        ("Use 3, 5, 7 and 11 to make 24. Please.", "not a Countdown question"),
        ("Use 3 5 7 and 11 to make 24.", "not a Countdown question"),
        ("Use 3, 5, 7, 11 to make 24.", "not a Countdown question"),
        ("Use -3, 5 and 11 to make 24.", "not a Countdown question"),
        ("Use 3.5, 5 and 11 to make 24.", "not a Countdown question"),
        ("Use ٣, 5 and 11 to make 24.", "not a Countdown question"),
        ("Uſe 3, 5 and 11 to make 24.", "not a Countdown question"),
        ("Use 3 and 5 to make 8.", "this one has 2"),
        ("Use 1, 2, 3, 4, 5, 6 and 7 to make 8.", "this one has 7"),
        ("Use 0, 5 and 11 to make 24.", "0 is not a whole number from 1"),
        ("Use 3, 5 and 11 to make 0.", "0 is not a whole number from 1"),
        ("Use 3, 5 and 11 to make 1000001.", "1000001 is not"),
        (f"Use 3, 5 and {'9' * 9000} to make 24.", "9… is not a whole number"),
        ("x" * 9000, "not a Countdown question"),
        ("Use 3" + ", 5" * 9000, "not a Countdown question"),
    ],
)
def test_other_questions_are_refused_in_one_short_line(question: str, says: str) -> None:
    with pytest.raises(QuestionError) as caught:
        Puzzle.parse(question)
    message = str(caught.value)
    assert says in message
    assert "write it like 'Use 3, 5, 7 and 11 to make 24.'" in message
    assert "\n" not in message
    assert len(message) < 250


def test_puzzle_checks_its_values_without_a_question() -> None:
    with pytest.raises(QuestionError):
        Puzzle((3, 5), 8)
    with pytest.raises(QuestionError):
        Puzzle((3, 5, -1), 8)


@given(PUZZLES, st.randoms(use_true_random=False))
def test_split_ignores_the_order_of_the_numbers(puzzle: Puzzle, rng: random.Random) -> None:
    shuffled = list(puzzle.numbers)
    rng.shuffle(shuffled)
    assert split(Puzzle(tuple(shuffled), puzzle.target)) == split(puzzle)


def test_split_never_changes() -> None:
    # Literals: a change would put test puzzles of today into training sets of tomorrow.
    puzzles = [Puzzle((3, 5, 7, 11), target) for target in range(1, 31)]
    # The second letters tell the names apart: tRain, vAlidation, tEst.
    assert "".join(split(puzzle)[1] for puzzle in puzzles) == "errrrrerrereereerarrrrrrrrerer"


def test_splits_have_the_documented_shares() -> None:
    rng = random.Random(5)
    puzzles = {
        Puzzle(tuple(rng.randint(1, 13) for _ in range(4)), rng.randint(1, 100))
        for _ in range(20_000)
    }
    counts = Counter(split(puzzle) for puzzle in puzzles)
    for name, share in (("train", 0.8), ("validation", 0.1), ("test", 0.1)):
        # More than three standard deviations of a fair draw.
        assert abs(counts[name] / len(puzzles) - share) < 0.01


def test_generated_splits_are_disjoint_and_without_duplicates() -> None:
    space = PuzzleSpace(count=3)
    keys: dict[Split, set[object]] = {}
    for name in SPLITS:
        drawn = list(islice(generate(space, name, seed=7), 500))
        assert {split(puzzle) for puzzle in drawn} == {name}
        keys[name] = {puzzle.key for puzzle in drawn}
        assert len(keys[name]) == 500
    assert not keys["train"] & keys["test"]
    assert not keys["train"] & keys["validation"]
    assert not keys["validation"] & keys["test"]


GENERATE_AND_PRINT = """
from itertools import islice
from sprint_agent.countdown import PuzzleSpace, generate, split
for name in ("train", "validation", "test"):
    for puzzle in islice(generate(PuzzleSpace(), name, seed=3), 200):
        print(puzzle.question, split(puzzle))
"""


def _in_another_process(hash_seed: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", GENERATE_AND_PRINT],
        env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout


def test_every_process_draws_and_splits_alike() -> None:
    here = "".join(
        f"{puzzle.question} {split(puzzle)}\n"
        for name in SPLITS
        for puzzle in islice(generate(PuzzleSpace(), name, seed=3), 200)
    )
    assert _in_another_process("1") == here
    assert _in_another_process("4242") == here


def test_another_seed_draws_other_puzzles() -> None:
    first, second = (list(islice(generate(PuzzleSpace(), "test", s), 20)) for s in (1, 2))
    assert first != second


@pytest.mark.parametrize(
    "space",
    [
        PuzzleSpace(),
        PuzzleSpace(count=3, low=5, high=9, target_low=20, target_high=40),
        PuzzleSpace(count=5, target_low=500, target_high=999),
        PuzzleSpace(count=6, low=50, high=100),
    ],
)
def test_drawn_puzzles_are_in_their_space_and_solvable(space: PuzzleSpace) -> None:
    for puzzle in islice(generate(space, "train", seed=11), 10):
        assert len(puzzle.numbers) == space.count
        assert all(space.low <= number <= space.high for number in puzzle.numbers)
        assert space.target_low <= puzzle.target <= space.target_high
        assert puzzle.target in reachable(puzzle.numbers, puzzle.target, puzzle.target)


def test_numbers_keep_the_order_of_the_draw() -> None:
    drawn = list(islice(generate(PuzzleSpace(), "train", seed=1), 50))
    assert any(puzzle.numbers != tuple(sorted(puzzle.numbers)) for puzzle in drawn)


def test_a_small_space_is_drawn_to_the_last_puzzle() -> None:
    space = PuzzleSpace(count=3, low=1, high=2)
    drawn = {puzzle.key for name in SPLITS for puzzle in generate(space, name, seed=0)}
    numbers = [(1, 1, 1), (1, 1, 2), (1, 2, 2), (2, 2, 2)]
    assert drawn == {(n, target) for n in numbers for target in reachable(n, 1, 100)}


def test_a_space_without_solvable_puzzles_ends_the_stream() -> None:
    space = PuzzleSpace(count=3, low=1, high=2, target_low=900, target_high=999)
    assert list(generate(space, "train", seed=0)) == []


@pytest.mark.parametrize(
    "bad",
    [
        {"count": 2},
        {"count": 7},
        {"low": 0},
        {"low": 5, "high": 4},
        {"target_low": 0},
        {"target_low": 9, "target_high": 8},
        {"target_high": 10**6 + 1},
    ],
)
def test_impossible_spaces_are_refused(bad: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must"):
        PuzzleSpace(**bad)


def test_a_space_is_read_from_text() -> None:
    assert PuzzleSpace.parse("4:99") == PuzzleSpace(count=4, high=99)
    assert PuzzleSpace.parse("5") == PuzzleSpace(count=5)
    for text in ("", "four", "4:", "9", "4:0"):
        with pytest.raises(ValueError, match=r"not COUNT or COUNT:HIGHEST|count must|numbers must"):
            PuzzleSpace.parse(text)


@cache
def _signed(numbers: tuple[int, ...]) -> frozenset[int]:
    """Returns all results of signed whole-number arithmetic, by replacing two numbers at a time."""
    if len(numbers) == 1:
        return frozenset(numbers)
    found: set[int] = set()
    for i, a in enumerate(numbers):
        for j, b in enumerate(numbers):
            if i == j:
                continue
            rest = tuple(n for k, n in enumerate(numbers) if k not in (i, j))
            results = [a + b, a - b, a * b]
            if b and a % b == 0:
                results.append(a // b)
            for result in results:
                found |= _signed(tuple(sorted((*rest, result))))
    return frozenset(found)


@pytest.mark.parametrize("count", [3, 4])
def test_reachable_agrees_with_signed_arithmetic(count: int) -> None:
    rng = random.Random(count)
    for _ in range(60):
        numbers = tuple(rng.randint(1, 13) for _ in range(count))
        expected = sorted(value for value in _signed(tuple(sorted(numbers))) if 1 <= value <= 100)
        assert reachable(numbers, 1, 100) == tuple(expected)


def test_intermediate_results_may_be_zero() -> None:
    assert 7 in reachable((5, 5, 7), 1, 100)  # 5 − 5 + 7
    assert 13 in reachable((9, 9, 12, 13), 1, 100)  # (9 − 9) × 12 + 13


def test_four_numbers_are_drawn_fast() -> None:
    list(islice(generate(PuzzleSpace(), "train", seed=0), 5_000))
    start = time.process_time()
    list(islice(generate(PuzzleSpace(), "train", seed=1), 4_000))
    assert time.process_time() - start < 2
