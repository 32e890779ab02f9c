"""Turns a run's text into the messages of a chat, for a model that was not trained on the tags.

The end of the text determines what the reply is expected to be: a new turn of the planner, the final
answer, an execution, or the rest of a turn that broke off. The planner's turns become messages of the
assistant, and the executions become messages of the user. Messages are only appended, so a server's
prefix cache hits. Each execution gets its own chat.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sprint_agent.engine import ExecutorCard
from sprint_agent.protocol import tags
from sprint_agent.protocol.tags import PromptClosed, TurnParser
from sprint_agent.protocol.transcript import StageText, Unfinished, parse_unfinished

Expected = Literal["turn", "answer", "execution", "rest", "text"]
"""What a reply is expected to be: a turn of the planner, its final answer, an execution, the rest of a
turn, or any text."""

_EXECUTION = re.compile(r"\n<execution_\d+\.\d+>\n")

_PLANNER = """\
You answer a question by planning. What can be worked on side by side, you hand to executors. They \
work at the same time, so the answer is there sooner the more you hand on at once.

Each of your messages is one turn: either a plan, or the final answer. A plan looks like this:

<Plan_1>
<prompt_1.1> a task </prompt_1.1>
<prompt_1.2> another task </prompt_1.2>
</Plan_1>

- Write the tags just so. Plan 2 is <Plan_2> … </Plan_2>, and its tasks are 2.1, 2.2, and so on. Each \
task is closed by its own tag. Put no code fence around a plan.
- The tasks of a plan are done at the same time, so none may need what another one of the same plan \
finds. What needs it belongs into the next plan.
- Each task must say all that its executor needs. It knows the question and what earlier plans found, \
but not the other tasks of its own plan.
- Do not do the tasks yourself, and do not make up what they find: your turn ends with the plan. The \
next message tells you, as <execution_1.1> and so on. An execution that failed says why. One whose tag \
says accepted, as in <execution_1.1 accepted>, has passed a check of its answer, and the last line may \
say what the check found. Where no execution was accepted, what they claim is not the answer.

When you know the answer, or when a plan would not help, write this in place of a plan:

<Final_answer>
\\boxed{the answer}
</Final_answer>

"""
_ANYONE = "Every task goes to a language model like you."
_SOMEONE = """\
A task goes to a language model like you, unless its tag names another executor, such as \
<prompt_1.1 executor="{name}"> … </prompt_1.1>. These can be named:
{cards}"""

_EXECUTOR = """\
You do one task, which is a part of a larger question. Do this task and nothing else: others work on \
the rest. Answer briefly, with what you found and the few steps that lead there. If the task cannot be \
done, say why in one line. Write plain text, without tags."""
_TASK = "The question, for background only:\n{question}\n\n{known}Your task:\n{task}"
_KNOWN = "What was found so far:\n{text}\n\n"

_NEXT = "Write <Plan_{number}>, or <Final_answer>."
_LAST = (
    "There can be no further plan. Give your best answer now, as\n"
    "<Final_answer>\n\\boxed{the answer}\n</Final_answer>"
)
_GO_ON = (
    "Your message broke off there. Go on right behind its last character, without repeating any "
    "of it, and end it as it should end."
)
_COMPLAINT = "Your last try could not be used: {why}. Keep to the tags just as described."


@dataclass(frozen=True, slots=True)
class Conversation:
    """What a chat model is sent, and what its reply is expected to be."""

    messages: tuple[dict[str, str], ...]
    """Each message is {"role": …, "content": …}."""

    expected: Expected

    last_closing_tag: str | None = None
    """The closing tag of the last complete task in a plan that broke off."""


def build_conversation(
    prompt: str, executors: Sequence[ExecutorCard] = (), complaint: str | None = None
) -> Conversation:
    """Returns the conversation for a run's text. Any other text becomes one message of the user."""
    try:
        run = parse_unfinished(prompt)
    except ValueError:
        return Conversation(_merge([("user", prompt)]), "text")
    opened = _EXECUTION.search(run.rest)
    if opened:
        return _execution(run, run.rest[: opened.start()], run.rest[opened.end() :])
    return _turn(run, executors, complaint)


