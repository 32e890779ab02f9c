"""Engines: what generates a run's text. `base` is the seam, each other module stands behind it."""

from __future__ import annotations

import os

from sprint_agent.engines.base import Engine


def open_engine(engine: Engine | str | os.PathLike[str]) -> Engine:
    """The engine that is meant: an Engine itself, a server's URL, or the folder of a model.

    Nothing is loaded or reached before the engine is entered.
    """
    if not isinstance(engine, str | os.PathLike):
        return engine
    place = os.fspath(engine)
    if place.startswith(("http://", "https://")):
        from sprint_agent.engines.sglang import SGLangEngine

        return SGLangEngine(place)
    from sprint_agent.engines.local import LocalEngine

    return LocalEngine(place)
