"""Parameters of which each process holds a shard, and the way from shards to whole tensors.

FSDP2 does the work: a unit is gathered when its `forward` begins and freed when it ends.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn, Tensor
from torch.distributed.checkpoint.state_dict import (
    get_model_state_dict,
    StateDictOptions,
)
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import distribute_tensor, DTensor

from .processes import world_size


def shard(root: nn.Module, units: Iterable[nn.Module], device: torch.device) -> None:
    """Shards each unit in place, and the rest of the root as one more unit.

    Arguments:
        root: The module whose `forward` uses all of them.
        units: Modules in it that are used through their `forward` alone.
        device: Where they are.
    """
    mesh = init_device_mesh(device.type, (world_size(),))
    for unit in units:
        fully_shard(unit, mesh=mesh)
    # Sharded again after a forward pass: averages and checkpoints change the shards.
    fully_shard(root, mesh=mesh, reshard_after_forward=True)
    for name in ("measures", "first_non_finite"):
        register_fsdp_forward_method(root, name)


def as_sharded(value: Tensor, like: Tensor) -> Tensor:
    """A whole tensor, sharded like another one; every process must call it."""
    if not isinstance(like, DTensor):
        return value
    return distribute_tensor(value.to(like.device), like.device_mesh, like.placements)


def model_state(module: nn.Module) -> dict[str, Tensor]:
    """The whole parameters and buffers, in the first process; every process calls it."""
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    return get_model_state_dict(module, options=options)  # pyright: ignore[reportReturnType]


def load_model_state(module: nn.Module, state: dict[str, Tensor]) -> None:
    """Copies whole parameters and buffers into the shards of the module.

    `set_model_state_dict` would shard a parameter under only one of its names, but a head that is
    also used by a cost has two.
    """
    own = module.state_dict()
    module.load_state_dict({name: as_sharded(z, own[name]) for name, z in state.items()})


def load_optimizer_state(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Copies an optimiser's whole state into the shards of its parameters.

    Parameters are identified by number, as in any checkpoint of an optimiser, so that one process
    and several processes write the same file.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    by_number = {
        i: {
            name: as_sharded(z, parameters[i])
            if isinstance(z, Tensor) and z.shape == parameters[i].shape
            else z
            for name, z in values.items()
        }
        for i, values in state["state"].items()
    }
    optimizer.load_state_dict({**state, "state": by_number})