def _turn(
    run: Unfinished, executors: Sequence[ExecutorCard], complaint: str | None
) -> Conversation:
    """Returns the planner's conversation."""
    messages = [("system", _PLANNER + _executors(executors))]
    messages.append(("user", f"The question:\n{run.question}\n\n{_NEXT.format(number=1)}"))
    for number, stage in enumerate(run.stages, 1):
        closing, executions = _stage_end(number, stage)
        messages.append(("assistant", stage.turn + closing))
        messages.append(("user", f"{executions}\n\n{_NEXT.format(number=number + 1)}"))
    expected, begun, last_closing_tag = _expected(run.rest)
    if begun.strip():
        messages.append(("assistant", begun))
    if expected == "rest":
        messages.append(("user", _GO_ON))
    elif expected == "answer":
        messages.append(("user", _LAST))
    if complaint is not None:
        messages.append(("user", _COMPLAINT.format(why=complaint)))
    return Conversation(_merge(messages), expected, last_closing_tag)


def _expected(rest: str) -> tuple[Expected, str, str | None]:
    """Reads the text after the last complete stage.

    Returns what is expected after it, the part of it that the planner wrote, and the closing tag of
    its last complete task.
    """
    if rest.endswith(tags.force_answer()):
        return "answer", rest.removesuffix(tags.force_answer()), None
    if not rest.strip():
        return "turn", rest, None
    closed = [e for e in TurnParser().feed(rest) if isinstance(e, PromptClosed)]
    tag = rest[rest.rindex("</", 0, closed[-1].end) : closed[-1].end] if closed else None
    return "rest", rest, tag


def _execution(run: Unfinished, turn: str, begun: str) -> Conversation:
    """Returns an executor's conversation. Its task is the last one of `turn`.

    `begun` is the text that the executor has already written.
    """
    closed = [e for e in TurnParser().feed(turn) if isinstance(e, PromptClosed)]
    task = closed[-1].text if closed else turn
    stages = ["".join([s.turn, *_stage_end(n, s)]) for n, s in enumerate(run.stages, 1)]
    known = _KNOWN.format(text="\n\n".join(stages)) if stages else ""
    messages = [("system", _EXECUTOR)]
    messages.append(("user", _TASK.format(question=run.question, known=known, task=task)))
    if begun.strip():
        messages += [("assistant", begun), ("user", _GO_ON)]
    return Conversation(_merge(messages), "execution")


def _stage_end(number: int, stage: StageText) -> tuple[str, str]:
    """Returns what follows a planner's turn: the end of its plan, and its executions."""
    text = "".join(p.text for p in tags.sync(number, stage.turn, stage.executions, stage.verdict))
    closing, _, executions = text.partition("\n\n")
    return closing, executions.strip()


def _executors(cards: Sequence[ExecutorCard]) -> str:
    if not cards:
        return _ANYONE
    return _SOMEONE.format(name=cards[0].name, cards="\n".join(map(_card, cards)))


def _card(card: ExecutorCard) -> str:
    line = f"- {card.name}: {tags.escape(' '.join(card.description.split()))}"
    if card.schema is None:
        return line
    schema = tags.escape(json.dumps(card.schema))
    return f"{line} Its task is a JSON object and nothing else, by this schema: {schema}"


def _merge(messages: Sequence[tuple[str, str]]) -> tuple[dict[str, str], ...]:
    """Joins successive messages of one role, because some chat templates require alternating roles."""
    merged: list[dict[str, str]] = []
    for role, content in messages:
        if merged and merged[-1]["role"] == role:
            merged[-1]["content"] += f"\n\n{content}"
        else:
            merged.append({"role": role, "content": content})
    return tuple(merged)
