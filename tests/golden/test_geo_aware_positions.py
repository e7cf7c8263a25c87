"""DINOv2's position embedding against values of the rule that Telling Left from Right (arXiv 2311.17034) uses."""

import pytest
import torch

from workers.backbones.vit.positions import resampled_position


def test_position_embedding_is_resampled_with_an_offset() -> None:
    y, x = torch.meshgrid(torch.arange(37.0), torch.arange(37.0), indexing="ij")
    stored = torch.stack([torch.sin(0.3 * x + 0.2 * y + c) for c in range(3)], dim=-1).view(1, 37 * 37, 3)
    resampled = resampled_position(stored, 60, 60).view(60, 60, 3)
    places = [float(resampled[row, column, c]) for c, row, column in ((0, 0, 0), (1, 17, 42), (2, 59, 59))]
    assert places == pytest.approx([-0.046613, -0.976291, 0.931988], abs=2e-6)
    assert float(resampled.double().sum()) == pytest.approx(-69.3076, abs=1e-3)
