"""Runs SGLang's own server on a CPU: `python sglang_cpu.py --model-path DIR --port N …`.

Only an environment with SGLang 0.5.23 runs this; nothing imports it. Scheduler, radix cache, HTTP
server, streaming and aborts are SGLang's; what is missing are kernels that plain serving never calls.
What stands on the top level runs again in each process that the server spawns.
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
"""What SGLang imports of its kernel package on a CPU. Speculative decoding alone calls them."""

_FLAGS = [
    "--host", "127.0.0.1",
    "--device", "cpu",
    "--attention-backend", "torch_native",
    "--sampling-backend", "pytorch",
    "--grammar-backend", "none",
    "--dtype", "float32",
    "--disable-cuda-graph",
    "--disable-overlap-schedule",
    "--sleep-on-idle",  # else an idle scheduler takes a core
    "--max-total-tokens", "16384",
    "--max-running-requests", "16",
    "--enable-cache-report",
]  # fmt: skip


def _kernel_package() -> ModuleType:
    """Stands for `sgl_kernel`, of which the registry has no build for a CPU."""
    package = ModuleType("sgl_kernel")
    package.__spec__ = ModuleSpec("sgl_kernel", None)
    for name in _KERNELS:
        setattr(package, name, _absent(name))
    return package


def _absent(name: str) -> object:
    def kernel(*args: object, **options: object) -> None:
        raise NotImplementedError(f"sgl_kernel.{name} has no build for a CPU")

    return kernel


def _declare_vision_ops() -> object:
    """Declares what torchvision needs at its import: its CUDA build cannot load beside a CPU torch."""
    import torch

    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library


os.environ.setdefault("SGLANG_USE_CPU_ENGINE", "1")
# Small models gain nothing by a second thread, and on a busy machine their threads wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.modules.setdefault("sgl_kernel", _kernel_package())
# An op lives only as long as the library that declared it.
_vision_ops = _declare_vision_ops()


def main() -> None:
    """Serves until it is killed."""
    from sglang.launch_server import kill_process_tree, prepare_server_args, run_server

    arguments = prepare_server_args([*_FLAGS, *sys.argv[1:]])
    try:
        run_server(arguments)
    finally:
        kill_process_tree(os.getpid(), include_parent=False)


if __name__ == "__main__":
    main()
