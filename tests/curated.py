"""Curated trajectories for tests of later steps: examples of several stages, written by hand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from curate.candidate import Candidate
from curate.drops import DroppedRecord, Reason, Step
from curate.files import jsonl
from curate.pack.leaks import Leak, with_edges
from curate.pack.stages import Packed, packed_stages
from curate.read.traces import TracedRun
from curate.trajectory import Annotated, Component, Trajectory
from sprint_agent.countdown import PuzzleSpace
from sprint_agent.protocol import tags
from sprint_agent.protocol.transcript import StageText, Transcript

SMALL = ((PuzzleSpace(count=3), 1), (PuzzleSpace(count=4), 9))
"""Countdown puzzles whose executions ask no smaller puzzles, so the trajectories are short."""


def plan(number: int, text: str, description: str, *parents: int) -> Component:
    """Returns a step without a prompt."""
    return Component(number, plan=text, description=description, parents=frozenset(parents))


def task(
    number: int, text: str, prompt: str, execution: str, description: str, *parents: int
) -> Component:
    """Returns a step with a prompt and its execution."""
    return Component(number, text, prompt, execution, "", description, frozenset(parents))


def candidate(
    question: str,
    answer: str,
    components: Sequence[Component],
    leaks: Sequence[Leak] = (),
    *,
    source: str = "math.jsonl:1",
    unsplit: bool = False,
) -> Candidate:
    """Returns a packed trajectory of these components, with the edges that the leaks add."""
    text = "".join(f"{c.plan}{c.execution}{c.comment}" for c in components)
    mended = with_edges(components, leaks)
    annotated = Annotated(Trajectory(question, text, answer, source), mended)
    return Candidate(Packed(annotated, packed_stages(mended, 1), tuple(leaks)), None, unsplit)


def run(
    question: str, answer: str, stages: Iterable[tuple[str, Sequence[tuple[str, str]]]]
) -> Candidate:
    """Returns a recorded run. Each stage is a thought, and prompts with their executions."""
    texts: list[StageText] = []
    for n, (thought, tasks) in enumerate(stages, 1):
        prompts = [tags.prompt(n, k, prompt) for k, (prompt, _) in enumerate(tasks, 1)]
        turn = tags.plan(n, [f"{thought}\n{prompts[0]}", *prompts[1:]] if prompts else [thought])
        texts.append(StageText(turn, tuple(text for _, text in tasks)))
    transcript = Transcript(question, tuple(texts), tags.answer(answer))
    given = Trajectory(question, transcript.text, answer, "run-3.jsonl")
    learned = {f"1.{k}": text for k, text in enumerate(texts[0].executions[:2], 1)} if texts else {}
    return Candidate(run=TracedRun(given, transcript, learned))


def dropped(counts: Iterable[tuple[Step, Reason, int]]) -> list[DroppedRecord]:
    """Returns records of dropped trajectories, as many for each step and reason as `counts` says."""
    return [
        DroppedRecord(f"math.jsonl:{n}", "What?", step, reason, "detail")
        for step, reason, count in counts
        for n in range(count)
    ]


def write(folder: Path, kept: Iterable[Candidate], lost: Iterable[DroppedRecord] = ()) -> Path:
    """Writes a folder with the files of a selection."""
    jsonl.write(kept, folder / "selected.jsonl")
    jsonl.write(lost, folder / "dropped.jsonl")
    return folder


QUARTIC = candidate(
    "Let $f(x) = x^4 - 10x^3 + 35x^2 - 50x + 24$. Find the sum of the squares of its real roots, and the"
    " minimum value of $f$ on the interval $[1, 4]$. Give the sum of both.",
    "29",
    [
        plan(
            1, "I need the roots first, and independently of them the critical points.\n", "Set out"
        ),
        task(
            2,
            "The polynomial looks like it has small integer roots.\n",
            "Find all real roots of $x^4 - 10x^3 + 35x^2 - 50x + 24$ by testing divisors of 24.",
            "Testing: $f(1) = 1 - 10 + 35 - 50 + 24 = 0$.\n"
            "Dividing by $(x-1)$ leaves $x^3 - 9x^2 + 26x - 24$.\n"
            "$8 - 36 + 52 - 24 = 0$, so $x = 2$ is one as well.\nWhat remains is $(x-3)(x-4)$.\n",
            "Find the real roots by testing the divisors of 24",
            1,
        ),
        task(
            3,
            "By Vieta I can get the same sum without the roots.\n",
            "Use Vieta's formulas: compute $e_1^2 - 2e_2$ with $e_1 = 10$ and $e_2 = 35$.",
            "$e_1^2 - 2e_2 = 100 - 70 = 30$.\nSo the sum of the squares is $30$.\n",
            "Vieta: $e_1^2 - 2e_2$",
            1,
        ),
        task(
            4,
            "For the minimum, differentiate.\n",
            "Compute $f'(x)$ and find its zeros.",
            "$f'(x) = 4x^3 - 30x^2 + 70x - 50$.\nIt has the zero $x = \\frac{5}{2}$.\nThe others are"
            " $\\frac{5 \\pm \\sqrt{5}}{2}$.\n",
            "Critical points of f",
            1,
        ),
        task(
            5,
            "Now the values there.\n",
            "Evaluate $f$ at $\\frac{5 \\pm \\sqrt 5}{2}$ and at $\\frac52$; which is least?",
            "With $u = x^2 - 5x$: $f = (u+4)(u+6)$.\nIts least value is at $u = -5$: $f = -1$.\n",
            "Evaluate f at the critical points",
            4,
        ),
        task(
            6,
            "Cross-check the roots.\n",
            "Check that $1, 2, 3, 4$ multiply to $24$ and add up to $10$.",
            "$1 \\cdot 2 \\cdot 3 \\cdot 4 = 24$ and $1 + 2 + 3 + 4 = 10$.\nBoth hold.\n",
            "Cross-check the roots with Vieta",
            2,
        ),
        plan(
            7, "Roots and Vieta agree: 30, and the minimum is -1.\n", "Compare and add up", 3, 5, 6
        ),
    ],
    source="math.jsonl:17",
)

TRIANGLE = candidate(
    "In triangle $ABC$, $AB = 13$, $BC = 14$, $CA = 15$. Let $D$ be the foot of the altitude from $A$."
    " Find $\\frac{R}{r} \\cdot AD$, where $R$ is the circumradius and $r$ the inradius.",
    "\\frac{195}{8}",
    [
        plan(
            1,
            "I need R, r and AD; all three come from the area.\n",
            "Everything comes from the area",
        ),
        task(
            2,
            "",
            "Compute the area of the triangle with sides 13, 14, 15 by Heron's formula.",
            "$s = 21$, and the area is $\\sqrt{21 \\cdot 8 \\cdot 7 \\cdot 6} = 84$.\n",
            "Area by Heron's formula",
            1,
        ),
        task(
            3,
            "The circumradius needs the product of the sides.\n",
            "Compute $13 \\cdot 14 \\cdot 15$.",
            "$13 \\cdot 14 = 182$, and $182 \\cdot 15 = 2730$.\n",
            "Product of the sides",
            1,
        ),
        task(
            4,
            "Altitude from A.\n",
            "Compute $AD$ from the area and $BC = 14$.",
            "$AD = \\frac{2 \\cdot 84}{14} = 12$.\n",
            "Altitude AD",
            1,
        ),
        task(
            5,
            "",
            "Compute $R = \\frac{abc}{4K}$.",
            "$R = \\frac{2730}{336} = \\frac{65}{8}$.\n",
            "Circumradius R",
            2,
            3,
        ),
        task(6, "", "Compute $r = K / s$.", "$r = 84 / 21 = 4$.\n", "Inradius r", 2),
        plan(7, "Put together: (65/8)/4 * 12 = 195/8.\n", "Put together", 4, 5, 6),
    ],
    [Leak(4, 2, "84")],
    source="math.jsonl:204",
)

COUNTING = candidate(
    "How many five-digit numbers with digits from {1, …, 7}, all different, are divisible by 4 or have a"
    " digit sum that is divisible by 3? Explain how inclusion and exclusion is used.",
    "1 464",
    [
        plan(1, "Inclusion–exclusion over two properties.\n", "Plan: inclusion and exclusion"),
        plan(
            2, "First the conventions: leading zeros do not occur.\n", "No leading zeros occur", 1
        ),
        task(
            3,
            "",
            "Count those divisible by 4.",
            "Endings: 12, 16, 24, …\nTen of them, each 60 ways: 600.\n",
            "Count multiples of 4 by their last two digits",
            1,
        ),
        task(
            4,
            "",
            "Count those with digit sum divisible by 3.",
            "Sums are 15 to 25.\nSubsets: 7.\n7 * 120 = 840.\n",
            "Count digit sums divisible by 3",
            1,
            2,
        ),
        task(
            5,
            "",
            "List the pairs of omitted digits.",
            "Omit a, b with a + b = 1 mod 3.\nSeven pairs.\n",
            "List pairs of omitted digits whose sum leaves remainder 1",
            2,
        ),
        task(
            6,
            "",
            "Count those with both properties, by ending.",
            "For each ending count subsets.\n24 in all.\n",
            "Both properties",
            3,
            4,
        ),
        task(
            7,
            "",
            "Check the count of 4 by a second way.",
            "By the last digit: 2, 4, 6.\nThe same.\n",
            "Second way for multiples of 4",
            3,
        ),
        plan(8, "Both agree, so go on.\n", "Both ways agree", 7),
        task(
            9,
            "",
            "Check the subsets by generating functions.",
            "The coefficient is 7.\nIt agrees.\n",
            "Generating function as a check of the subsets",
            5,
            8,
        ),
        task(
            10,
            "",
            "Check small analogue: three digits from {1,…,5}.",
            "By listing: 33.\nBy formula: 33.\n",
            "Small analogue by brute force",
            6,
        ),
        plan(11, "Everything agrees.\n", "Conclude", 1, 6, 9, 10),
    ],
    source="math.jsonl:88",
)

CHAIN = candidate(
    "What is the units digit of $7^{2023}$?",
    "3",
    [
        task(
            1,
            "Powers of 7 cycle.\n",
            "Find the cycle of the units digits of $7^n$.",
            "7, 9, 3, 1, then again.\nThe period is 4.\n",
            "Find the cycle of units digits",
        ),
        task(
            2,
            "",
            "Reduce 2023 modulo 4.",
            "$2023 = 4 \\cdot 505 + 3$.\nSo the remainder is 3.\n",
            "Reduce the exponent",
            1,
        ),
        plan(3, "So the digit is 3.\n", "Read it off", 2),
    ],
    source="math.jsonl:301",
    unsplit=True,
)

RUN = run(
    "Use 3, 5, 7 and 11 once each to make 24.",
    "(7 - 3) * (11 - 5)",
    [
        (
            "Sums and differences first.",
            [
                ("a + b", "= 18, none.\n"),
                ("a - b", "= 4, none.\n"),
                ("a - c, and go through what the others make of it", "= 6, 4 * 6 yes.\n"),
            ],
        ),
        ("The third hit; check it.", [("Check (7 - 3) * (11 - 5) = 24", "4 * 6 = 24. Right.\n")]),
    ],
)

HAND_WRITTEN = (QUARTIC, TRIANGLE, COUNTING, CHAIN, RUN)
