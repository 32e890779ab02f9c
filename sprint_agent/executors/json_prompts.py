"""Reads prompts for executors: without their code fence, and as JSON of a schema."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Mapping
from inspect import Parameter
from typing import TYPE_CHECKING, Any

from sprint_agent.errors import PromptError
from sprint_agent.extras import install_hint
from sprint_agent.task import JsonSchema

if TYPE_CHECKING:
    from pydantic import ValidationError

_OPENING = re.compile(r"(?P<fence>`{3,}|~{3,})(?P<info>.*)")
_MAX_PROBLEMS = 5


def unfenced(text: str) -> str:
    """Returns `text` without a code fence around all of it. Models often write one.

    A fence is three or more backticks or tildes, with anything after the first ones. The lines may
    end in CRLF, and the last fence may be missing or at the end of a line.
    """
    stripped = text.lstrip("\ufeff").strip()
    first, _, inner = stripped.partition("\n")
    opening = _OPENING.fullmatch(first.rstrip("\r"))
    if opening is None or ("`" in opening["info"] and opening["fence"][0] == "`"):
        return text.lstrip("\ufeff")
    without = inner.rstrip(opening["fence"][0])
    if len(inner) - len(without) < len(opening["fence"]):
        without = inner  # The fence is not closed.
    head, newline, last = without.rpartition("\n")
    if not last.strip():  # It had a line to itself, which may be indented.
        without = head if newline else ""
    return without.removesuffix("\r")


class JsonPrompt:
    """Reads prompts that are JSON of one type. Needs pydantic."""

    def __init__(self, kind: Any, owner: str) -> None:
        """Reads the type `kind`: a model, a dataclass, `list[int]` or another that pydantic knows.

        Raises:
            TypeError: pydantic cannot read the type.
            ImportError: pydantic is not installed.
        """
        _require_pydantic(owner)
        from pydantic import TypeAdapter
        from pydantic.errors import PydanticUserError

        try:
            self._adapter: TypeAdapter[object] = TypeAdapter(kind)
            self.schema: JsonSchema = self._adapter.json_schema()
        except PydanticUserError as error:
            raise TypeError(f"pydantic cannot read the prompts of {owner}: {error}") from error

    def read(self, prompt: str) -> object:
        """Returns the value of the prompt.

        Raises:
            PromptError: the prompt is not JSON of the type. The message tells the planner how to
                correct it.
        """
        from pydantic import ValidationError

        try:
            return self._adapter.validate_json(unfenced(prompt))
        except ValidationError as error:
            schema = json.dumps(self.schema, ensure_ascii=False, separators=(",", ":"))
            raise PromptError(f"{_problems(error)}; write JSON of this schema: {schema}") from error


class JsonArguments:
    """Reads prompts that are a JSON object of a function's arguments. Needs pydantic."""

    def __init__(self, fields: Mapping[str, tuple[object, object]], owner: str) -> None:
        """Reads the type and the default of each argument.

        The default is `Parameter.empty` if the argument is required.

        Raises:
            TypeError: pydantic cannot read a type.
            ImportError: pydantic is not installed.
        """
        _require_pydantic(owner)
        from pydantic import ConfigDict, Field, create_model
        from pydantic.errors import PydanticUserError

        self._names = tuple(fields)
        # An argument may have any name, but a model's field may not: the name becomes an alias.
        aliased: dict[str, Any] = {}
        for position, (name, (kind, default)) in enumerate(fields.items()):
            value = ... if default is Parameter.empty else default
            aliased[_field(position)] = (kind, Field(value, alias=name))
        try:
            model = create_model(owner, __config__=ConfigDict(extra="forbid"), **aliased)
        except PydanticUserError as error:
            raise TypeError(f"pydantic cannot read the prompts of {owner}: {error}") from error
        self._prompt = JsonPrompt(model, owner)
        self.schema: JsonSchema = self._prompt.schema

    def read(self, prompt: str) -> dict[str, object]:
        """Returns the arguments by their names.

        Raises:
            PromptError: the prompt is not such an object. The message tells the planner how to
                correct it.
        """
        values = self._prompt.read(prompt)
        return {name: getattr(values, _field(n)) for n, name in enumerate(self._names)}


def _field(position: int) -> str:
    return f"argument_{position}"


def _require_pydantic(owner: str) -> None:
    if importlib.util.find_spec("pydantic") is None:
        raise ImportError(f"{owner} reads its prompts with pydantic: {install_hint('tools')}")


def _problems(error: ValidationError) -> str:
    # Without the input: the planner's context contains it right above the message.
    problems = error.errors(include_url=False, include_input=False, include_context=False)
    return "; ".join(
        f"{'.'.join(map(str, problem['loc'])) or 'the prompt'}: {problem['msg']}"
        for problem in problems[:_MAX_PROBLEMS]
    )
