"""Prompts in code fences and prompts in JSON."""

from __future__ import annotations

import importlib.util
from inspect import Parameter

import pytest

from sprint_agent import PromptError
from sprint_agent.executors.json_prompts import JsonArguments, JsonPrompt, unfenced


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("```python\nprint(1)\n```", "print(1)"),
        ("  ```\na\n\nb\n```  \n", "a\n\nb"),
        ("print('```')", "print('```')"),
        ("so:\n```\na\n```", "so:\n```\na\n```"),
        ("```\n```", ""),
    ],
)
def test_a_fence_around_all_of_a_prompt_is_removed(text: str, read: str) -> None:
    assert unfenced(text) == read


def test_a_prompt_is_read_as_its_type() -> None:
    prompt = JsonPrompt(dict[str, int], "counts")
    assert prompt.read('```json\n{"a": 1}\n```') == {"a": 1}
    with pytest.raises(PromptError, match=r"^a: Input should be a valid integer.*; write JSON of"):
        prompt.read('{"a": "x"}')


def test_at_most_five_problems_are_named() -> None:
    prompt = JsonPrompt(list[int], "numbers")
    with pytest.raises(PromptError) as caught:
        prompt.read('["a", "b", "c", "d", "e", "f"]')
    assert str(caught.value).count("Input should be") == 5


def test_arguments_are_read_by_name_with_their_defaults() -> None:
    arguments = JsonArguments({"model_fields": (int, Parameter.empty), "k": (int, 5)}, "search")
    assert arguments.read('{"model_fields": 1}') == {"model_fields": 1, "k": 5}
    assert arguments.schema["required"] == ["model_fields"]


def test_without_pydantic_the_error_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for read in (lambda: JsonPrompt(int, "total"), lambda: JsonArguments({}, "total")):
        with pytest.raises(
            ImportError, match=r"total reads its prompts .*: pip install .*\[tools\]"
        ):
            read()


TEXT = '{"a": 1}'


@pytest.mark.parametrize(
    "fenced",
    [
        f"```\n{TEXT}\n```",
        f"```json\n{TEXT}\n```\n",
        f"```json\r\n{TEXT}\r\n```\r\n",
        f'```json title="a.json" {{1}}\n{TEXT}\n```',
        f"~~~\n{TEXT}\n~~~",
        f"~~~json\n{TEXT}\n~~~~~",
        f"`````json\n{TEXT}\n`````",
        f"```json\n{TEXT}```",
        f"```json\n{TEXT}",
        f"  ```json\n{TEXT}\n   ```",
        f"``` {{.json}}  \n{TEXT}\n```  ",
        f"\ufeff```json\n{TEXT}\n```",
        f"\ufeff{TEXT}",
        TEXT,
    ],
)
def test_fences_of_all_kinds(fenced: str) -> None:
    assert unfenced(fenced) == TEXT


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("```\n```", ""),
        ("```", ""),
        ("````\n```\ninner\n```\n````", "```\ninner\n```"),
        ("~~~\n```\ninner\n```\n~~~", "```\ninner\n```"),
        ("```\na\n\n```", "a\n"),
        ("```\n    a\n```", "    a"),
        ("``\na\n``", "``\na\n``"),
        ("```a``` is code\n```", "```a``` is code\n```"),
        ("before\n```\na\n```", "before\n```\na\n```"),
        ("```\na\n``", "a\n``"),
    ],
)
def test_what_is_in_a_fence(text: str, expected: str) -> None:
    assert unfenced(text) == expected


def test_a_long_text_is_read_at_once() -> None:
    for text in ("```\n" * 100_000, "`" * 400_000, "~~~\n" + " " * 400_000, "```" + "\r" * 400_000):
        unfenced(text)
