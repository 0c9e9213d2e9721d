"""The Riccati sweep as an associative scan: logarithmic in the number of stages, not linear.

S. Sarkka and A. F. Garcia-Fernandez, Temporal Parallelization of Dynamic Programming and Linear
Quadratic Control, IEEE Transactions on Automatic Control 68(2), 2023.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class ConditionalValue(NamedTuple):
    r"""What some stages in a row cost between given ends, one for each row of a batch.

    For states whose part `x` is moved and whose rest is constant (`riccati.homogeneous`),

    $$ V(s, x^+) = \max_\lambda \; \tfrac12 s' J s - \tfrac12 \lambda' C \lambda
       - \lambda' (x^+ - A s). $$

    Attributes:
        A: Shape `(..., nx, n)`.
        C: Shape `(..., nx, nx)`, symmetric.
        J: Shape `(..., n, n)`, symmetric.
    """

    A: Tensor
    C: Tensor
    J: Tensor

    def at(self, index: slice) -> "ConditionalValue":
        """Some of the pieces."""
        return ConditionalValue(*(value[index] for value in self))


def pieces(cost: Tensor, map: Tensor, nx: int) -> ConditionalValue:
    """Each stage by itself, its control eliminated: its Hessian in `u` must be regular."""
    n = map.shape[-2]
    M_s, M_u = map[..., :nx, :n], map[..., :nx, n:]
    inverse, _ = torch.linalg.inv_ex(cost[..., n:, n:])
    gain = inverse @ cost[..., n:, :n]
    return ConditionalValue(
        M_s - M_u @ gain, M_u @ inverse @ M_u.mT, cost[..., :n, :n] - cost[..., :n, n:] @ gain
    )


def combined(first: ConditionalValue, second: ConditionalValue) -> ConditionalValue:
    r"""Two pieces in a row as one.

    $$ A = A_2 (I + C_1 J_2)^{-1} A_1, \quad C = A_2 (I + C_1 J_2)^{-1} C_1 A_2' + C_2, \quad
       J = A_1' J_2 (I + C_1 J_2)^{-1} A_1 + J_1. $$

    `C` acts on `x` alone, so that only a matrix of its size is inverted.
    """
    A_1, C_1, J_1 = first
    A_2, C_2, J_2 = second
    nx = C_1.shape[-1]
    inverse, _ = torch.linalg.inv_ex(torch.eye(nx).to(C_1) + C_1 @ J_2[..., :nx, :nx])
    meeting = met(inverse, A_1, C_1, J_2)
    A = A_2[..., :nx] @ meeting
    A[..., nx:] += A_2[..., nx:]
    C = A_2[..., :nx] @ (inverse @ C_1) @ A_2[..., :nx].mT + C_2
    return ConditionalValue(A, symmetric(C), value(A_1, J_2, meeting) + J_1)


def met(inverse: Tensor, A: Tensor, C: Tensor, J: Tensor) -> Tensor:
    """The state `x` between two pieces, as a linear function of the state before them."""
    nx = C.shape[-1]
    right = A.clone()
    right[..., nx:] -= C @ J[..., :nx, nx:]
    return inverse @ right


def value(A: Tensor, J: Tensor, meeting: Tensor) -> Tensor:
    """`A' J meeting`, where the rest of the state is the same on both sides."""
    nx = A.shape[-2]
    inner = J[..., :, :nx] @ meeting
    inner[..., nx:] += J[..., :, nx:]
    result = A.mT @ inner[..., :nx, :]
    result[..., nx:, :] += inner[..., nx:, :]
    return symmetric(result)


def symmetric(value: Tensor) -> Tensor:
    """The symmetric part."""
    return (value + value.mT) / 2


def from_the_end(parts: ConditionalValue) -> ConditionalValue:
    """Each piece combined with all after it, in `2 log2 N` combinations one after the other."""
    count = len(parts.A)
    if count == 1:
        return parts
    even = count - count % 2
    pairs = combined(parts.at(slice(0, even, 2)), parts.at(slice(1, even, 2)))
    if even < count:
        pairs = ConditionalValue(
            *(torch.cat([a, b[-1:]]) for a, b in zip(pairs, parts, strict=True))
        )
    later = from_the_end(pairs)
    inner = slice(1, count - 1, 2)
    between = combined(parts.at(inner), later.at(slice(1, None))) if count > 2 else None
    found = []
    for place, (whole, last) in enumerate(zip(later, parts, strict=True)):
        out = torch.empty_like(last)
        out[0::2] = whole
        if between is not None:
            out[inner] = between[place]
        if even == count:
            out[-1] = last[-1]
        found.append(out)
    return ConditionalValue(*found)


def values(cost: Tensor, map: Tensor, end: Tensor, nx: int) -> Tensor:
    """The matrices `P_k` of the Riccati recursion for all stages, `P_N` last."""
    A, C, J = from_the_end(pieces(cost, map, nx))
    inverse, _ = torch.linalg.inv_ex(torch.eye(nx).to(C) + C @ end[:, :nx, :nx])
    return torch.cat([value(A, end, met(inverse, A, C, end)) + J, end[None]])


def path(maps: Tensor, start: Tensor) -> Tensor:
    """All states `s[k+1] = maps[k] s[k]`, `(time + 1, batch, n, 1)`, in `2 log2 N` products."""
    count = len(maps)
    if count == 0:
        return start[None]
    even = count - count % 2
    coarse = path(maps[1:even:2] @ maps[0:even:2], start)
    out = start.new_empty(count + 1, *start.shape)
    out[0::2] = coarse
    out[1::2] = maps[0::2] @ coarse[: (count + 1) // 2]
    return out
