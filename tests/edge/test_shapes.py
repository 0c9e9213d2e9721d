"""The shapes in the library's signatures are checked while the tests run."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jaxtyping
import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from ocnet.scaling import Res3, states
from ocnet.types import State
from tests.support.shapes import checked, where_shapes_are_named


check: Callable[[Any], Any] = where_shapes_are_named(typechecker=checked)


@check
def square(x: Float[Tensor, "size size"]) -> Tensor:
    return x


@check
@dataclass
class Pair:
    a: Float[Tensor, " size"]
    b: Float[Tensor, " size"]


class Holder:
    @check
    @property
    def value(self) -> Float[Tensor, "one two"]:
        return torch.zeros(3)


@pytest.mark.parametrize(
    "call",
    [
        lambda: square(torch.zeros(2, 3)),
        lambda: Pair(torch.zeros(2), torch.zeros(3)),
        lambda: Holder().value,
        lambda: states(Res3(4, d=5), torch.tensor(0.0), torch.zeros(5), 0.5),
    ],
)
def test_a_wrong_shape_is_found(call: Callable[[], object]) -> None:
    with pytest.raises(jaxtyping.TypeCheckError):
        call()


def test_what_names_no_shape_is_left_alone() -> None:
    def plain(x: Tensor, n: int) -> State:
        return x * n

    assert check(plain) is plain
    assert square(torch.zeros(2, 2)).shape == (2, 2)
