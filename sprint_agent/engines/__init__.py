"""The engines that generate a run's text. Each implements `sprint_agent.engine.Engine`.

The names are imported when they are first used, so importing this package needs no extra: no torch,
no httpx2 and no openai.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING

from sprint_agent.engine import Engine
from sprint_agent.engines.addresses import public_url
from sprint_agent.errors import EngineUnavailable
from sprint_agent.extras import install_hint

if TYPE_CHECKING:
    from sprint_agent.engines.local.engine import LocalEngine
    from sprint_agent.engines.openai.engine import OpenAIEngine
    from sprint_agent.engines.pool import EnginePool
    from sprint_agent.engines.sglang.engine import SGLangEngine

__all__ = [
    "EngineAddress",
    "EnginePool",
    "LocalEngine",
    "OpenAIEngine",
    "SGLangEngine",
    "open_engine",
]

EngineAddress = Engine | str | os.PathLike[str]
"""What names an engine: the engine itself, a server's URL, or the folder of a model."""

_MODULES = {
    "EnginePool": "pool",
    "LocalEngine": "local.engine",
    "OpenAIEngine": "openai.engine",
    "SGLangEngine": "sglang.engine",
}
_EXTRAS = {"OpenAIEngine": "openai", "SGLangEngine": "sglang"}
"""What importing the module of a name needs. LocalEngine needs its extra only when it is entered."""

if not TYPE_CHECKING:
    # Hidden from type checkers: with a `__getattr__` they would accept every name.

    def __getattr__(name: str) -> object:
        """Imports an engine when its name is first used.

        Raises:
            ImportError: The extra that the engine needs is not installed.
            AttributeError: There is no such name.
        """
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        try:
            module = import_module(f"{__name__}.{_MODULES[name]}")
        except ImportError as error:
            if name not in _EXTRAS:
                raise
            hint = install_hint(_EXTRAS[name])
            raise ImportError(f"{name} needs {error.name}: {hint}", name=error.name) from error
        globals()[name] = found = getattr(module, name)
        return found

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})


def open_engine(engine: EngineAddress | Sequence[EngineAddress]) -> Engine:
    """Returns the engine for an address, or an `EnginePool` for several addresses.

    A plain URL is that of an SGLang server. `openai+URL#MODEL` is a chat model on an OpenAI-compatible
    server. Any other string or path is the folder of a model, which runs in this process. Nothing is
    loaded or connected before the engine is entered.

    Raises:
        EngineUnavailable: The extra that the engine needs is not installed, or an `openai+URL` names
            no model.
        ValueError: The sequence of addresses is empty.
    """
    if isinstance(engine, Sequence) and not isinstance(engine, str):
        from sprint_agent.engines.pool import EnginePool

        return EnginePool([open_engine(address) for address in engine])
    if not isinstance(engine, str | os.PathLike):
        return engine
    address = os.fspath(engine)
    try:
        return _open_address(address)
    except ImportError as error:
        raise EngineUnavailable(f"cannot open {public_url(address)}: {error}") from error


def _open_address(address: str) -> Engine:
    if address.startswith("openai+"):
        url, _, model = address.removeprefix("openai+").partition("#")
        if not model:
            shown = public_url(address)
            raise EngineUnavailable(f"{shown} names no model: write {shown}#MODEL")
        from sprint_agent.engines import OpenAIEngine

        return OpenAIEngine(url, model=model)
    if address.startswith(("http://", "https://")):
        from sprint_agent.engines import SGLangEngine

        return SGLangEngine(address)
    from sprint_agent.engines import LocalEngine

    return LocalEngine(address)
