"""Runs llama.cpp's own server (C++, from the wheel xllamacpp) with a small Qwen3 model."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import gguf
from safetensors.numpy import load_file

MODEL = "small"
"""The name of the model on the server."""

CONTEXT = 2048
"""The most tokens that a prompt and its answer may have together."""

_SLOTS = 8
_READY_SECONDS = 120.0
_SERVE = f"""
import sys, xllamacpp
settings = xllamacpp.CommonParams()
settings.model.path, alias, settings.chat_template = sys.argv[1:]
settings.model_alias = {{alias}}
settings.hostnames, settings.port = ["127.0.0.1"], 0
settings.n_parallel, settings.n_ctx = {_SLOTS}, {_SLOTS * CONTEXT}
# More threads would wait for each other in busy loops if other processes use the cores.
settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = 1
settings.fit_params = settings.warmup = False
server = xllamacpp.Server(settings)
print(server.listening_address, flush=True)
sys.stdin.read()
"""


@contextmanager
def llama_server(model: Path, chat_template: str) -> Iterator[str]:
    """Serves a Hugging Face folder and yields the URL. Starting takes some seconds."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "model.gguf")
        write_gguf(model, file)
        with open(Path(folder, "log"), "w+") as log:
            process = subprocess.Popen(
                [sys.executable, "-c", _SERVE, str(file), MODEL, chat_template],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
            try:
                assert process.stdout is not None
                ready, _, _ = select.select([process.stdout], [], [], _READY_SECONDS)
                url = process.stdout.readline().strip() if ready else ""
                if not url:
                    log.seek(0)
                    raise RuntimeError(f"the server did not start: {log.read()[-2000:]}")
                yield url
            finally:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()


def write_gguf(model: Path, file: Path) -> None:
    """Writes a Qwen3 model in float32, with a byte-level BPE tokenizer, in llama.cpp's format."""
    config = json.loads((model / "config.json").read_text())
    writer = gguf.GGUFWriter(file, "qwen3")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    _add_tokenizer(writer, json.loads((model / "tokenizer.json").read_text()), config)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN3, config["num_hidden_layers"])
    for name, tensor in load_file(model / "model.safetensors").items():
        renamed = names.get_name(name, try_suffixes=(".weight",))
        assert renamed is not None, name
        writer.add_tensor(renamed, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_tokenizer(
    writer: gguf.GGUFWriter, tokenizer: dict[str, dict[str, object]], config: dict[str, int]
) -> None:
    """Adds the tokenizer.

    llama.cpp splits texts only in its own way, so it has to find the words of this
    vocabulary before it splits.
    """
    bytes_of = {character: byte for byte, character in _byte_characters().items()}
    tokens: list[bytes] = []
    types: list[gguf.TokenType] = []
    vocabulary: dict[str, int] = tokenizer["model"]["vocab"]  # type: ignore[assignment]
    for token, number in sorted(vocabulary.items(), key=lambda item: item[1]):
        special = number == config["eos_token_id"]
        # Tokens that are found before splitting are written to the file as plain text.
        plain = token.encode() if special else bytes(bytes_of[c] for c in token)
        single = len(plain) == 1
        tokens.append(token.encode() if single else plain)
        kind = gguf.TokenType.NORMAL if single else gguf.TokenType.USER_DEFINED
        types.append(gguf.TokenType.CONTROL if special else kind)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    merges: list[list[str]] = tokenizer["model"]["merges"]  # type: ignore[assignment]
    writer.add_token_merges([" ".join(pair) for pair in merges])
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_add_bos_token(False)


def _byte_characters() -> dict[int, str]:
    """Returns the visible character with which byte-level BPE writes each byte."""
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in visible]
    return {byte: chr(byte) for byte in visible} | {b: chr(256 + n) for n, b in enumerate(hidden)}
