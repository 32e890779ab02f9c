"""Options from a TOML file: `--config FILE`.

    [sprint]
    engine = "openai+http://127.0.0.1:11434/v1"
    model = "qwen3:4b"
    executor = ["tools:search", "tools:open_page"]
    deadline = 60

The keys are the long options without dashes. They are in the section `[sprint]`, as in a
pyproject.toml, or at the top level of a file without that section. The command line takes precedence.
"""

from __future__ import annotations

import tomllib
from difflib import get_close_matches
from pathlib import Path
from typing import cast

import cyclopts
from cyclopts.config import Dict

from sprint_agent.errors import SprintError

_OPTION = "--config"
_SECTION = "sprint"
_SOLVE_ONLY = ("trace",)
"""Keys that other commands than `solve` leave out, so that one file serves all."""


class ConfigError(SprintError):
    """A configuration file cannot be read, or contains something that is not an option."""


def read_config(
    app: cyclopts.App, commands: tuple[str, ...], arguments: cyclopts.ArgumentCollection
) -> None:
    """Sets the options that the file of `--config` contains and the command line does not.

    cyclopts calls it after it read the command line.

    Raises:
        ConfigError: The file cannot be read, or a key is not an option or not in its place.
        CycloptsError: A value has the wrong type.
    """
    option = next((a for a in arguments if _OPTION in a.names), None)
    if option is None or not option.tokens:
        return
    path = Path(option.tokens[-1].value)
    section = _section(path)
    if "solve" not in commands:
        section = {key: value for key, value in section.items() if key not in _SOLVE_ONLY}
    _check(section, path, {name[2:] for a in arguments for name in a.names if name[:2] == "--"})
    config = Dict(section, source=str(path), use_commands_as_keys=False)
    config(app, commands, arguments)


def _check(section: dict[str, object], path: Path, options: set[str]) -> None:
    """Raises ConfigError if a key is not an option. cyclopts would pass over the names of commands."""
    for key in section:
        option = key.replace("_", "-")
        if option not in options or option == _OPTION[2:]:
            close = get_close_matches(option, options, n=1)
            hint = f"did you mean {close[0]}?" if close else "see sprint solve --help"
            raise ConfigError(f"the key {key} in {path} is not an option: {hint}")


def _section(path: Path) -> dict[str, object]:
    """Returns the options in a file, by their keys."""
    try:
        content: dict[str, object] = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {path}: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"the configuration {path} is not TOML: {error}") from error
    section = content.get(_SECTION)
    if not isinstance(section, dict):
        return content
    # Other sections are for other programs, but nothing else reads plain keys.
    outside = [key for key, value in content.items() if not isinstance(value, dict | list)]
    if outside:
        raise ConfigError(
            f"the key {outside[0]} in {path} is outside the section [{_SECTION}]: move it there"
        )
    return cast("dict[str, object]", section)
