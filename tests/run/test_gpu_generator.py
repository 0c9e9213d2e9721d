"""The state of a GPU's generator is saved and put back, and nothing of it is touched on a CPU."""

import pytest
import torch
from torch import nn, Tensor

from ocnet.run.randomness import Randomness


class Gpu:
    """Stands for the generator of a GPU: a state, and the devices whose state was set."""

    def __init__(self) -> None:
        self.state = torch.tensor([1, 2, 3], dtype=torch.uint8)
        self.set: list[torch.device] = []

    def get_rng_state(self, device: torch.device) -> Tensor:
        return self.state

    def set_rng_state(self, state: Tensor, device: torch.device) -> None:
        self.state = state
        self.set.append(device)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Gpu:
    gpu = Gpu()
    monkeypatch.setattr(torch.cuda, "get_rng_state", gpu.get_rng_state)
    monkeypatch.setattr(torch.cuda, "set_rng_state", gpu.set_rng_state)
    return gpu


def test_the_state_is_put_back(gpu: Gpu) -> None:
    device = torch.device("cuda", 1)
    randomness = Randomness(nn.Linear(1, 1), device=device)
    state = randomness.own_state()
    gpu.state = torch.tensor([9, 9, 9], dtype=torch.uint8)
    randomness.set_own_state(state)
    assert gpu.state.tolist() == [1, 2, 3]
    assert gpu.set == [device]


def test_a_run_of_a_gpu_goes_on_on_a_cpu(gpu: Gpu) -> None:
    saved = Randomness(nn.Linear(1, 1), device=torch.device("cuda")).own_state()[0]
    on_cpu = Randomness(nn.Linear(1, 1), device=torch.device("cpu"))
    state = {"processes": {name: [z] for name, z in saved.items()}, "held": []}
    on_cpu.load_state_dict(state)
    expected = torch.rand(3)
    on_cpu.load_state_dict(state)
    assert torch.equal(torch.rand(3), expected)
    assert gpu.set == []


def test_a_run_of_a_cpu_goes_on_on_a_gpu(gpu: Gpu) -> None:
    state = Randomness(nn.Linear(1, 1), device=torch.device("cpu")).state_dict()
    Randomness(nn.Linear(1, 1), device=torch.device("cuda")).load_state_dict(state)
    assert gpu.set == []


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_real_gpu_draws_the_same_again() -> None:
    randomness = Randomness(nn.Linear(1, 1), device=torch.device("cuda"))
    state = randomness.state_dict()
    expected = torch.rand(5, device="cuda")
    randomness.load_state_dict(state)
    assert torch.equal(torch.rand(5, device="cuda"), expected)
