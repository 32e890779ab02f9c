"""A candidate: a trajectory on its way into the data, divided into stages by whatever means."""

from __future__ import annotations

from dataclasses import dataclass

from curate import render
from curate.pack.stages import Packed
from curate.read.traces import Run
from curate.samples import Sample
from curate.trajectory import Trajectory
from sprint_agent.protocol.transcript import Transcript


@dataclass(frozen=True, slots=True)
class Candidate:
    """A packed trajectory, or a run of the runtime; one of the two is None.

    `undivided` says that a packed one was chosen to be rendered without prompts, for it is hardly
    parallel.
    """

    packed: Packed | None = None
    run: Run | None = None
    undivided: bool = False

    @property
    def trajectory(self) -> Trajectory:
        """What it is made from."""
        if self.packed is not None:
            return self.packed.annotated.trajectory
        assert self.run is not None
        return self.run.trajectory

    @property
    def transcript(self) -> Transcript:
        """Its text as a run."""
        if self.undivided:
            return render.undivided(self.trajectory)
        if self.packed is not None:
            return render.whole(self.packed)
        assert self.run is not None
        return self.run.transcript

    @property
    def sample(self) -> Sample:
        """What is learned from it: its plans, and the executions that are a model's own."""
        if self.run is not None:
            return Sample(self.run.transcript, executions=self.run.executions)
        run = self.transcript
        executions = {
            f"{number}.{k}": text
            for number, stage in enumerate(run.stages, 1)
            for k, text in enumerate(stage.executions, 1)
        }
        return Sample(run, executions=executions)

    @property
    def sequential_sample(self) -> Sample:
        """What the sequential baseline learns from it: the same trajectory as it was written.

        Raises ValueError for a run, which never was one chain of thought.
        """
        if self.run is not None:
            raise ValueError(f"{self.run.trajectory.source} is a run: it has no sequential text")
        return Sample(render.sequential(self.trajectory))
