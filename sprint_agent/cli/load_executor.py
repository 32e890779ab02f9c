"""Executors that the command line names as MODULE:NAME."""

from __future__ import annotations

import inspect
import os
import sys
from importlib import import_module

from sprint_agent.errors import SprintError
from sprint_agent.task import Executor


class ExecutorNotLoaded(SprintError):
    """An executor's module cannot be imported, or it has no executor of that name."""


def load_executor(address: str) -> Executor:
    """Returns the executor that `address` names, such as `tools:search` for `search` in tools.py.

    A class is called without arguments.

    Raises:
        ExecutorNotLoaded: The address names no executor.
    """
    module, _, name = address.partition(":")
    if not module or not name:
        raise ExecutorNotLoaded(
            f"--executor {address} is not MODULE:NAME: for `search` in tools.py, write tools:search"
        )
    found = _attribute(module, name)
    if isinstance(found, type):
        found = _created(address, found)
    if isinstance(found, Executor):
        return found
    if inspect.isroutine(found):
        raise ExecutorNotLoaded(
            f"--executor {address} is a plain function: decorate it with @executor"
        )
    raise ExecutorNotLoaded(
        f"--executor {address} is not an executor but of the type {type(found).__name__}: name a "
        "function with the decorator @executor, or an object with name, description, schema and execute"
    )


def _attribute(module: str, name: str) -> object:
    """Imports a module, from the current folder first, and returns what it calls `name`."""
    folder = os.getcwd()
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        # Importing a module runs its code, which may raise anything.
        found: object = getattr(import_module(module), name, None)
    except (Exception, SystemExit) as error:
        raise _failed(f"cannot import {module}", error) from error
    if found is None:
        raise ExecutorNotLoaded(f"--executor {module}:{name}: the module has no {name}")
    return found


def _created(address: str, kind: type[object]) -> object:
    try:
        return kind()
    except Exception as error:
        raise _failed(f"cannot create {address} without arguments", error) from error


def _failed(what: str, error: BaseException) -> ExecutorNotLoaded:
    return ExecutorNotLoaded(f"--executor: {what} ({type(error).__name__}: {error})")
