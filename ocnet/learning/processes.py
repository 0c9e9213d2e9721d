"""The processes that train together: torchrun starts them, torch.distributed connects them."""

import gc
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
from torch import distributed, Tensor
from torch.utils._pytree import tree_map


TIMEOUT = timedelta(minutes=5)
"""How long a process waits for the others before it gives up."""


@contextmanager
def processes(device: torch.device) -> Iterator[None]:
    """Joins the processes that torchrun started, for as long as the context lasts."""
    if "TORCHELASTIC_RUN_ID" not in os.environ or distributed.is_initialized():
        yield
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    backend = "nccl" if device.type == "cuda" else "gloo"
    distributed.init_process_group(backend, timeout=TIMEOUT)
    try:
        yield
    finally:
        # What still holds the group keeps its threads running, and a process that ends with
        # threads running is aborted.
        gc.collect()
        distributed.destroy_process_group()


def rank() -> int:
    """The number of this process among those that train together, from zero."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def world_size() -> int:
    """How many processes train together."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def mean(value: Tensor) -> Tensor:
    """The mean of a value over the processes."""
    return value if world_size() == 1 else total(value) / world_size()


def gather(value: Tensor) -> list[Tensor]:
    """The values of all processes, which must have one shape."""
    if world_size() == 1:
        return [value]
    values = [torch.empty_like(value) for _ in range(world_size())]
    distributed.all_gather(values, value)
    return values


def total(value: Tensor) -> Tensor:
    """The sum of a value over the processes."""
    if world_size() > 1:
        distributed.all_reduce(value)
    return value


@torch.no_grad()
def share_first(tensors: Sequence[Tensor]) -> None:
    """Gives all processes the first one's values, in one message for each type."""
    if world_size() == 1:
        return
    for dtype in dict.fromkeys(z.dtype for z in tensors):
        some = [z for z in tensors if z.dtype == dtype]
        values = torch.cat([z.flatten() for z in some])
        distributed.broadcast(values, 0)
        for z, value in zip(some, values.split([z.numel() for z in some]), strict=True):
            z.copy_(value.view_as(z))


def first(value: int, device: torch.device) -> int:
    """The first process's value of a number."""
    if world_size() == 1:
        return value
    shared = torch.tensor(value, device=device)
    distributed.broadcast(shared, 0)
    return int(shared.item())


def local(z: Tensor) -> Tensor:
    """This process's part of a tensor that may be sharded, in the same memory."""
    return z.detach().to_local() if is_shard(z) else z  # pyright: ignore


def whole(tree: Any) -> Any:
    """Nested containers with their sharded tensors gathered; every process must call it."""
    put_together = lambda z: z.full_tensor() if is_shard(z) else z
    # For one number, a walk through containers would take longer than all else in a step.
    return put_together(tree) if isinstance(tree, Tensor) else tree_map(put_together, tree)


def is_shard(z: Any) -> bool:
    """Whether this process holds a shard of something."""
    # Recognised by its method, because importing the class imports FSDP, which takes a second.
    return hasattr(z, "full_tensor")


def agree(*flags: bool) -> list[bool]:
    """Which of the flags are set in any of the processes."""
    if world_size() == 1:
        return list(flags)
    device = "cuda" if distributed.get_backend() == "nccl" else "cpu"
    up = torch.tensor(flags, dtype=torch.uint8, device=device)
    distributed.all_reduce(up, distributed.ReduceOp.MAX)
    return [bool(flag) for flag in up.tolist()]


def is_lost_process(error: RuntimeError) -> bool:
    """Whether an error says that another process no longer answers."""
    backends = ("gloo/transport", "NCCL")
    return world_size() > 1 and any(backend in str(error) for backend in backends)


def wait() -> None:
    """Waits until all processes have reached this point."""
    if world_size() > 1:
        distributed.barrier()
