"""The Countdown verifier: exact values, and a refusal for everything that is no right answer."""

from __future__ import annotations

import time
from dataclasses import dataclass
from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sprint_agent.countdown import ExpressionError, Puzzle, evaluate, explain, verify
from sprint_agent.errors import SprintError

PUZZLE = Puzzle((3, 5, 7, 11), 24)
RIGHT = "(7 - 3) * (11 - 5)"


@dataclass(frozen=True)
class Node:
    """An expression tree, with its own evaluation and rendering for the verifier to agree with."""

    operator: str
    left: Node | int
    right: Node | int


Tree = Node | int


def _value(tree: Tree) -> Fraction:
    if isinstance(tree, int):
        return Fraction(tree)
    left, right = _value(tree.left), _value(tree.right)
    match tree.operator:
        case "+":
            return left + right
        case "-":
            return left - right
        case "*":
            return left * right
        case _:
            return left / right


def _leaves(tree: Tree) -> list[int]:
    return [tree] if isinstance(tree, int) else _leaves(tree.left) + _leaves(tree.right)


def _full(tree: Tree) -> str:
    """Every operation in parentheses."""
    if isinstance(tree, int):
        return str(tree)
    return f"({_full(tree.left)}{tree.operator}{_full(tree.right)})"


def _sparse(tree: Tree, above: int = 0) -> str:
    """Only the parentheses that precedence and left association need, typographic signs."""
    if isinstance(tree, int):
        return str(tree)
    rank = 1 if tree.operator in "+-" else 2
    sign = {"+": "+", "-": "−", "*": "×", "/": "÷"}[tree.operator]
    text = f"{_sparse(tree.left, rank)} {sign} {_sparse(tree.right, rank + 1)}"
    return f"({text})" if rank < above else text


def _nodes(children: st.SearchStrategy[Tree]) -> st.SearchStrategy[Tree]:
    return st.builds(Node, st.sampled_from("+-*/"), children, children)


LEAVES: st.SearchStrategy[Tree] = st.integers(0, 13)
TREES: st.SearchStrategy[Tree] = st.recursive(LEAVES, _nodes, max_leaves=12)


@given(TREES)
def test_rendered_trees_are_worth_what_the_tree_is(tree: Tree) -> None:
    try:
        expected = _value(tree)
    except ZeroDivisionError:
        for text in (_full(tree), _sparse(tree)):
            with pytest.raises(ExpressionError, match="divides by zero"):
                evaluate(text)
    else:
        assert evaluate(_full(tree)) == expected
        assert evaluate(_sparse(tree)) == expected


@st.composite
def _solved(draw: st.DrawFn) -> tuple[str, Puzzle]:
    """A right answer with its puzzle: the tree comes first, the puzzle is read off it."""
    numbers = draw(st.lists(st.integers(1, 10), min_size=3, max_size=6))
    trees: list[Tree] = list(numbers)
    while len(trees) > 1:
        pair = [trees.pop(draw(st.integers(0, len(trees) - 1))) for _ in range(2)]
        small, large = sorted(pair, key=_value)
        divides = _value(small) != 0 and (_value(large) / _value(small)).denominator == 1
        operators = "+*-/" if divides else "+*-"
        trees.append(Node(draw(st.sampled_from(operators)), large, small))
    target = int(_value(trees[0]))
    assume(target > 0)
    return _sparse(trees[0]), Puzzle(tuple(draw(st.permutations(numbers))), target)


@given(_solved())
def test_right_answers_are_accepted(solved: tuple[str, Puzzle]) -> None:
    answer, puzzle = solved
    assert explain(answer, puzzle) is None
    assert verify(f"{answer} = {puzzle.target}", puzzle)


@given(_solved(), st.data())
def test_mutated_answers_are_refused(solved: tuple[str, Puzzle], data: st.DataObject) -> None:
    answer, puzzle = solved
    number = str(data.draw(st.sampled_from(puzzle.numbers)))
    mutated = data.draw(
        st.sampled_from(
            [
                f"{answer} + 0",
                f"{answer} * 1",
                f"{answer} + {number} - {number}",
                f"({answer}) ** 1",
                f"({answer}) // 1",
                f"{answer} = {puzzle.target + 1}",
                f"{answer} = {puzzle.target} = {puzzle.target}",
                f"{puzzle.target} = {answer}",
                f"({answer}",
                f"{answer})",
                f"-({answer})",
                f"+{answer}",
                f"{answer}.",
                f"{answer} {number}",
                f"{answer}({number})",
                str(puzzle.target),
            ]
        )
    )
    assert not verify(mutated, puzzle)


@given(st.text(max_size=80) | st.text("0123456789+-*/()= .^", max_size=80))
def test_any_text_gets_a_verdict_in_one_line(text: str) -> None:
    reason = explain(text, PUZZLE)
    assert verify(text, PUZZLE) == (reason is None)
    if reason is not None:
        assert reason.isprintable()


