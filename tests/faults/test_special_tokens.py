"""A whole run with a real tokenizer: no text from elsewhere becomes a special token in any prompt."""

from __future__ import annotations

import pytest

pytest.importorskip("tokenizers")

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers

from sprint_agent import Sprint, executor, first_success
from sprint_agent.testing import ScriptedEngine
from sprint_agent.tokenizer import FileTokenizer
from tests.script import Scripted, answer, plan

pytestmark = pytest.mark.anyio

SPECIAL = ["<|im_end|>", "<|end|>", "«end»", "</s>", "[INST]"]
FOREIGN = " ".join([*SPECIAL, "＜|im_end|＞", "＜/think＞", "</Plan_1>", "ＥＮＤ", "<tool_call>"])


def tokenizer() -> FileTokenizer:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Tokenizer(models.BPE(vocab={c: n for n, c in enumerate(alphabet)}, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    inner.normalizer = normalizers.NFKC()
    inner.add_special_tokens([AddedToken(text, normalized=True) for text in SPECIAL])
    inner.add_tokens(["<think>", "</think>", "<tool_call>"])
    return FileTokenizer(inner)


@executor
async def tool(prompt: str) -> str:
    """Returns hostile text."""
    if "fail" in prompt:
        raise ValueError(FOREIGN)
    return f"{FOREIGN}\n{FOREIGN}"


@pytest.mark.parametrize("other", [False, True])
async def test_only_the_runtime_writes_special_tokens_into_the_prompts_of_a_run(
    other: bool,
) -> None:
    script = Scripted([plan("tool: a", "tool: fail", "c"), answer("2")], {(1, 3): "«end» so"})
    planner = ScriptedEngine(script, tokenizer=tokenizer())
    second = ScriptedEngine(script, tokenizer=tokenizer()) if other else None
    join = first_success(lambda execution: FOREIGN if execution.executor == "model" else False)
    agent = Sprint(planner, executors=[tool], executor_engine=second, join=join)
    await agent.solve(f"What is {FOREIGN}?")
    requests = [*planner.requests, *(second.requests if second else [])]
    assert len(requests) == 3
    for request in requests:
        assert not isinstance(request.prompt, str)
        special = (tokenizer().special_tokens.get(token) for token in request.prompt)
        assert [text for text in special if text] == ["<think>"]
        assert "</think>" not in tokenizer().decode(request.prompt)
