"""Claims: the forms in which models state an answer, and replies that state none."""

from __future__ import annotations

import time

import pytest

from curate.read.claims import claim, marked


@pytest.mark.parametrize(
    ("reply", "claimed"),
    [
        # Boxes.
        ("So $\\boxed{4}$.", "4"),
        ("First \\boxed{3}, then \\boxed{4}.", "4"),
        ("The answer is 3, I mean $\\boxed{4}$. I hope it is correct.", "4"),
        ("\\boxed{\\left\\{ 1 \\right.}", "\\left\\{ 1 \\right."),
        ("Hence $\\boxed 5$.", "5"),
        # Statements.
        ("**Answer: B**", "B"),
        ("**Answer:** B", "B"),
        ("**Answer**: B", "B"),
        ("ANSWER: (C)", "(C)"),
        ("Answer: $\\frac{1}{2}$.", "$\\frac{1}{2}$"),
        ("The answer is 42.", "42"),
        ("The answer is 3.14.", "3.14"),
        ("The answer is 1, 2, 3, ...", "1, 2, 3, ..."),
        ("The final answer is: $x = 4$", "$x = 4$"),
        ("The correct answer is **B**.", "B"),
        ("The correct answer is B, since light bends.", "B"),
        ("So the answer is 18 because he eats 2.", "18"),
        ("The answer to the question is 12. Done!", "12"),
        ("The correct option is (D).", "(D)"),
        ("Therefore, the answer should be 7.\n\nHope this helps!", "7"),
        ("Answer: The final answer is 5.", "5"),
        ("The answer is 4. No: the answer is 5.", "5"),
        ("The answer is not 4. The answer is 6", "6"),
        ("<answer>17</answer>", "17"),
        ("<answer> 17 </answer><|im_end|>", "17"),
        ("She makes 9 * 2 = 18.\n#### 18\n", "18"),
        ("### Final Answer\n\n$12$", "$12$"),
        ("**Final Answer**\n\nB", "B"),
        ("The answer is:\n$$\nx^2\n$$", "x^2"),
        ("The answer is\n\\[ 5 \\]\nas wanted.", "5"),
        # The last line.
        ("Adding up.\n\n**B**", "B"),
        ("Adding up.\n\n**42**.", "42"),
        ("Adding up.\n\nThe sum is **42**.", "42"),
        ("Adding up.\n\n$x = 4$", "x = 4"),
        ("Adding up.\n\nSo the value is $x^2$.", "x^2"),
        ("Adding up.\n$$\n\\frac{1}{2}\n$$\n", "\\frac{1}{2}"),
        ("Adding up.\n42", "42"),
        ("Adding up.\n18 cm", "18 cm"),
        ("Adding up.\n$18.50", "$18.50"),
        ("Adding up.\nx = 4", "x = 4"),
        ("Adding up.\n(B)", "(B)"),
        ("Adding up.\nOption C.", "Option C"),
        ("Adding up.\nThus, $x = 4$.", "x = 4"),
        ("Adding up.\nSo x = 4.", "x = 4"),
        ("Adding up.\nThe total is 18.", "18"),
        ("Adding up.\nTherefore the total is $18.50.", "$18.50"),
        ("Adding up.\n**B. Paris**", "B. Paris"),
        ("The answer is **(C)**.", "(C)"),
        ("The answer is: A. Because it is.", "A"),
        ("Answer: (B) 3.5 m/s", "(B) 3.5 m/s"),
        ("Final answer: x = 3 or x = 4.", "x = 3 or x = 4"),
        ("Adding up.\n42\n\n<|end_of_solution|>\n", "42"),
    ],
)
def test_a_claim(reply: str, claimed: str) -> None:
    assert claim(reply) == claimed


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "\n\n",
        "So \\boxed{4}, no, \\boxed{5",
        "So \\boxed{4}, no, \\boxed{}",
        "The answer is 4. Or \\boxed{ }",
        "The answer is 4. No, the answer is",
        "**Answer:**",
        "The answer is:\n$$\nx^2",
        "We are done.",
        "The answer is not 4.",
        "Hope this helps!",
        "He has 18 apples and eats some of them.",
        "So it is done.",
        "Let $x$ be the larger number, and let us see.",
        "---",
    ],
)
def test_no_claim(reply: str) -> None:
    assert claim(reply) == ""


@pytest.mark.parametrize(
    ("solution", "answer"),
    [
        ("We add.\n\nSo \\boxed{4}.", "4"),
        ("9 * 2 = 18\n#### 18", "18"),
        ("9 * 2 = 18\n#### 1,800\n", "1,800"),
        ("#### Step 1\nWe add.\nIt is 4.", ""),
        ("It is 4.", ""),
        ("\\boxed{4", ""),
        ("\\boxed{}", ""),
    ],
)
def test_the_answer_that_a_solution_marks(solution: str, answer: str) -> None:
    assert marked(solution) == answer


@pytest.mark.parametrize(
    "piece",
    [
        *(
            "\\boxed{",
            "\\boxed ",
            "answer ",
            "answer",
            "the answer to ",
            "Answer:",
            "answer is ",
            "\n",
        ),
        *(" ", "*", "**a", "$", "$$", "\\[", "#", "####", "#### ", "# \n", "<|a|>\n", "<|", ". "),
        *("answer\n", "**Answer**\n", "answer is\n", "because ", "_", "is $", "`", "- ", "\x00"),
    ],
)
def test_the_time_per_character_is_flat(piece: str) -> None:
    def seconds(characters: int) -> float:
        text = piece * (characters // len(piece))
        start = time.process_time()
        claim(text)
        marked(text)
        return time.process_time() - start

    # A quadratic reader would take 100 times as long for each character.
    assert seconds(1_000_000) / 100 < 20 * max(seconds(10_000), 0.001)