@pytest.mark.parametrize(
    "answer",
    [
        RIGHT,
        "(7-3)*(11-5)",
        "  ( 7 - 3 )\n*\t(11 - 5)  ",
        "(11 − 5) × (7 − 3)",
        "(11 − 5)·(7 − 3)",
        f"{RIGHT} = 24",
        f"{RIGHT}=24",
        "((((7)) - 3)) * (11 - 5)",
        "(3 - 7) * (5 - 11)",
    ],
)
def test_ways_to_be_right(answer: str) -> None:
    assert explain(answer, PUZZLE) is None
    assert verify(answer, PUZZLE)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ("", "empty"),
        (" \n", "empty"),
        ("= 24", "not the end"),
        ("24", "24 is not among"),
        ("3 + 5 + 7 + 11", "worth 26"),
        ("3 * 5 + 7", "11 is used 0 times"),
        ("3 * 5 + 7 + 11 - 3 * 3", "3 is used 3 times"),
        ("(7 - 3) * (11 - 5) + 0", "0 is not among"),
        ("35 + 7 - 11", "35 is not among"),
        (f"{RIGHT} = 25", "'= 25'"),
        (f"{RIGHT} = 24 = 24", "not '='"),
        (f"24 = {RIGHT}", "not '='"),
        (f"{RIGHT} = ", "not '='"),
        (f"{RIGHT} = )", "not '='"),
        (f"{RIGHT} = 12 * 2", "not '='"),
        (f"{RIGHT} = 24.0", "'.' does not belong"),
        ("7 ** 3 + 5 - 11", "not '*'"),
        ("7 ^ 3 + 5 - 11", "'^' does not belong"),
        ("11 // 5 + 7 * 3", "not '/'"),
        ("11 % 5 + 7 * 3", "'%' does not belong"),
        ("7 3 + 5 + 11", "not '3'"),
        ("3(5 + 7) - 11", "not '('"),
        ("(5 + 7)(11 - 3)", "not '('"),
        ("(5 + 7)3 + 11", "not '3'"),
        ("-3 + 5 + 7 + 11", "not '-'"),
        ("5 + 7 + 11 + -3", "not '-'"),
        ("5 + 7 + (-3) + 11", "not '-'"),
        ("3.0 + 5 + 7 + 11", "'.' does not belong"),
        ("3e0 + 5 + 7 + 11", "'e' does not belong"),
        ("0x3 + 5 + 7 + 11", "'x' does not belong"),
        ("1_1 + 5 + 7 + 3", "'_' does not belong"),
        ("a + 5 + 7 + 11", "'a' does not belong"),
        ("__import__('os')", "'_' does not belong"),
        ("abs(3) + 5 + 7 + 11", "'a' does not belong"),
        ("3 + 5, 7 + 11", "',' does not belong"),
        ("3 + 5; 7 + 11", "';' does not belong"),
        ("[3] + 5 + 7 + 11", "'[' does not belong"),
        (r"\boxed{24}", "does not belong"),
        (f"${RIGHT}$", "'$' does not belong"),
        ("٣ + 5 + 7 + 11", "does not belong"),
        ("３ + 5 + 7 + 11", "does not belong"),
        ("³ + 5 + 7 + 11", "does not belong"),
        ("3 + 5 / (7 - 7) + 11", "divides by zero"),
        ("3 / 0", "divides by zero"),
        ("(3 + 5", "closing parenthesis"),
        ("3 + 5)", "not ')'"),
        ("()", "not ')'"),
        ("3 +", "not the end"),
        ("* 3", "not '*'"),
        ("1+" * 300 + "1", "longer than 500"),
        ("(" * 250 + "1" + ")" * 249, "nested deeper"),
        ("(" * 500, "nested deeper"),
    ],
)
def test_ways_to_be_wrong(answer: str, says: str) -> None:
    reason = explain(answer, PUZZLE)
    assert reason is not None
    assert says in reason
    assert "\n" not in reason
    assert not verify(answer, PUZZLE)


def test_division_is_exact() -> None:
    assert evaluate("7/2") == Fraction(7, 2)
    assert evaluate("7÷2×2") == 7
    assert verify("8 / (3 - 8 / 3)", Puzzle((3, 8, 3, 8), 24))
    assert not verify("7 / 2 * 1", Puzzle((7, 2, 1), 3))


def test_operators_of_one_rank_associate_to_the_left() -> None:
    assert evaluate("10 - 5 - 3") == 2
    assert evaluate("12 / 2 * 3") == 18
    assert evaluate("2 + 3 * 4") == 14


def test_depth_counts_nesting_and_not_parentheses() -> None:
    assert evaluate("+".join(["(1)"] * 80)) == 80
    assert evaluate("(" * 50 + "1" + ")" * 50) == 1


def test_numbers_that_stand_twice_are_used_twice() -> None:
    puzzle = Puzzle((2, 2, 6), 24)
    assert verify("2 * 2 * 6", puzzle)
    assert "2 is used 1 times" in str(explain("2 * 6 + 6 + 6", Puzzle((2, 2, 6, 6, 6), 24)))


def test_evaluate_takes_a_bare_expression() -> None:
    with pytest.raises(ExpressionError):
        evaluate("3 = 3")
    assert issubclass(ExpressionError, ValueError)
    assert issubclass(ExpressionError, SprintError)


@pytest.mark.parametrize("unit", ["9*", "9/", "9+", "99999999/7*", "(9*", "1/3+"])
def test_the_longest_answers_take_no_time(unit: str) -> None:
    start = time.process_time()
    explain((unit * 500)[:499] + "9", PUZZLE)
    explain("9" * 500, PUZZLE)
    assert time.process_time() - start < 0.2
