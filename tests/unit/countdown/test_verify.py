"""The Countdown verifier computes exact values and refuses everything but a right answer."""

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
    """An expression tree. The tests evaluate and render it independently of the verifier."""

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
    """Renders the tree with parentheses around every operation."""
    if isinstance(tree, int):
        return str(tree)
    return f"({_full(tree.left)}{tree.operator}{_full(tree.right)})"


def _sparse(tree: Tree, above: int = 0) -> str:
    """Renders the tree with typographic signs and only the parentheses that are needed."""
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
def test_rendered_trees_have_the_value_of_the_tree(tree: Tree) -> None:
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
    """Draws a right answer and its puzzle. The puzzle is derived from the tree."""
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
def test_right_answers_may_be_written_in_several_ways(answer: str) -> None:
    assert explain(answer, PUZZLE) is None
    assert verify(answer, PUZZLE)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ("", "empty"),
        (" \n", "empty"),
        ("= 24", "not the end"),
        ("24", "24 is not a number of"),
        ("3 + 5 + 7 + 11", "value is 26"),
        ("3 * 5 + 7", "11 is used 0 times"),
        ("3 * 5 + 7 + 11 - 3 * 3", "3 is used 3 times"),
        ("(7 - 3) * (11 - 5) + 0", "0 is not a number of"),
        ("35 + 7 - 11", "35 is not a number of"),
        (f"{RIGHT} = 25", "'= 25'"),
        (f"{RIGHT} = 24 = 24", "not '='"),
        (f"24 = {RIGHT}", "not '='"),
        (f"{RIGHT} = ", "not '='"),
        (f"{RIGHT} = )", "not '='"),
        (f"{RIGHT} = 12 * 2", "not '='"),
        (f"{RIGHT} = 24.0", "'.' is not allowed"),
        ("7 ** 3 + 5 - 11", "not '*'"),
        ("7 ^ 3 + 5 - 11", "'^' is not allowed"),
        ("11 // 5 + 7 * 3", "not '/'"),
        ("11 % 5 + 7 * 3", "'%' is not allowed"),
        ("7 3 + 5 + 11", "not '3'"),
        ("3(5 + 7) - 11", "not '('"),
        ("(5 + 7)(11 - 3)", "not '('"),
        ("(5 + 7)3 + 11", "not '3'"),
        ("-3 + 5 + 7 + 11", "not '-'"),
        ("5 + 7 + 11 + -3", "not '-'"),
        ("5 + 7 + (-3) + 11", "not '-'"),
        ("3.0 + 5 + 7 + 11", "'.' is not allowed"),
        ("3e0 + 5 + 7 + 11", "'e' is not allowed"),
        ("0x3 + 5 + 7 + 11", "'x' is not allowed"),
        ("1_1 + 5 + 7 + 3", "'_' is not allowed"),
        ("a + 5 + 7 + 11", "'a' is not allowed"),
        ("__import__('os')", "'_' is not allowed"),
        ("abs(3) + 5 + 7 + 11", "'a' is not allowed"),
        ("3 + 5, 7 + 11", "',' is not allowed"),
        ("3 + 5; 7 + 11", "';' is not allowed"),
        ("[3] + 5 + 7 + 11", "'[' is not allowed"),
        (r"\boxed{24}", "is not allowed"),
        (f"${RIGHT}$", "'$' is not allowed"),
        ("٣ + 5 + 7 + 11", "is not allowed"),
        ("３ + 5 + 7 + 11", "is not allowed"),
        ("³ + 5 + 7 + 11", "is not allowed"),
        ("3 + 5 / (7 - 7) + 11", "divides by zero"),
        ("3 / 0", "divides by zero"),
        ("(3 + 5", "closing parenthesis"),
        ("3 + 5)", "not ')'"),
        ("()", "not ')'"),
        ("3 +", "not the end"),
        ("* 3", "not '*'"),
        ("1+" * 300 + "1", "longer than 500"),
        ("(" * 250 + "1" + ")" * 249, "nested more than 50"),
        ("(" * 500, "nested more than 50"),
    ],
)
def test_wrong_answers_are_explained(answer: str, says: str) -> None:
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


def test_repeated_numbers_are_used_repeatedly() -> None:
    puzzle = Puzzle((2, 2, 6), 24)
    assert verify("2 * 2 * 6", puzzle)
    assert "2 is used 1 times" in str(explain("2 * 6 + 6 + 6", Puzzle((2, 2, 6, 6, 6), 24)))


def test_evaluate_takes_an_expression_without_a_claim() -> None:
    with pytest.raises(ExpressionError):
        evaluate("3 = 3")
    assert issubclass(ExpressionError, ValueError)
    assert issubclass(ExpressionError, SprintError)


@pytest.mark.parametrize("unit", ["9*", "9/", "9+", "99999999/7*", "(9*", "1/3+"])
def test_the_longest_answers_are_checked_fast(unit: str) -> None:
    start = time.process_time()
    explain((unit * 500)[:499] + "9", PUZZLE)
    explain("9" * 500, PUZZLE)
    assert time.process_time() - start < 0.2
