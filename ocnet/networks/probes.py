"""Read-outs of one's own: a probe for each state."""

import copy
from collections.abc import Sequence

import torch
from torch import nn, Tensor

from .._arguments import check_kind, check_sequence
from ..types import State
from .chained import ChainedReadOuts, follows_statistics
from .network import ResNet
from .readouts import Backbone, ReadOuts


class ProbedReadOuts(ReadOuts):
    """Read-outs `y^_k = P_k(x_k)` by modules of one's own.

    Arguments:
        probes: A module for each state, `(batch, ...) -> (batch, classes)`.
    """

    def __init__(self, probes: Sequence[nn.Module]):
        super().__init__(len(probes))
        self.probes: nn.ModuleList = nn.ModuleList(probes)
        for k, probe in enumerate(probes):
            self.batches[k] = int(not follows_statistics(probe))

    def observe(self, backbone: Backbone, k: int, x: State) -> Tensor:
        return self.probes[k](x)

    def logits(self, backbone: Backbone, ks: Sequence[int], ys: Sequence[Tensor]) -> Tensor:
        if self.training and self.track_running_stats:
            self.batches[ks[0] : ks[-1] + 1] += 1
        return torch.stack(list(ys))

    def own_parameters(self, k: int) -> list[nn.Parameter]:
        return list(self.probes[k].parameters())

    def shared(self, backbone: Backbone) -> ReadOuts:
        return ChainedReadOuts(self.n, backbone)

    def alone(self, backbone: Backbone, k: int) -> nn.Module:
        return copy.deepcopy(self.probes[k])

    def take_statistics(self, backbone: Backbone) -> None:
        raise ValueError("Probes have no statistics of the network's to take.")

    def keep(self, ks: Sequence[int], backbone: Backbone, bare: Sequence[int] = ()) -> ReadOuts:
        few = ProbedReadOuts([copy.deepcopy(self.probes[k]) for k in ks])
        few.batches.copy_(self.batches[list(ks)])
        return few.train(self.training)


def attach_probes(network: ResNet, probes: Sequence[nn.Module]) -> None:
    """Lets modules of one's own read out the states `x_0, ..., x_{N-1}`.

    They take the place of the later skips and the head, in `outputs`, in the stage cost and along
    the depth; a SubResNet ends with its probe. The weight of the stage cost stays as it is: a probe
    whose weight is 0 reads out, but is not trained by the cost.

    Arguments:
        network: The network, changed in place.
        probes: A module for each state but the last, which the network's own head reads.

    Raises:
        TypeError, ValueError: Unless there is a module for each state that gives what the
            network's head gives.
    """
    check_kind("network", network, ResNet)
    check_sequence("probes", probes)
    if len(probes) != network.depth:
        raise ValueError(
            f"probes must be {network.depth}, one for each state but the last, but got "
            f"{len(probes)}."
        )
    for k, probe in enumerate(probes):
        check_kind(f"probes[{k}]", probe, nn.Module)
    problem = network.problem
    readouts = ProbedReadOuts(probes).to(problem.readouts.batches.device)
    readouts.resting = problem.readouts.resting
    problem.readouts = readouts.train(network.training)
