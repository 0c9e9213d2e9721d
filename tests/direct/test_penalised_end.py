"""What `Transcription.relaxed` makes of the end: the penalty of its formula, number by number."""

import pytest
import torch

from ocnet import Euler
from ocnet.direct.solving import single
from ocnet.direct.transcription.autograd import Autograd
from ocnet.direct.transcription.transcription import Transcription
from problems.free_time import MinTime
from tests.support.integrators import AtLeast


@pytest.mark.parametrize("hold", [0.0, 4.0, 1000.0])
def test_a_final_time_is_held_by_its_weight(hold: float) -> None:
    """`weight/2 (|psi|^2 + hold (r - anchor)^2)` with `x = (0.5, -2)`, `r = 1.5`, anchor 1.2."""
    nlp = Transcription(single(MinTime()), Euler(4), Autograd())
    soft = nlp.relaxed(10.0, torch.tensor([[1.2]]), hold=hold)
    z, u = torch.tensor([[[0.5, -2.0, 1.5]]]), torch.tensor([[[0.3]]])
    phi, psi, omega = soft.ends(z, u)
    assert float(phi) == pytest.approx(10 / 2 * (0.5**2 + 2.0**2 + hold * 0.3**2))
    assert psi.shape[-1] == omega.shape[-1] == 0


def test_without_a_free_final_time_nothing_is_held() -> None:
    """`weight/2 max(1 - x, 0)^2` with `x = 0.25`, and nothing more for what cannot change."""
    nlp = Transcription(single(AtLeast()), Euler(4), Autograd())
    soft = nlp.relaxed(8.0, torch.zeros(1, 0), hold=1000.0)
    phi, _, _ = soft.ends(torch.tensor([[[0.25]]]), torch.zeros(1, 1, 1))
    assert float(phi) == pytest.approx(8 / 2 * 0.75**2)
