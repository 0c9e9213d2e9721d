"""Networks of timm and of transformers, where these are installed; random weights, small sizes.

python -m pip install ".[others]" && python -m pytest -m slow tests/networks
"""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import nn, Tensor

from ocnet.networks import ResNet, wrap


@pytest.fixture(autouse=True)
def single_precision() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(before)


def images(size: int = 32) -> Tensor:
    return torch.randn(2, 3, size, size)


def ids() -> Tensor:
    return torch.randint(40, (2, 8))


def reads_out(wrapped: ResNet, network: nn.Module, x: Tensor, classes: int) -> None:
    """The last output is the network's; the others have its shape."""
    y = network.eval()(x)
    y = getattr(y, "logits", y)
    torch.testing.assert_close(wrapped.eval()(x), y, rtol=1e-4, atol=1e-4)
    if not (wrapped.problem.readouts.batches == 0).any():
        assert wrapped.outputs(x).shape == (wrapped.depth + 1, *y.shape)
    assert y.shape[-1] == classes


TIMM: dict[str, tuple[int, dict[str, Any]]] = {
    "resnet18": (8, {}),
    "seresnet18": (8, {}),
    "resnetv2_50": (16, {}),
    "vit_tiny_patch16_224": (12, {"img_size": 32}),
    "convnext_atto": (12, {}),
    "efficientnet_b0": (9, {}),
    "regnety_004": (16, {}),
    "swin_tiny_patch4_window7_224": (12, {"img_size": 32, "window_size": 4}),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", TIMM)
def test_networks_of_timm(name: str) -> None:
    timm = pytest.importorskip("timm")
    depth, options = TIMM[name]
    network, x = timm.create_model(name, num_classes=5, drop_path_rate=0.1, **options), images()
    wrapped = wrap(network, x)
    assert wrapped.depth == depth
    reads_out(wrapped, network, x, 5)


def gpt2(library: Any) -> nn.Module:
    return library.GPT2LMHeadModel(
        library.GPT2Config(n_layer=3, n_embd=32, n_head=2, vocab_size=50, n_positions=16,
                           use_cache=False, bos_token_id=0, eos_token_id=0)
    )  # fmt: skip


SMALL = {
    "num_hidden_layers": 3,
    "hidden_size": 32,
    "num_attention_heads": 2,
    "intermediate_size": 64,
}
TEXTS = {"vocab_size": 50, "max_position_embeddings": 16}


def llama(library: Any) -> nn.Module:
    config = library.LlamaConfig(**SMALL, **TEXTS, num_key_value_heads=2, use_cache=False)
    return library.LlamaForCausalLM(config)


TRANSFORMERS: dict[str, tuple[Callable[[Any], nn.Module], Callable[[], Tensor], int]] = {
    "GPT-2": (gpt2, ids, 50),
    "Llama": (llama, ids, 50),
    "BERT": (
        lambda lib: lib.BertForSequenceClassification(lib.BertConfig(**SMALL, **TEXTS)), ids, 2,
    ),
    "ViT": (
        lambda lib: lib.ViTForImageClassification(
            lib.ViTConfig(**SMALL, image_size=16, patch_size=8)
        ),
        lambda: images(16),
        2,
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", TRANSFORMERS)
def test_networks_of_transformers(name: str) -> None:
    library = pytest.importorskip("transformers")
    make, data, classes = TRANSFORMERS[name]
    network, x = make(library), data()
    wrapped = wrap(network, x)
    assert wrapped.depth == 3
    reads_out(wrapped, network, x, classes)
    assert wrap(network, x, blocks="sums").depth == 6
