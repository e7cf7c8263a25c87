from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.testing import assert_close

from workers.backbones.registry import BackboneProvider
from workers.backbones.timm_vit import TimmVit, resampled_position
from workers.backbones.weights import FILE_NAME, WEIGHTS, WeightsError, find_weights


@pytest.fixture(autouse=True)
def empty_hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    cache = tmp_path / "hub"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    return cache


@pytest.fixture(scope="module")
def tensors() -> dict[str, Tensor]:
    torch.manual_seed(0)
    model = timm.create_model(WEIGHTS["dinov2_vits14_reg"].timm_model, pretrained=False, num_classes=0)
    return {name: tensor.contiguous() for name, tensor in model.state_dict().items()}


def put(folder: Path, tensors: dict[str, Tensor]) -> Path:
    folder.mkdir(parents=True)
    save_file(tensors, folder / FILE_NAME)
    return folder / FILE_NAME


def test_weights_folder_serves_any_image_size(tmp_path: Path, tensors: dict[str, Tensor]) -> None:
    put(tmp_path / "weights" / "dinov2_vits14_reg", tensors)
    provider = BackboneProvider(weights_dir=tmp_path / "weights")
    assert provider.available() == ["dense_descriptor", "dinov2_vits14_reg"]
    assert provider.resolve("auto") == "dinov2_vits14_reg"
    backbone = provider.get("auto")
    assert provider.get("dinov2_vits14_reg") is backbone
    features = backbone.extract(torch.rand(1, 3, 64, 100, generator=torch.Generator().manual_seed(0)))
    assert features.shape == (1, 384, 9, 14)
    assert torch.isfinite(features).all()


def test_hub_cache_is_the_second_place(tmp_path: Path, empty_hub_cache: Path, tensors: dict[str, Tensor]) -> None:
    weights = WEIGHTS["dinov2_vits14_reg"]
    assert find_weights(weights, None) is None
    repository = empty_hub_cache / f"models--{weights.hub_id.replace('/', '--')}"
    revision = "0123456789abcdef0123456789abcdef01234567"
    cached = put(repository / "snapshots" / revision, tensors)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(revision)
    assert find_weights(weights, None) == cached
    local = put(tmp_path / "weights" / weights.backbone, {"a": torch.zeros(1)})
    assert find_weights(weights, tmp_path / "weights") == local


@pytest.mark.parametrize("fault", ["missing tensor", "extra tensor", "wrong shape"])
def test_weights_that_do_not_fit_are_refused(tmp_path: Path, tensors: dict[str, Tensor], fault: str) -> None:
    changed = dict(tensors)
    if fault == "missing tensor":
        del changed["norm.bias"]
    elif fault == "extra tensor":
        changed["head.weight"] = torch.zeros(3)
    else:
        changed["norm.bias"] = torch.zeros(3)
    put(tmp_path / "dinov2_vits14_reg", changed)
    with pytest.raises(WeightsError, match="do not fit"):
        BackboneProvider(weights_dir=tmp_path).get("dinov2_vits14_reg")


def test_damaged_file_is_refused(tmp_path: Path) -> None:
    path = put(tmp_path / "dino_vits8", {"a": torch.zeros(1)})
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(WeightsError, match="cannot be read"):
        BackboneProvider(weights_dir=tmp_path).get("dino_vits8")


def tiny(**options: object) -> TimmVit:
    torch.manual_seed(3)
    model = timm.models.vision_transformer.VisionTransformer(
        img_size=64, patch_size=8, embed_dim=24, depth=2, num_heads=3, num_classes=0
    )
    return TimmVit(model.eval(), name="tiny", **{"stride": 4, "facet": "key"} | options)


def test_stride_must_divide_the_patch() -> None:
    with pytest.raises(ValueError, match="stride 3"):
        tiny(stride=3)


def test_features_lie_at_the_centres_of_their_cells() -> None:
    backbone = tiny()
    rows, columns = torch.meshgrid(torch.arange(15.0), torch.arange(15.0), indexing="ij")
    centres = torch.stack([4 + 4 * columns, 4 + 4 * rows])[None]
    spread = backbone._spread(centres, (16, 16))[0]
    expected = (torch.arange(16) * 4 + 2).float().clamp(4, 60)
    assert_close(spread[0, 0], expected)
    assert_close(spread[1, :, 0], expected)


def test_token_facet_is_the_normed_output_of_the_network() -> None:
    backbone = tiny(stride=8, facet="token")
    inputs = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = backbone.model.forward_features(inputs)[:, 1:]
        actual = backbone.tokens(inputs).flatten(2).transpose(1, 2)
    assert_close(actual, expected, atol=1e-5, rtol=1e-5)


def test_position_grid_of_the_stored_size_is_used_as_it_is() -> None:
    grid = torch.rand(1, 16, 5)
    assert resampled_position(grid, 4, 4) is grid
    assert resampled_position(grid, 3, 7).shape == (1, 21, 5)
