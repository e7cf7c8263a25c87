"""VGG-16 with the weights that torchvision trained on ImageNet, as timm's repository in the hub holds them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from workers.backbones.weights.folder import WeightsFolder
from workers.backbones.weights.tensors import fill, read_tensors
from workers.methods.asic.network.perceptual import Vgg16

WEIGHTS_FILE = "model.safetensors"
_CONVOLUTIONS = "features."
_FIRST = "features.0.weight"
_FIRST_CHANNELS = 64


def load_vgg(folder: WeightsFolder) -> Vgg16:
    """Read the thirteen convolutions, in float32, frozen and in evaluation mode, onto the CPU; the classifier stays.

    The network is as wide as the tensors in the file.

    Raises:
        WeightsError: the file is damaged, or tensors are missing, unexpected or of another shape; names some.
    """
    path = folder.path / WEIGHTS_FILE
    tensors = {name: tensor for name, tensor in read_tensors(path).items() if name.startswith(_CONVOLUTIONS)}
    with torch.device("meta"):
        network = Vgg16(_width(tensors))
    fill(_laid_out(network), tensors, source=str(path))
    return network.float().eval().requires_grad_(False)


def _width(tensors: Mapping[str, Tensor]) -> float:
    first = tensors.get(_FIRST)
    return len(first) / _FIRST_CHANNELS if first is not None and first.ndim else 1.0


def _laid_out(network: Vgg16) -> nn.Module:
    """Line up the network's own layers so that their tensors bear the names they have in the file."""
    layers: list[nn.Module] = []
    for stage in network.stages:
        layers += [*stage.children(), network.pool]
    return nn.ModuleDict({"features": nn.Sequential(*layers)})
