"""Prompts as executors read them: out of their code fence, and as JSON of a schema."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Mapping
from inspect import Parameter
from typing import TYPE_CHECKING, Any

from sprint_agent.errors import PromptError
from sprint_agent.task import JsonSchema

if TYPE_CHECKING:
    from pydantic import ValidationError

_FENCED = re.compile(r"\s*```[\w+-]*\n(?P<text>.*?)\n?```\s*", re.DOTALL)
_MOST_FAULTS = 5


def unfenced(text: str) -> str:
    """`text` without the code fence around all of it, which models like to write."""
    found = _FENCED.fullmatch(text)
    return found["text"] if found else text


class JsonPrompt:
    """Prompts that are JSON of one type. Needs pydantic."""

    def __init__(self, kind: Any, owner: str) -> None:
        """`kind` is what pydantic can read: a model, a dataclass, `list[int]`, …

        Raises TypeError where it cannot, ImportError where there is no pydantic.
        """
        _need_pydantic(owner)
        from pydantic import TypeAdapter
        from pydantic.errors import PydanticUserError

        try:
            self._adapter: TypeAdapter[Any] = TypeAdapter(kind)
            self.schema: JsonSchema = self._adapter.json_schema()
        except PydanticUserError as error:
            raise TypeError(f"pydantic cannot read the prompts of {owner}: {error}") from error

    def read(self, prompt: str) -> Any:
        """The prompt's value. Raises PromptError, which tells the planner how to mend it."""
        from pydantic import ValidationError

        try:
            return self._adapter.validate_json(unfenced(prompt))
        except ValidationError as error:
            schema = json.dumps(self.schema, ensure_ascii=False, separators=(",", ":"))
            raise PromptError(f"{_faults(error)}; write JSON of this schema: {schema}") from error


class JsonArguments:
    """Prompts that are a JSON object of a function's arguments. Needs pydantic."""

    def __init__(self, fields: Mapping[str, tuple[Any, object]], owner: str) -> None:
        """`fields` holds the type and the default of each (`Parameter.empty`: it must be given).

        Raises as JsonPrompt does.
        """
        _need_pydantic(owner)
        from pydantic import ConfigDict, Field, create_model
        from pydantic.errors import PydanticUserError

        self._names = tuple(fields)
        # An argument may have any name, a model's field may not: so the name is the field's alias.
        places: dict[str, Any] = {}
        for place, (name, (kind, default)) in enumerate(fields.items()):
            given = ... if default is Parameter.empty else default
            places[f"argument_{place}"] = (kind, Field(given, alias=name))
        try:
            model = create_model(owner, __config__=ConfigDict(extra="forbid"), **places)
        except PydanticUserError as error:
            raise TypeError(f"pydantic cannot read the prompts of {owner}: {error}") from error
        self._prompt = JsonPrompt(model, owner)
        self.schema = self._prompt.schema

    def read(self, prompt: str) -> dict[str, Any]:
        """The arguments by their names. Raises PromptError as JsonPrompt does."""
        read = self._prompt.read(prompt)
        return {name: getattr(read, f"argument_{n}") for n, name in enumerate(self._names)}


def _need_pydantic(owner: str) -> None:
    if importlib.util.find_spec("pydantic") is None:
        raise ImportError(
            f"{owner} reads its prompts with pydantic: pip install 'sprint-agent[tools]'"
        )


def _faults(error: ValidationError) -> str:
    # Without the input: what the planner wrote stands right above in its context.
    faults = error.errors(include_url=False, include_input=False, include_context=False)
    said = [
        f"{'.'.join(map(str, fault['loc'])) or 'the prompt'}: {fault['msg']}"
        for fault in faults[:_MOST_FAULTS]
    ]
    return "; ".join(said)
