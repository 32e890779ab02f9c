"""Scripts for the ScriptedEngine that several tests share."""

from __future__ import annotations

import re

from sprint_agent.testing import Say

_EXECUTION = re.compile(r"<execution_(\d+)\.(\d+)>\n\Z")


def plan(*tasks: str, stage: int = 1) -> str:
    """A plan that hands on `tasks`; "name: task" goes to the executor of that name."""
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
    """The stage and number of the execution that a prompt asks for, if it asks for one."""
    found = _EXECUTION.search(prompt)
    return (int(found[1]), int(found[2])) if found else None


class Scripted:
    """The planner says `turns` one after another, executor (i, j) says `executions[i, j]`."""

    def __init__(
        self, turns: list[str | Say], executions: dict[tuple[int, int], str | Say] | None = None
    ) -> None:
        self.turns = list(turns)
        self.executions = executions or {}

    def __call__(self, prompt: str) -> str | Say:
        number = execution_of(prompt)
        if number is None:
            return self.turns.pop(0)
        return self.executions.get(number, f"did {number[0]}.{number[1]}\n</execution_")
