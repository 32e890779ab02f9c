"""The public names, pinned: a change here is a change for every user."""

from __future__ import annotations

import ast
from pathlib import Path

import sprint_agent
from sprint_agent import countdown, testing

PUBLIC = """
AnswerText CallEnded CallRetried CallStarted ContextTooLong EngineError EngineStalled EngineUnavailable
Event Execution ExecutionEnded ExecutionStarted ExecutionText Executor ExecutorError LimitReached Limits
NestedEvent NestedExecutor ParentExecution PlanError PlanRepaired PlanText Policy Prices Prompt
PromptError PromptReady PromptRenumbered PythonExecutor QuestionError RequestRefused Result Run
RunEnded RunFailed RunResumed RunStarted Sampling Sprint SprintError Stage StageEnded StageStarted Task
Trace TraceError TruncatedStream Usage Verdict executor first_success solve solve_sync tool
with_policy
"""


def test_the_public_names() -> None:
    assert sorted(sprint_agent.__all__) == sorted(PUBLIC.split())
    assert all(hasattr(sprint_agent, name) for name in sprint_agent.__all__)


def test_the_names_of_the_task_and_of_the_testing_kit() -> None:
    names = """
    ExpressionError Puzzle PuzzleSpace Smaller SmallerPuzzle Split claim evaluate explain generate
    reachable right_claim solved split verify
    """
    assert sorted(countdown.__all__) == sorted(names.split())
    kit = """
    Aborted EarlyFinish FinishedAs Heartbeats Miscounted Noise Parts Refused TooManyTokens Unlimited
    Unstreamed ALL BAD_JSON BAD_SSE CancelReport CharTokenizer ConformanceReport Crash Declined
    Disconnect Drip Failure Fault FaultServer Filtered Garbage Leak ReceivedRequest Reply Reset
    ScriptedEngine SingleNewlines Slow Stall Status Truncated Unfinished cancel_everywhere check_engine
    """
    assert sorted(testing.__all__) == sorted(kit.split())


def test_the_package_holds_exports_only() -> None:
    for module in (sprint_agent, countdown, testing):
        assert module.__file__ is not None
        tree = ast.parse(Path(module.__file__).read_text())
        kinds = {type(node) for node in tree.body}
        assert kinds <= {ast.Expr, ast.ImportFrom, ast.Assign}


def test_the_core_imports_without_any_extra() -> None:
    """Needs anyio, msgspec, tenacity and the standard library alone, not torch, rich or openai."""
    import subprocess
    import sys

    code = (
        "import sys, sprint_agent, sprint_agent.testing; "
        "heavy = {'torch', 'transformers', 'tokenizers', 'rich', 'cyclopts', 'networkx'}; "
        "heavy |= {'httpx2', 'httpx', 'openai', 'pytest', 'pydantic', 'ctypes'}; "
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_no_module_reaches_into_a_room_above_it() -> None:
    root = Path(sprint_agent.__file__).parent
    for path in root.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                top = (node.module or "").split(".")[0]
                assert top not in {"curate", "train", "benchmarks", "tests"}, path
