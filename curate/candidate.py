"""A candidate: a trajectory that was divided into stages, before selection and rendering."""

from __future__ import annotations

from dataclasses import dataclass

from curate import render
from curate.pack.stages import Packed
from curate.read.traces import TracedRun
from curate.samples import Sample
from curate.trajectory import Trajectory
from sprint_agent.protocol.transcript import Transcript


@dataclass(frozen=True, slots=True)
class Candidate:
    """A packed trajectory, or a run of the runtime. One of the two is None."""

    packed: Packed | None = None
    run: TracedRun | None = None
    unsplit: bool = False
    """Whether a packed trajectory is rendered without prompts, because it is hardly parallel."""

    @property
    def trajectory(self) -> Trajectory:
        """The trajectory that it was made from."""
        if self.packed is not None:
            return self.packed.annotated.trajectory
        assert self.run is not None
        return self.run.trajectory

    @property
    def transcript(self) -> Transcript:
        """Its text as a run."""
        if self.unsplit:
            return render.unsplit(self.trajectory)
        if self.packed is not None:
            return render.with_notes(self.packed)
        assert self.run is not None
        return self.run.transcript

    @property
    def sample(self) -> Sample:
        """What a model learns from it: the plans, and the executions that a model wrote."""
        if self.run is not None:
            return Sample(self.run.transcript, executions=self.run.executions)
        transcript = self.transcript
        executions = {
            f"{number}.{k}": text
            for number, stage in enumerate(transcript.stages, 1)
            for k, text in enumerate(stage.executions, 1)
        }
        return Sample(transcript, executions=executions)

    @property
    def sequential_sample(self) -> Sample:
        """What the sequential baseline learns from it: the same trajectory, as it was written.

        Raises:
            ValueError: the candidate is a run, which never was one chain of thought.
        """
        if self.run is not None:
            source = self.run.trajectory.source
            raise ValueError(
                f"{source} is a recorded run, which has no sequential text: leave out --sequential"
            )
        return Sample(render.sequential(self.trajectory))
