"""Engines: what generates a run's text. `base` is the seam, each other module stands behind it."""

from __future__ import annotations

import os
from collections.abc import Sequence

from sprint_agent.engine import Engine
from sprint_agent.errors import EngineUnavailable

Place = Engine | str | os.PathLike[str]
"""What an engine can be named by: itself, a server's URL, or the folder of a model."""


def open_engine(engine: Place | Sequence[Place]) -> Engine:
    """The engine that is meant; several are a pool, of which each run stays with one.

    A plain URL is that of an SGLang server; `openai+URL#MODEL` is a chat model on an OpenAI-compatible
    one. Nothing is loaded or reached before the engine is entered. Raises EngineUnavailable where
    what the engine stands on is not installed, and where no model is named.
    """
    if isinstance(engine, Sequence) and not isinstance(engine, str):
        from sprint_agent.engines.pool import EnginePool

        return EnginePool([open_engine(one) for one in engine])
    if not isinstance(engine, str | os.PathLike):
        return engine
    place = os.fspath(engine)
    if place.startswith("openai+"):
        return _open_openai(place)
    if place.startswith(("http://", "https://")):
        try:
            from sprint_agent.engines.sglang.engine import SGLangEngine
        except ImportError as error:
            raise _missing(place, "sglang", error) from error
        return SGLangEngine(place)
    from sprint_agent.engines.local.engine import LocalEngine

    return LocalEngine(place)


def _open_openai(place: str) -> Engine:
    url, _, model = place.removeprefix("openai+").partition("#")
    if not model:
        raise EngineUnavailable(f"{place} names no model: write {place.partition('#')[0]}#MODEL")
    try:
        from sprint_agent.engines.openai.engine import OpenAIEngine
    except ImportError as error:
        raise _missing(place, "openai", error) from error
    return OpenAIEngine(url, model=model)


def _missing(place: str, extra: str, error: ImportError) -> EngineUnavailable:
    return EngineUnavailable(
        f"the engine for {place} needs {error.name}: pip install 'sprint-agent[{extra}]'"
    )
