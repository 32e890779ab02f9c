"""`python -m curate` as a user runs it: at once, killed and resumed, in shards, step by step."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import anyio
import pytest

from benchmarks import cases, curation
from benchmarks.stub_endpoint import completion
from curate.files import jsonl
from curate.samples import Sample
from sprint_agent import Sprint
from sprint_agent.countdown import Puzzle
from sprint_agent.protocol.transcript import parse
from sprint_agent.testing import ScriptedEngine
from tests import script

pytestmark = pytest.mark.slow
EXAMPLE = Path("examples/curation")


def curate(*arguments: object, status: int = 0, **environment: str) -> str:
    """Runs the command and returns what it writes to stderr."""
    command = [sys.executable, "-m", "curate", *map(str, arguments)]
    variables = {k: v for k, v in os.environ.items() if not k.startswith("OPENAI_")} | environment
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=300)
    assert done.returncode == status, done.stderr
    return done.stderr


def example(out: Path, *more: object, status: int = 0) -> str:
    recorded = ("--annotator", "recorded", "--annotations", EXAMPLE / "annotations.jsonl")
    source = EXAMPLE / "trajectories.jsonl"
    return curate("run", source, "--out", out, *recorded, *more, status=status)


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_example_is_curated_without_a_key(tmp_path: Path) -> None:
    output = example(tmp_path, "--validation", 0.2)
    assert "kept 12, dropped 2" in output
    lost = lines(tmp_path / "dropped.jsonl")
    reasons = {str(record["source"]).rpartition(":")[2]: record["reason"] for record in lost}
    assert reasons == {
        "12": "not parallel enough",
        "13": "dependency on a later step",
        "14": "wrong answer",
    }
    samples = [
        sample
        for name in ("train", "validation")
        for sample in jsonl.read(tmp_path / f"{name}.jsonl", Sample)
    ]
    assert len(samples) == 11
    assert all(parse(s.transcript.text).text == s.transcript.text for s in samples)
    assert "<html" in (tmp_path / "report.html").read_text()


def test_the_steps_write_the_same_files_as_run(tmp_path: Path) -> None:
    example(tmp_path / "run")
    alone = tmp_path / "alone"
    alone.mkdir()
    recorded = ("--annotator", "recorded", "--annotations", EXAMPLE / "annotations.jsonl")
    source = EXAMPLE / "trajectories.jsonl"
    curate("split", source, "--out", alone / "split.jsonl")
    assert len(lines(alone / "split.jsonl")) == 14
    curate("annotate", source, "--out", alone / "annotated.jsonl", *recorded)
    curate("pack", alone / "annotated.jsonl", "--out", alone / "packed.jsonl")
    curate("select", alone / "packed.jsonl", "--out", alone / "selected.jsonl")
    curate("render", alone / "selected.jsonl", "--out", alone)
    curate("render", alone / "selected.jsonl", "--out", alone / "rft", "--sequential")
    for name in ("packed", "selected", "train", "validation"):
        file = f"{name}.jsonl"
        assert (alone / file).read_bytes() == (tmp_path / "run" / file).read_bytes(), name
    assert all(not s.transcript.stages for s in jsonl.read(alone / "rft" / "train.jsonl", Sample))


def test_the_searchers_trajectories_are_curated_symbolically(tmp_path: Path) -> None:
    curate("countdown", 20, "--out", tmp_path / "written.jsonl")
    symbolic = ("--annotator", "symbolic", "--grade", "countdown", "--shortest-execution", 1)
    curate("run", tmp_path / "written.jsonl", "--out", tmp_path / "out", *symbolic)
    assert len(lines(tmp_path / "out" / "train.jsonl")) >= 15


def test_shards_divide_the_work_and_add_up(tmp_path: Path) -> None:
    # The share is large enough that none is held out only because there would be none otherwise.
    example(tmp_path / "whole", "--validation", 0.3)
    for number in (1, 2, 3):
        example(tmp_path / str(number), "--shard", f"{number}/3", "--validation", 0.3)
    for name in ("train", "validation", "dropped"):
        parts = [tmp_path / str(n) / f"{name}.jsonl" for n in (1, 2, 3)]
        together = Counter(line for part in parts for line in part.read_text().splitlines())
        assert together == Counter((tmp_path / "whole" / f"{name}.jsonl").read_text().splitlines())


def test_a_killed_run_resumes_and_asks_only_for_missing_answers(tmp_path: Path) -> None:
    workload = curation.Workload(trajectories=150, concurrency=8, latency=0.05, seed=3)
    _, killed = curation.measure(workload, tmp_path)
    assert killed.kept > 0
    assert killed.repeated == 0
    assert killed.in_flight <= workload.concurrency
    assert killed.same_files


def test_it_stops_at_ctrl_c_and_says_how_to_resume(tmp_path: Path) -> None:
    source = tmp_path / "trajectories.jsonl"
    jsonl.write(cases.trajectories(2000), source)
    log = tmp_path / "log"
    with curation.stub(0.05, log) as url:
        command = [
            sys.executable,
            "-m",
            "curate",
            "run",
            str(source),
            "--out",
            str(tmp_path / "out"),
        ]
        options = ["--base-url", url, "--concurrency", "4", "--grade", "exact"]
        environment = {**os.environ, "OPENAI_API_KEY": "none"}
        process = subprocess.Popen(
            [*command, *options],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
            # A shell that runs the tests in the background ignores SIGINT, and children inherit that.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        while not log.exists() or log.read_text().count("-") < 20:
            assert process.poll() is None
        # A second process would write to the same files.
        assert f"another process writes to {tmp_path / 'out'}" in example(
            tmp_path / "out", status=2
        )
        process.send_signal(signal.SIGINT)
        _, output = process.communicate(timeout=30)
    assert process.returncode == 130
    assert output.rstrip().endswith("curate: stopped; run the same command to resume")
    assert (
        sorted(path.name for path in (tmp_path / "out").iterdir() if path.suffix == ".jsonl") == []
    )


def test_a_models_own_runs_are_curated_without_a_key(tmp_path: Path) -> None:
    command = "run traces/*.jsonl --layout trace --grade countdown --out runs/own"
    assert f"python -m curate {command}" in Path("docs/curation.md").read_text()
    question = Puzzle((3, 5, 7, 11), 24).question
    for number, claimed in enumerate(("(7 - 3) * (11 - 5)", "3 + 5", "(11 - 5) * (7 - 3)")):
        turns = [script.plan("differences", "sums"), script.answer(claimed)]
        agent = Sprint(ScriptedEngine(script.Continuing(turns)))
        path = tmp_path / f"{number}.jsonl"
        anyio.run(partial(agent.solve, question, trace=path))
    # The cost of other candidates, from an earlier run.
    (tmp_path / "cost.json").write_text('{"models": {}, "dollars": 5.0}\n')
    traces = sorted(tmp_path.glob("[0-9].jsonl"))
    given = [part for part in command.split() if part not in ("traces/*.jsonl", "runs/own")]
    curate(*given, tmp_path, *traces)
    assert len(lines(tmp_path / "selected.jsonl")) == 1
    reasons = [record["reason"] for record in lines(tmp_path / "dropped.jsonl")]
    assert reasons == ["wrong answer", "better trajectory on the same question"]
    assert not (tmp_path / "cost.json").exists()


@pytest.mark.parametrize(
    ("arguments", "output"),
    [
        (("run", "nowhere.jsonl", "--out", "{out}", "--annotator", "symbolic"), "there is no file"),
        (("run", EXAMPLE / "trajectories.jsonl", "--out", "{out}"), "set OPENAI_API_KEY"),
        (
            ("run", EXAMPLE / "trajectories.jsonl", "--out", "{out}", "--layout", "x"),
            "no layout 'x'",
        ),
        (
            ("run", EXAMPLE / "trajectories.jsonl", "--out", "{out}", "--shard", "3/2"),
            "no shard 3/2",
        ),
        (
            ("pack", EXAMPLE / "annotations.jsonl", "--out", "{out}", "--ask-leaks"),
            "use it with `run --annotator llm`",
        ),
    ],
)
def test_an_error_is_one_line(arguments: tuple[object, ...], output: str, tmp_path: Path) -> None:
    given = [str(a).replace("{out}", str(tmp_path / "out")) for a in arguments]
    last = curate(*given, status=2).rstrip().splitlines()[-1]
    assert last.startswith("curate: ")
    assert output in last


@pytest.mark.parametrize(
    ("arguments", "output"),
    [
        (("run",), "nothing to read"),
        (("run", EXAMPLE / "trajectories.jsonl", "--concurrency", 0), "must be at least 1"),
        (("annotate",), "nothing to read"),
        (("split",), "nothing to read"),
    ],
)
def test_a_wrong_command_leaves_existing_files_alone(
    arguments: tuple[object, ...], output: str, tmp_path: Path
) -> None:
    (tmp_path / "train.jsonl").write_text("good\n")
    out = tmp_path if arguments[0] == "run" else tmp_path / "train.jsonl"
    last = curate(*arguments, "--out", out, status=2, OPENAI_API_KEY="none")
    assert last.startswith("curate: ")
    assert last.count("\n") == 1
    assert output in last
    assert [path.name for path in tmp_path.iterdir()] == ["train.jsonl"]
    assert (tmp_path / "train.jsonl").read_text() == "good\n"


@pytest.mark.parametrize("is_folder", [False, True])
def test_a_cache_that_cannot_be_used_is_one_line(is_folder: bool, tmp_path: Path) -> None:
    source, cache = tmp_path / "trajectories.jsonl", tmp_path / "folder" / "cache.sqlite"
    jsonl.write(cases.trajectories(3), source)
    if is_folder:
        cache.parent.mkdir()
        cache.write_text("no database")
    else:
        cache.parent.write_text("no folder")
    options = ("--grade", "exact", "--out", tmp_path / "out", "--cache", cache)
    last = (
        curate("run", source, *options, status=2, OPENAI_API_KEY="none").rstrip().splitlines()[-1]
    )
    assert last.startswith("curate: ")
    assert str(cache.parent) in last


def test_a_library_that_does_not_start_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "mpmath.py").write_text("raise RuntimeError")
    options = ("--annotator", "recorded", "--annotations", EXAMPLE / "annotations.jsonl")
    given = (EXAMPLE / "trajectories.jsonl", "--out", tmp_path / "out", *options)
    last = curate("run", *given, status=2, PYTHONPATH=str(tmp_path)).rstrip().splitlines()[-1]
    assert last.startswith("curate: the process that compares answers does not start")


def test_a_dead_endpoint_ends_the_run(tmp_path: Path) -> None:
    source = tmp_path / "trajectories.jsonl"
    jsonl.write(cases.trajectories(3), source)
    with curation.stub(0.0, tmp_path / "log") as url:
        pass
    options = ("--base-url", url, "--grade", "exact", "--out", tmp_path / "out")
    output = curate("run", source, *options, status=2, OPENAI_API_KEY="none")
    assert "no server answers" in output


@contextmanager
def failing(path: Path) -> Iterator[str]:
    """A stub endpoint that fails queries about number 1, as long as there is a file at `path`."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            status, output = completion(body, cases.answer)
            if path.exists() and b"of number 1?" in body:
                status = 503
            self.send_response(status)
            self.send_header("Retry-After", "0")
            self.send_header("Content-Length", str(len(output)))
            self.end_headers()
            self.wfile.write(output)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        serving = Thread(target=server.serve_forever)
        serving.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1"
        finally:
            server.shutdown()
            serving.join()


