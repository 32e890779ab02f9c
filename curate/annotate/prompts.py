"""What is asked of the model: the prompts in `prompts/`, filled in, with the schemas of their answers.

A prompt's version is in its first line. Whoever changes what a prompt says raises it: answers are kept
under it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from string import Template
from typing import Any

from curate.llm.endpoint import Kind, Message, Query
from curate.split.sentences import numbered
from curate.trajectory import Component, Trajectory
from sprint_agent.protocol.context import replace_surrogates


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt as its file says it."""

    version: str
    system: str
    user: Template


@cache
def prompt(name: str) -> Prompt:
    """The prompt of `prompts/{name}.md`. Raises ValueError where the file is not one."""
    text = (files("curate.annotate") / "prompts" / f"{name}.md").read_text(encoding="utf-8")
    head, _, body = text.partition("\n")
    label, _, version = head.partition(":")
    before, mark, user = body.partition("# User\n")
    if label != "version" or not version.strip() or not mark:
        raise ValueError(f"prompts/{name}.md needs a first line `version: …` and a part `# User`")
    system = before.partition("# System\n")[2]
    return Prompt(version.strip(), system.strip(), Template(user.strip()))


def steps(given: Trajectory, pieces: Sequence[str]) -> Query:
    """Which components the sentences of a trajectory make up."""
    part = {"type": "string", "description": 'sentences, such as "4-6, 8"; "" for none'}
    fields = dict.fromkeys(("plan", "execution", "comment"), part)
    fields |= {name: {"type": "string"} for name in ("description", "prompt")}
    return _query(
        "steps",
        given,
        _listed("components", fields),
        question=given.question,
        count=str(len(pieces)),
        sentences=numbered(pieces),
    )


def dependencies(given: Trajectory, components: Sequence[Component]) -> Query:
    """Which components each component needs."""
    parents = {"type": "array", "items": {"type": "integer"}}
    return _query(
        "dependencies",
        given,
        _listed("components", {"number": {"type": "integer"}, "parents": parents}),
        question=given.question,
        count=str(len(components)),
        components="\n\n".join(_described(component) for component in components),
    )


def leaks(given: Trajectory, stages: Sequence[Sequence[Component]]) -> Query:
    """Which components use what only another component of the same stage found."""
    fields = {"component": {"type": "integer"}, "of": {"type": "integer"}}
    groups = (
        f"## Group {number}\n\n" + "\n\n".join(_described(component) for component in stage)
        for number, stage in enumerate(stages, 1)
    )
    return _query(
        "leaks",
        given,
        _listed("uses", fields | {"value": {"type": "string"}}),
        question=given.question,
        groups="\n\n".join(groups),
    )


def again(query: Query, answer: str, violation: str) -> Query:
    """The same question once more, with the answer that broke a rule, and the rule."""
    ask = prompt("again").user.substitute(violation=violation)
    return replace(
        query,
        attempt=query.attempt + 1,
        version=f"{query.version}/{prompt('again').version}",
        messages=(
            *query.messages,
            Message("assistant", replace_surrogates(answer)),
            Message("user", ask),
        ),
    )


def _query(kind: Kind, given: Trajectory, schema: dict[str, Any], **values: str) -> Query:
    said = prompt(kind)
    messages = (Message("system", said.system), Message("user", said.user.substitute(values)))
    return Query(kind, given.key, 1, said.version, messages, schema)


def _listed(name: str, fields: dict[str, Any]) -> dict[str, Any]:
    """The schema of an object whose one field is a list of objects with `fields`."""
    return _object({name: {"type": "array", "items": _object(fields)}})


def _object(fields: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": fields,
        "required": list(fields),
        "additionalProperties": False,
    }


def _described(component: Component) -> str:
    lines = [f"### Component {component.number}: {component.description}".rstrip(": ")]
    for label in ("plan", "prompt", "execution", "comment"):
        text: str = getattr(component, label)
        if text.strip():
            lines.append(f"{label.capitalize()}: {text.strip()}")
    return "\n".join(lines)
