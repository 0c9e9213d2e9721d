"""Read a network of torchvision along its depth and leave it early, without rewriting it.

    python -m examples.wrapped_resnet18

Wraps an untrained resnet18, which stays as it is to the bit, gives its intermediate outputs
batch-norm statistics from a few images, saves the SubResNet of five blocks and loads it into
another resnet18, and predicts with early exit. Load pretrained weights, and your own images, to
see more than chance. Expected output: "same logits: True", then eight blocks with nine outputs,
"same after saving: True" and a table of accuracy against average depth.
"""

import tempfile

import torch
from torchvision.models import resnet18

from ocnet import Sample
from ocnet.analysis import calibrate
from ocnet.networks import collect_statistics, load_network, save_network, wrap


def main() -> None:
    """Wraps, compares, and predicts with early exit."""
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    network = resnet18(num_classes=10).eval()
    images = torch.randn(16, 3, 64, 64, generator=generator)
    wrapped = wrap(network, images[:2])
    labels = torch.randint(10, (16,), generator=generator)
    print("same logits:", torch.equal(wrapped(images), network(images)))
    collect_statistics(wrapped, images.split(8))
    print("blocks:", wrapped.depth, "outputs:", tuple(wrapped.outputs(images).shape))
    with tempfile.TemporaryDirectory() as folder:
        save_network(wrapped.subresnet(5), f"{folder}/five.safetensors")
        another = wrap(resnet18(num_classes=10), images[:2])
        five = load_network(f"{folder}/five.safetensors", into=another)
    print("same after saving:", torch.equal(five(images), wrapped.subresnet(5)(images)))
    sample = Sample(images, labels)
    print(calibrate(wrapped, sample).table(sample))


if __name__ == "__main__":
    main()
