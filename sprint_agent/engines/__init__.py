"""Engines: what generates a run's text. `base` is the seam, each other module stands behind it."""

from __future__ import annotations

import os

from sprint_agent.engines.base import Engine
from sprint_agent.errors import EngineUnavailable


def open_engine(engine: Engine | str | os.PathLike[str]) -> Engine:
    """The engine that is meant: an Engine itself, a server's URL, or the folder of a model.

    Nothing is loaded or reached before the engine is entered. Raises EngineUnavailable where what
    the engine stands on is not installed.
    """
    if not isinstance(engine, str | os.PathLike):
        return engine
    place = os.fspath(engine)
    if place.startswith(("http://", "https://")):
        try:
            from sprint_agent.engines.sglang import SGLangEngine
        except ImportError as error:
            raise EngineUnavailable(
                f"the engine for {place} needs {error.name}: pip install 'sprint-agent[sglang]'"
            ) from error
        return SGLangEngine(place)
    from sprint_agent.engines.local import LocalEngine

    return LocalEngine(place)
