"""The names in a model's configuration that transformers 4 reads, beside those of transformers 5.

transformers 5 writes the parameters of rotary embeddings, and some others, under new names alone. A
reader that does not know a name takes its default, without an error. Many engines still stand on
transformers 4.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_CONFIG = "config.json"
_TOP_LEVEL = ("rope_theta", "partial_rotary_factor")
"""Parameters of a rotary embedding that transformers 4 reads beside `rope_scaling`, not in it."""
_LONGROPE = ("short_factor", "long_factor", "attention_factor")
"""What transformers 4 reads of LongRoPE in `rope_scaling`. Phi-3 refuses more."""


def add_older_names(folder: Path, aliases: Mapping[str, str]) -> None:
    """Adds the names of transformers 4 to the `config.json` that transformers wrote to `folder`.

    `aliases` maps other names of an entry to its name, as `PretrainedConfig.attribute_map` does.
    """
    path = folder / _CONFIG
    config = json.loads(path.read_text(encoding="utf-8"))
    text = json.dumps(with_older_names(config, aliases), indent=2, sort_keys=True)
    path.write_text(text + "\n", encoding="utf-8")


def with_older_names(config: Mapping[str, Any], aliases: Mapping[str, str]) -> dict[str, Any]:
    """Returns a configuration with the names of both. Names that it already has are kept."""
    added = {name: config[entry] for name, entry in aliases.items() if entry in config}
    if config.get("dtype"):
        added["torch_dtype"] = config["dtype"]
    rope = config.get("rope_parameters") or {}
    if "sliding_attention" in rope:
        # Gemma 3 has two.
        added["rope_local_base_freq"] = rope["sliding_attention"]["rope_theta"]
    rope = rope.get("full_attention") or rope
    added |= {name: rope[name] for name in _TOP_LEVEL if name in rope}
    kind = rope.get("rope_type", "default")
    if kind != "default":
        added["rope_scaling"] = _scaling(kind, rope)
    if kind == "longrope":
        added["original_max_position_embeddings"] = rope["original_max_position_embeddings"]
    return {**added, **config}


def _scaling(kind: str, rope: Mapping[str, Any]) -> dict[str, Any]:
    inside = {name: value for name, value in rope.items() if name not in (*_TOP_LEVEL, "rope_type")}
    if kind == "longrope":
        inside = {name: value for name, value in inside.items() if name in _LONGROPE}
    # All versions know this name of the type. Phi-3 and OLMo 2 refuse the newer one.
    return {"type": kind, **inside}
