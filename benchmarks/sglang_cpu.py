"""Runs SGLang's own server on a CPU: `python sglang_cpu.py --model-path DIR --port N …`.

This script runs in an environment with SGLang 0.5.23, and no module imports it. The scheduler, radix
cache, HTTP server, streaming and aborts are SGLang's own. Only kernels are missing that plain serving
never calls. The code at the top level runs again in each process that the server spawns.
"""

from __future__ import annotations

import os
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

_KERNELS = (
    "assign_draft_cache_locs_contiguous_cpu",
    "assign_extend_cache_locs_cpu",
    "assign_req_to_token_pool_cpu",
    "build_tree_kernel_efficient_cpu",
    "copy_all_layer_kv_cache_cpu",
    "fill_accept_out_cache_loc_cpu",
    "fill_bonus_tokens_cpu",
    "rotate_input_ids_cpu",
    "verify_tree_greedy_cpu",
)
"""What SGLang imports from its kernel package on a CPU. Only speculative decoding calls them."""

_FLAGS = [
    "--host", "127.0.0.1",
    "--device", "cpu",
    "--attention-backend", "torch_native",
    "--sampling-backend", "pytorch",
    "--grammar-backend", "none",
    "--dtype", "float32",
    "--disable-cuda-graph",
    "--disable-overlap-schedule",
    "--sleep-on-idle",  # otherwise an idle scheduler uses a whole core
    "--max-total-tokens", "16384",
    "--max-running-requests", "16",
    "--enable-cache-report",
]  # fmt: skip


def _kernel_package() -> ModuleType:
    """Returns a replacement for `sgl_kernel`, which has no published build for a CPU."""
    package = ModuleType("sgl_kernel")
    package.__spec__ = ModuleSpec("sgl_kernel", None)
    for name in _KERNELS:
        setattr(package, name, _missing_kernel(name))
    return package


def _missing_kernel(name: str) -> object:
    def kernel(*args: object, **options: object) -> None:
        raise NotImplementedError(f"sgl_kernel.{name} has no build for a CPU")

    return kernel


def _declare_vision_ops() -> object:
    """Declares the ops that torchvision needs when it is imported.

    Its CUDA build cannot load them together with a CPU build of torch.
    """
    import torch

    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library


os.environ.setdefault("SGLANG_USE_CPU_ENGINE", "1")
# Small models gain nothing from a second thread, and on a busy machine threads wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.modules.setdefault("sgl_kernel", _kernel_package())
# An op exists only as long as the library that declared it.
_vision_ops = _declare_vision_ops()


def main() -> None:
    """Serves until the process is killed."""
    from sglang.launch_server import (  # pyright: ignore[reportMissingImports]
        kill_process_tree,
        prepare_server_args,
        run_server,
    )

    arguments = prepare_server_args([*_FLAGS, *sys.argv[1:]])
    try:
        run_server(arguments)
    finally:
        kill_process_tree(os.getpid(), include_parent=False)


if __name__ == "__main__":
    main()
