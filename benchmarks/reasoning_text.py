"""Writes chains of thought whose dependencies are known, to measure the leak check.

Each step finds something, and each later step that needs it says so in one of the ways in which models
do. Steps also do what only looks like a dependency: they find a number again that another step found,
try numbers one after another, or use separate variables with usual names.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from curate.trajectory import Annotated, Component, Trajectory

Kind = Literal[
    "number",
    "small number",
    "value of a name",
    "new name",
    "formula",
    "proper noun",
    "label",
    "words",
]
"""How a step says what it needs of another one."""

KINDS: dict[Kind, int] = {
    "number": 20,
    "small number": 15,
    "value of a name": 15,
    "new name": 10,
    "formula": 8,
    "proper noun": 7,
    "label": 5,
    "words": 20,
}
"""How often each kind occurs, of 100 dependencies. This is a guess, so the results are for each kind."""

_NOUNS = ("ways", "cases", "pairs", "triangles", "paths", "students", "boxes", "terms", "points")
_PLACES = ("Lake Varna", "Port Ellery", "Anna Moreau", "Mount Kessel", "Pavel Duran", "Saint Olwen")
_FACTS = (
    ("this case is impossible", "Since that case is impossible, only the others remain."),
    ("the sequence is increasing", "Because the sequence increases, its first term is the least."),
    ("the two triangles are similar", "By that similarity, the ratios of the sides are equal."),
    ("so the method does not work", "As the method failed, I look for another one."),
    ("the parity never changes", "With this invariant the claim follows at once."),
    ("it holds for every even number", "What we proved for even numbers carries over."),
)


@dataclass(frozen=True, slots=True)
class Finding:
    """What a step finds."""

    kind: Kind
    said: str
    """How the step says it."""
    used: str
    """How another step uses it."""


@dataclass(frozen=True, slots=True)
class Document:
    """A chain of thought with its components, and how each one says what it needs."""

    annotated: Annotated
    needs: dict[tuple[int, int], Kind]
    """The kind of each dependency, by the numbers of the component and of the one that it needs."""


def documents(count: int, seed: int = 0) -> Iterator[Document]:
    """Yields documents. The same seed yields the same ones."""
    for n in range(count):
        yield _Writer(random.Random(f"{seed}/{n}")).document()


class _Writer:
    """Writes one document."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._given = rng.sample(range(13, 90), 4)
        self._findings: list[Finding] = []
        self._makers: dict[str, Callable[[int], Finding]] = {
            "number": self._number,
            "small number": self._small_number,
            "value of a name": self._named_value,
            "new name": self._new_name,
            "formula": self._formula,
            "proper noun": self._proper_noun,
            "label": self._label,
            "words": self._words,
        }

    def document(self) -> Document:
        rng = self._rng
        a, b, c, d = self._given
        question = (
            f"A club has {a} members, {b} guests and {c} chairs in {d} rooms. How many ways are there "
            "to seat them such that $x$ is even?"
        )
        components: list[Component] = []
        needs: dict[tuple[int, int], Kind] = {}
        for number in range(1, rng.randint(6, 12) + 1):
            most = min(number - 1, rng.choice((0, 1, 1, 1, 2, 2)))
            parents = rng.sample(range(max(1, number - 6), number), most)
            found = self._makers[rng.choices([*KINDS], [*KINDS.values()])[0]](number)
            components.append(self._component(number, parents, found))
            needs |= {(number, parent): self._findings[parent - 1].kind for parent in parents}
            self._findings.append(found)
        text = "".join(c.plan + c.execution + c.comment for c in components)
        return Document(Annotated(Trajectory(question, text, "7"), tuple(components)), needs)

    def _component(self, number: int, parents: list[int], found: Finding) -> Component:
        rng = self._rng
        uses = [self._findings[parent - 1].used for parent in parents]
        work = [*uses, *(self._work() for _ in range(rng.randint(2, 4)))]
        if rng.random() < 0.08 and number > 1:
            work.append(self._found_again(rng.randrange(number - 1)))
        plan = rng.choice(("Next, part {}.", "Let me look at part {}.", "Now for part {}."))
        comment = rng.choice(("", "", "That looks right. ", "Good. "))
        return Component(
            number,
            plan=f"{plan.format(number)}\n",
            prompt=f"Work on part {number} and report what you find",
            execution="\n".join([*work, found.said]) + "\n",
            comment=comment,
            parents=frozenset(parents),
        )

    def _work(self) -> str:
        """Returns a sentence that depends on nothing but the question."""
        rng = self._rng
        a, b = rng.sample(self._given, 2)
        k = rng.randint(2, 9)
        return rng.choice(
            (
                f"There are {a} and {b}, so {a + b} together.",
                f"We have ${a} \\cdot {k} = {a * k}$ here.",
                f"Trying {a + k}, {a + k + 1} and {a + k + 2} leads nowhere.",
                f"Let $n = {k}$, then $n + 1 = {k + 1}$ is fine.",
                f"For each $k$ from 1 to {b}, one seat is free.",
                f"If $m$ is odd, then $m + {k}$ is checked in the same way.",
                f"Modulo {k + 11}, that is {rng.randint(1, k)}.",
                "A full turn has 360 degrees, and a day 24 hours.",
                "I am not sure, so let me check it again.",
                f"The list is {', '.join(str(rng.randint(13, 60)) for _ in range(4))}.",
                f"At {rng.randint(14, 22)}:{rng.randint(13, 59)} nothing has changed.",
                "Case 1 is like the others.",
                "Everyone in the club has a chair. That is easy.",
            )
        )

    def _found_again(self, other: int) -> str:
        """Returns a sentence that finds a number that another step may have found as well."""
        said = self._findings[other].said
        number = next((word for word in said.split() if word.strip(".$").isdigit()), "57").strip(
            ".$"
        )
        half = int(number) // 2
        return self._rng.choice(
            (
                f"Adding {half} to {int(number) - half}, I get {number}. And {number} is fine.",
                f"By counting directly there are {number} of them. Twice {number} is more.",
            )
        )

    def _number(self, number: int) -> Finding:
        n = self._rng.randint(101, 9999)
        said = (f"Altogether this gives {n}.", f"The total is ${n}$.", f"So the count = {n}.")
        used = (
            f"Dividing {n} by 3 comes first.",
            f"Of the {n}, some are even.",
            f"From ${n}$ we subtract the bad ones.",
        )
        return Finding("number", self._rng.choice(said), self._rng.choice(used))

    def _small_number(self, number: int) -> Finding:
        n, noun = self._rng.randint(2, 12), self._rng.choice(_NOUNS)
        said = (
            f"So there are {n} {noun}.",
            f"That leaves {n} {noun}.",
            f"We get {n} {noun} in all.",
        )
        used = (
            f"Each of the {n} {noun} counts twice.",
            f"For these {n} {noun}, the order matters.",
            f"With {n} {noun}, we multiply by 2.",
        )
        return Finding("small number", self._rng.choice(said), self._rng.choice(used))

    def _named_value(self, number: int) -> Finding:
        name, n = f"{self._rng.choice('abcpqrt')}", self._rng.randint(2, 12)
        said = (f"So ${name} = {n}$.", f"Hence {name} = {n}.", f"Solving gives ${name} = {n}$.")
        used = (
            f"Inserting ${name}$ here, it is positive.",
            f"Then ${name}^2 = {n * n}$.",
            f"So ${name} + 1$ is a bound.",
        )
        return Finding("value of a name", self._rng.choice(said), self._rng.choice(used))

    def _new_name(self, number: int) -> Finding:
        name = self._rng.choice(
            (f"T_{number}", f"A_{{{number}}}", "\\omega", "\\theta", "PQ", "DE")
        )
        said = (
            f"Call the result ${name}$.",
            f"Let ${name}$ be that segment.",
            f"I get ${name}$ here.",
        )
        used = (f"We need ${name}$ twice.", f"Adding ${name}$ on both sides helps.")
        return Finding("new name", self._rng.choice(said), self._rng.choice(used))

    def _formula(self, number: int) -> Finding:
        k, m = self._rng.randint(2, 9), self._rng.randint(2, 9)
        formula = self._rng.choice((f"x^2 - {k}x + {m}", f"\\sqrt{{{k}x + {m}}}", f"{k}x^3 + {m}x"))
        said = (f"This simplifies to ${formula}$.", f"So $f(x) = {formula}$.")
        used = (f"The roots of ${formula}$ are real.", f"Differentiating ${formula}$ is easy.")
        return Finding("formula", self._rng.choice(said), self._rng.choice(used))

    def _proper_noun(self, number: int) -> Finding:
        place = self._rng.choice(_PLACES)
        said = (f"So it is {place}.", f"The answer to this part is {place}.")
        used = (f"The oldest record of {place} is next.", f"Who else was with {place}?")
        return Finding("proper noun", self._rng.choice(said), self._rng.choice(used))

    def _label(self, number: int) -> Finding:
        label = self._rng.choice((f"({number})", f"Lemma {number}", f"Claim {number}"))
        said = (f"This shows {label}: it is even.", f"{label}: the sum is even.")
        used = (f"By {label}, the rest is even.", f"We apply {label} to it.")
        return Finding("label", self._rng.choice(said), self._rng.choice(used))

    def _words(self, number: int) -> Finding:
        said, used = self._rng.choice(_FACTS)
        return Finding("words", f"Thus {said}.", used)
