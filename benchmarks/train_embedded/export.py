"""From a trained network to the file that the backbone `embedded` loads."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from benchmarks.train_embedded.pictures import LabelledPictures
from workers.backbones.embedded import DIM, Embedded, all_stages
from workers.backbones.embedded_network import EmbeddedNetwork
from workers.backbones.weights.checksums import sha256_of

SAMPLED_PICTURES = 800
CELLS = 16
BATCH = 16
EVENNESS = 0.4
"""0 leaves the variances as they are, 1 makes them equal."""


@torch.no_grad()
def export(network: EmbeddedNetwork, pictures: LabelledPictures, path: Path) -> str:
    """Fit the projection, write network and projection in half precision, and return the file's SHA-256.

    The projection keeps the directions in which what the network says of the training pictures' places varies most, and
    evens their variances out to some degree: what few places share tells more.
    """
    whole = Embedded()
    whole.network.load_state_dict(network.state_dict())
    places = described_places(network, pictures)
    whole.mean.copy_(places.mean(dim=0))
    whole.projection.copy_(evened_directions(places - whole.mean, DIM))
    tensors = {name: _halved(tensor) for name, tensor in whole.state_dict().items()}
    save_file(tensors, path, metadata={"license": "Apache-2.0", "trained_on": "Caltech-101"})
    return sha256_of(path)


def described_places(network: EmbeddedNetwork, pictures: LabelledPictures) -> Tensor:
    """What the network says of some places (P, R) of pictures spread evenly over the set."""
    step = max(1, len(pictures.labels) // SAMPLED_PICTURES)
    frames = pictures.frames[::step].float() / 255
    described = [all_stages(network, batch, (CELLS, CELLS)) for batch in frames.split(BATCH)]
    return torch.cat(described).permute(0, 2, 3, 1).flatten(0, 2)


def evened_directions(centred: Tensor, count: int) -> Tensor:
    """The `count` directions (count, R) of the largest variance v of centred vectors (P, R), scaled by v ^ -0.2."""
    variances, vectors = torch.linalg.eigh((centred.T @ centred).double() / len(centred))
    scales = (variances / variances[-1]).clamp(min=1e-6) ** (-EVENNESS / 2)
    return (vectors * scales).flip(1)[:, :count].T.float()


def _halved(tensor: Tensor) -> Tensor:
    return (tensor.half() if tensor.is_floating_point() else tensor).contiguous()
