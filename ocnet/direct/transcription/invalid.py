"""Instances given with NaN or infinite values: what is wrong, and a batch without them."""

import torch
from torch import Tensor

from ...problem import Batch, check_state
from .check import own_value


def without_invalid(batch: Batch) -> tuple[Batch, dict[int, str]]:
    """The batch with finite values in place of invalid instances, and what is wrong with these.

    The others stay as they are. An invalid instance becomes a copy of the first valid one; where
    there is none, what is not finite becomes 1/2, or the problem's own value.

    Returns:
        The batch, and one line for each invalid instance by its number in the flattened batch.
    """
    problem, x0, _, parameters = batch
    check_state(problem, x0)
    shape = problem.batch_shape(x0)
    values = {"x0": (x0, torch.full_like(x0.detach(), 0.5))}
    shared = {}
    for name, value in parameters.items():
        own = own_value(problem, name)
        if not isinstance(value, Tensor) or not value.is_floating_point():
            continue
        if value.shape == own.shape:
            shared[name] = value, own.detach().to(value)
        elif value.shape == shape + own.shape:
            values[name] = value, own.detach().to(value).expand_as(value)
    if all(bool(value.isfinite().all()) for value, _ in (*values.values(), *shared.values())):
        return batch, {}
    size = shape.numel()
    reasons: dict[int, str] = {}
    for name, (value, _) in values.items():
        flat = value.detach().reshape(size, *value.shape[len(shape) :])
        for i in (~flat.isfinite()).reshape(size, -1).any(1).nonzero()[:, 0].tolist():
            reasons.setdefault(i, first_wrong(name, flat[i]))
    for name, (value, _) in shared.items():
        if not bool(value.isfinite().all()):
            reasons = {i: reasons.get(i, first_wrong(name, value.detach())) for i in range(size)}
    valid = torch.tensor([i not in reasons for i in range(size)], device=x0.device)
    first = valid.nonzero()[:1, 0]

    def filled(value: Tensor, instead: Tensor) -> Tensor:
        if len(first) == 0:
            return torch.where(value.isfinite(), value, instead)
        flat = value.reshape(size, -1)
        copied = flat.detach()[first].expand_as(flat)
        return torch.where(valid[:, None], flat, copied).reshape(value.shape)

    found = {name: filled(*pair) for name, pair in values.items()}
    common = {name: torch.where(v.isfinite(), v, instead) for name, (v, instead) in shared.items()}
    x0 = found.pop("x0")
    return batch._replace(x0=x0, parameters={**parameters, **found, **common}), reasons


def first_wrong(name: str, value: Tensor) -> str:
    """The first entry that is not finite, in words."""
    flat = value.reshape(-1)
    i = int((~flat.isfinite()).nonzero()[0, 0])
    place = [int(k) for k in torch.unravel_index(torch.tensor(i), value.shape)]
    return f"{name}{place if value.dim() > 0 else ''} is {float(flat[i])}"
