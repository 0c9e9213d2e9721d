"""Networks in one safetensors file, with everything needed to rebuild them."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import safe_open, SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from .._arguments import check_function, check_kind
from ..cost import Loss
from .architecture import Architecture
from .grouped import OwnReadOuts
from .loss import LOSSES
from .network import check_shapes, layers, parts, ResNet
from .problem import Classifier


KEY = "ocnet.resnet"
"""Where the description of a network lies in a file's metadata."""


def save_network(network: ResNet, path: Path | str) -> None:
    """Writes a network to a new file: parameters, statistics, shape, heads, loss and gamma.

    For a wrapped network the file holds what `load_network` needs to fill another one of the same
    kind, but not its code; for a loss that is not ocnet's, only its name.

    Raises:
        TypeError: If it is not a network.
        FileExistsError, FileNotFoundError: If there is a file already, or no such folder.
    """
    check_kind("network", network, ResNet)
    refuse_unusable(path)
    problem = network.problem
    architecture = getattr(problem.readouts, "architecture", None)
    about = {
        "architecture": None if architecture is None else asdict(architecture),
        "pruning": network.pruning if architecture is None else (),
        "heads": heads_of(network),
        "gamma": problem.gamma,
        "loss": described(problem.loss),
    }
    state = {name: value.contiguous() for name, value in tensors(network).items()}
    save_file(state, path, metadata={KEY: json.dumps(about)})


def load_network(path: Path | str, into: ResNet | None = None, loss: Loss | None = None) -> ResNet:
    """The network that `save_network` wrote, in evaluation mode.

    Arguments:
        path: The file.
        into: For a wrapped network: the same network, wrapped anew and not pruned. It is filled
            in place, unless the saved one was pruned, which gives a network of its own.
        loss: The loss, where the saved one was not ocnet's.

    Raises:
        ValueError: If the file holds no network, or one of another architecture than `into`,
            which then stays as it is; if `into` or `loss` is needed and missing.
    """
    check_kind("path", path, str, Path)
    if into is not None:
        check_kind("into", into, ResNet)
    if loss is not None:
        check_function("loss", loss)
    about, state = read(path)
    loss = restored(about["loss"], path) if loss is None else loss
    if about["architecture"] is not None:
        if into is not None:
            raise ValueError(f"{path} holds a whole network: load_network takes no `into` for it.")
        network = made(about).to(state["problem.head.bn.weight"])
    elif into is None:
        raise ValueError(
            f"{path} holds a wrapped network: give load_network(..., into=wrap(...)), the network "
            "that was wrapped."
        )
    else:
        dropped = any(how == "heads" for how, _ in about["pruning"])
        if heads_of(into) != about["heads"] and not dropped:
            raise ValueError(
                f'The checkpoint is of another architecture: heads="{about["heads"]}" there and '
                f'"{heads_of(into)}" here.'
            )
        network = pruned(into, about["pruning"])
    fill(network, state)
    network.problem.loss, network.problem.gamma = loss, about["gamma"]
    return network.eval()


def read(path: Path | str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The description and the tensors of a saved network."""
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {})[KEY])
            return about, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (KeyError, SafetensorError):
        raise ValueError(f"{path} holds no network saved by ocnet.networks.save_network.") from None


def made(about: dict[str, Any]) -> ResNet:
    """A network of the architecture that was saved, its values drawn anew."""
    values = about["architecture"].items()
    shape: Any = {k: tuple(v) if isinstance(v, list) else v for k, v in values}
    architecture = Architecture(**shape)
    problem = Classifier(
        parts(architecture, about["heads"]),
        state_shape=architecture.state_shape,
        image_shape=(architecture.channels, *architecture.size),
    )
    return ResNet(problem, layers(architecture))


def pruned(network: ResNet, pruning: list[tuple[str, Any]]) -> ResNet:
    """A network pruned in the same steps as another one.

    Raises:
        ValueError: If it has too few blocks for that.
    """
    for how, which in pruning:
        if how == "heads":
            network = network.without_own_heads()
            continue
        last = which if how == "cut" else max(which, default=0)
        if last >= network.depth:
            raise ValueError(
                f"The checkpoint is of another architecture: it was pruned from more than {last} "
                f"blocks, and here are {network.depth}."
            )
        network = network.cut(which) if how == "cut" else network.keep(which)
    return network


def tensors(network: ResNet) -> dict[str, Tensor]:
    """The state of a network; tensors that several modules share appear only once."""
    named = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    return {name: value for name, value in network.state_dict().items() if name in named}


def fill(network: ResNet, state: Mapping[str, Tensor]) -> None:
    """Copies saved values into a network, all or none.

    Raises:
        ValueError: If names or shapes differ.
    """
    mine = tensors(network)
    check_shapes(mine, state)
    for name, value in mine.items():
        value.copy_(state[name])


def heads_of(network: ResNet) -> str:
    """Which variant the read-outs are: "WS" or "full"."""
    readouts = network.problem.readouts
    own = isinstance(readouts, OwnReadOuts) or getattr(readouts, "own", False) is True
    return "full" if own else "WS"


def described(loss: Loss) -> dict[str, Any]:
    """A loss as its name and parameters."""
    if type(loss) in LOSSES.values():
        return {"name": type(loss).__name__, "parameters": asdict(loss)}  # pyright: ignore
    named = loss if hasattr(loss, "__qualname__") else type(loss)
    return {"name": f"{named.__module__}.{named.__qualname__}", "parameters": None}  # pyright: ignore


def restored(about: dict[str, Any], path: Path | str) -> Loss:
    """The loss that was saved.

    Raises:
        ValueError: If it was not one of ocnet's.
    """
    if about["parameters"] is None:
        raise ValueError(
            f"{path} was trained with the loss {about['name']}, which only you know: give "
            "load_network(..., loss=...)."
        )
    return LOSSES[about["name"]](**about["parameters"])


def refuse_unusable(path: Path | str) -> None:
    """Raises an OSError unless a new file can be written there.

    Raises:
        TypeError: If it is not a path.
        FileExistsError: If there is something already.
        FileNotFoundError: If there is no such folder.
    """
    check_kind("path", path, str, Path)
    if not Path(path).absolute().parent.is_dir():
        raise FileNotFoundError(f"There is no folder {Path(path).parent} to write {path} to.")
    if Path(path).exists():
        raise FileExistsError(f"{path} is there already; nothing was overwritten.")