def test_trajectories_lost_by_a_failing_endpoint_are_asked_for_again(tmp_path: Path) -> None:
    source, down = tmp_path / "trajectories.jsonl", tmp_path / "down"
    jsonl.write(cases.trajectories(3), source)
    down.touch()
    with failing(down) as url:
        options = ("--base-url", url, "--grade", "exact", "--out", tmp_path / "out")
        output = curate("run", source, *options, OPENAI_API_KEY="none")
        assert "busy or failed: 1; run the same command to ask for them again" in output
        lost = lines(tmp_path / "out" / "dropped.jsonl")
        assert [one["reason"] for one in lost].count("endpoint failed") == 1
        down.unlink()
        assert "busy or failed" not in curate("run", source, *options, OPENAI_API_KEY="none")
        lost = lines(tmp_path / "out" / "dropped.jsonl")
        assert [one["reason"] for one in lost].count("endpoint failed") == 0


def test_the_cost_ceiling_ends_the_run_and_a_higher_one_resumes_it(tmp_path: Path) -> None:
    source = tmp_path / "trajectories.jsonl"
    jsonl.write(cases.trajectories(40), source)
    prices = ("--prices", "m=1,1", "--steps-model", "m", "--dependencies-model", "m")
    with curation.stub(0.0, tmp_path / "log") as url:
        options = (*prices, "--base-url", url, "--grade", "exact", "--max-tokens", 1000)
        where = ("--out", tmp_path / "out", "--concurrency", 4)
        output = curate(
            "run", source, *options, *where, "--max-cost", 0.02, status=3, OPENAI_API_KEY="none"
        )
        assert "of 0.02 are spent" in output
        curate("run", source, *options, *where, "--max-cost", 1, OPENAI_API_KEY="none")
    asked = Counter(line for line in (tmp_path / "log").read_text().splitlines() if line[0] == "+")
    assert max(asked.values()) <= 2
    cost = json.loads((tmp_path / "out" / "cost.json").read_text())
    assert cost["models"]["m"]["count"] == 80
    assert 0.02 < cost["dollars"] < 0.2


def test_answers_from_a_run_without_prices_count(tmp_path: Path) -> None:
    source = tmp_path / "trajectories.jsonl"
    jsonl.write(cases.trajectories(3), source)
    options = ("--grade", "exact", "--out", tmp_path / "out")
    models = ("--steps-model", "m", "--dependencies-model", "m")
    with curation.stub(0.0, tmp_path / "log") as url:
        given = (source, *options, *models, "--base-url", url)
        curate("run", *given, OPENAI_API_KEY="none")
        curate("run", *given, "--prices", "m=1,1", OPENAI_API_KEY="none")
    cost = json.loads((tmp_path / "out" / "cost.json").read_text())
    tokens = cost["models"]["m"]["input"] + cost["models"]["m"]["output"]
    assert cost["dollars"] == pytest.approx(tokens / 1e6)
