"""Scripts for the ScriptedEngine, shared by many tests."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sprint_agent import Execution, Executor, Limits, Sprint, Task
from sprint_agent.protocol import tags
from sprint_agent.protocol.context import Snapshot
from sprint_agent.testing import Reply, ScriptedEngine

_EXECUTION = re.compile(r"<execution_(\d+)\.(\d+)>\n\Z")


def plan(*tasks: str, stage: int = 1) -> str:
    """Returns a plan with one prompt a task. "name: task" is for the executor of that name."""
    prompts: list[str] = []
    for number, task in enumerate(tasks, 1):
        name, _, rest = task.rpartition(": ")
        attribute = f' executor="{name}"' if name else ""
        tag = f"prompt_{stage}.{number}"
        prompts.append(f"<{tag}{attribute}> {rest} </{tag}>")
    return f"<Plan_{stage}>\n" + "\n-----\n".join(prompts) + f"\n</Plan_{stage}>"


def answer(text: str) -> str:
    return f"<Final_answer>\n\\boxed{{{text}}}\n</Final_answer>"


def execution_of(prompt: str) -> tuple[int, int] | None:
    """Returns the stage and number of the execution that a context ends with, or None."""
    match = _EXECUTION.search(prompt)
    return (int(match[1]), int(match[2])) if match else None


class Scripted:
    """Replies to the planner with `turns`, one after another, to executors with `executions`."""

    def __init__(
        self,
        turns: list[str | Reply],
        executions: Mapping[tuple[int, int], str | Reply] | None = None,
    ) -> None:
        self.turns = list(turns)
        self.executions = executions or {}

    def __call__(self, prompt: str) -> str | Reply:
        number = execution_of(prompt)
        if number is None:
            return self.turns.pop(0)
        return self.executions.get(number, f"did {number[0]}.{number[1]}\n</execution_")


class Continuing:
    """Continues `turns` and executions from where a context ends, also in their middle."""

    def __init__(self, turns: list[str]) -> None:
        self.turns = turns

    def __call__(self, prompt: str) -> str:
        opened = list(re.finditer(r"<execution_(\d+)\.(\d+)>\n", prompt))
        if opened and "</" not in prompt[opened[-1].end() :]:
            text = f"did {opened[-1][1]}.{opened[-1][2]}\n</execution_"
            return text[len(prompt) - opened[-1].end() :]
        stages = list(re.finditer(r"<think>\n|</Execution_\d+>\n\n", prompt))
        return self.turns[len(stages) - 1][len(prompt) - stages[-1].end() :]


def continuing(script: Callable[[str], str]) -> Callable[[str], str]:
    """Returns a script that also continues one of its answers from the middle, as a model does.

    Such an answer begins after a line break of the prompt.
    """

    def continued(prompt: str) -> str:
        for end in range(len(prompt), 0, -1):
            if prompt[end - 1] == "\n":
                said, begun = script(prompt[:end]), prompt[end:]
                if said.startswith(begun) and (begun or not _inside(prompt)):
                    return said[len(begun) :]
        return script(prompt)

    return continued


def _inside(prompt: str) -> bool:
    """Returns whether a prompt ends in the middle of a plan or an answer."""
    last = re.split(r"<think>\n|</Execution_\d+>\n\n", prompt)[-1]
    return bool(last) and not _EXECUTION.search(prompt)


async def executed(
    *executors: Executor, tasks: Sequence[tuple[str | None, str]], limits: Limits = Limits()
) -> list[Execution]:
    """Runs one stage with `tasks`, each (executor, prompt), and returns its executions."""
    prompts = [tags.prompt(1, n, text, name) for n, (name, text) in enumerate(tasks, 1)]
    turns: list[str | Reply] = [f"{tags.plan(1, prompts)}</Plan_1>", answer("done")]
    agent = Sprint(ScriptedEngine(Scripted(turns)), executors=executors, limits=limits)
    result = await agent.solve("What?")
    assert result.answer == "done"
    return list(result.stages[0].executions)


def a_task(prompt: str, handle: Any = None) -> Task:
    """Returns a task for an executor that is called without a run."""
    return Task(prompt, 1, 1, Snapshot("", None), "test", handle)
