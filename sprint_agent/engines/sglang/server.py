"""An SGLang server: what it says about itself, and its tokenizer."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import anyio
import anyio.to_thread
import httpx2

from sprint_agent.engine import Tokenizer
from sprint_agent.engines.addresses import public_url
from sprint_agent.engines.http_client import connection_error, open_client, read_object
from sprint_agent.engines.sglang.aborts import AbortSender
from sprint_agent.errors import EngineUnavailable
from sprint_agent.tokenizer import FileTokenizer


@dataclass(frozen=True, slots=True)
class Server:
    """A server that was reached, and how it described itself."""

    client: httpx2.AsyncClient
    aborts: AbortSender
    url: str
    """Its address, without secrets."""
    idle: float
    tokenizer: Tokenizer
    context_length: int | None
    state: dict[str, object]
    """The settings that it reports."""

    @property
    def incremental(self) -> bool:
        """Whether an event contains only the new ids, and not all ids so far."""
        return self.state.get("incremental_streaming_output") is True

    async def close(self) -> None:
        """Sends the aborts that are under way, and closes the connections."""
        with anyio.CancelScope(shield=True):
            await self.aborts.close()
            await self.client.aclose()


async def open_server(
    url: str, source: str | os.PathLike[str] | Tokenizer | None, idle: float
) -> Server:
    """Reaches a server. The tokenizer comes from `source` or from the server's folder.

    Raises:
        EngineUnavailable: No SGLang server answers, or the tokenizer cannot be loaded.
    """
    client = open_client(url, idle)
    try:
        return await _connect(client, url, source, idle)
    except BaseException:
        with anyio.CancelScope(shield=True):
            await client.aclose()
        raise


async def _connect(
    client: httpx2.AsyncClient,
    address: str,
    source: str | os.PathLike[str] | Tokenizer | None,
    idle: float,
) -> Server:
    url = public_url(address)
    model = await _get(client, url, "model_info", idle)
    state = await _get(client, url, "server_info", idle)
    if source is None:
        source = _local_folder(model, url)
    if isinstance(source, str | os.PathLike):
        tokenizer = await anyio.to_thread.run_sync(_load_tokenizer, Path(source))
    else:
        tokenizer = source
    # Prompts with max_req_input_len ids are refused. That is a few ids less than the context, or the
    # number that fits into memory.
    lengths = (state.get("context_length"), state.get("max_req_input_len"))
    context = min((length for length in lengths if isinstance(length, int)), default=None)
    return Server(client, AbortSender(address), url, idle, tokenizer, context, state)


async def _get(client: httpx2.AsyncClient, url: str, name: str, idle: float) -> dict[str, object]:
    """Gets one of the server's descriptions of itself, by its new name or its older one."""
    try:
        response = await client.get(f"/{name}")
        if response.status_code == 404:
            response = await client.get(f"/get_{name}")
    except httpx2.HTTPError as error:
        raise connection_error(url, error, idle) from error
    if not response.is_success:
        raise EngineUnavailable(
            f"the server at {url} answered {response.status_code} to /{name}: check that it is an "
            "SGLang server and that it has started"
        )
    try:
        return read_object(response.text)
    except ValueError as error:
        raise EngineUnavailable(
            f"the server at {url} is not an SGLang server: check the address"
        ) from error


def _local_folder(model: dict[str, object], url: str) -> Path:
    """Returns the folder that the server's tokenizer came from.

    Raises:
        EngineUnavailable: The folder is not on this machine.
    """
    for key in ("tokenizer_path", "model_path"):
        path = model.get(key)
        if isinstance(path, str) and path and Path(path).is_dir():
            return Path(path)
    raise EngineUnavailable(
        f"the server at {url} serves {model.get('model_path')}, which is not a folder on this "
        "machine: pass the model folder as tokenizer="
    )


def _load_tokenizer(folder: Path) -> Tokenizer:
    try:
        return FileTokenizer.load(folder)
    # The tokenizers library raises plain Exception for a file that it cannot read.
    except Exception as error:
        raise EngineUnavailable(
            f"cannot load the tokenizer in {folder} ({error}): pass a folder with tokenizer.json"
        ) from error
