"""Prompts that are optimised to attend to a point, against values of the official code (arXiv 2305.15581).

Its functions were run unmodified on a tiny network filled by formulas; features, latents and noise levels are compared
in `test_sd_correspondence_features`.
"""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate
from torch.testing import assert_close

from api_schemas.methods.sd_correspondence import SdCorrespondenceParams
from tests.workers.backbones.diffusion.tiny import LATENT_GAIN, context, picture, tiny_unet, tiny_vae
from workers.backbones.base import Compute, no_tick
from workers.backbones.diffusion.attention import TAPPED_LAYERS, AttentionReader
from workers.backbones.diffusion.networks import DiffusionNetworks
from workers.backbones.diffusion.schedule import noised
from workers.backbones.diffusion.vae import VaeEncoder
from workers.methods.sd_correspondence.crops import Crops, Window, crops_of
from workers.methods.sd_correspondence.optimisation import Draws, Group, Optimisation
from workers.methods.sd_correspondence.options import options_of
from workers.methods.sd_correspondence.passes import Passes
from workers.methods.sd_correspondence.peaks import PeakLoss, plain_peak_loss, profile, upsampling
from workers.methods.sd_correspondence.readout import fused, joined, located
from workers.methods.sd_correspondence.scene import LiveFeatures, Scene, View

OFFICIAL = options_of(SdCorrespondenceParams(preset="official"))
TIMESTEP = 140
CLOSE = {"rel": 1e-4}
GRADIENT = {"rel": 1e-3}


def tiny_reader(*, gain: bool = True, heads: str = "second_half") -> AttentionReader:
    """Read the tiny network; without the latents' gain their deviation is 0.03 instead of 0.8."""
    vae = tiny_vae()
    if not gain:
        with torch.no_grad():
            vae.quant_conv.weight.div_(LATENT_GAIN)
    unet = tiny_unet().requires_grad_(False)
    encoder = VaeEncoder(vae).requires_grad_(False)
    return AttentionReader(DiffusionNetworks("tiny", "0", Compute(), unet, encoder), heads=heads)


@torch.no_grad()
def by_head(features: list[Tensor], embedding: Tensor, size: int) -> Tensor:
    """Attention of each head to token 1 at the picture's size, without the reader's help: (layers, 4, S, S)."""
    unet = tiny_unet()
    maps = []
    for name, queries in zip(TAPPED_LAYERS, features, strict=True):
        attention = unet.get_submodule(f"{name}.transformer_blocks.0.attn2")
        keys = attention.to_k(embedding)[0].unflatten(1, (8, -1)).transpose(0, 1)[4:]
        shares = (queries[0] @ keys.transpose(1, 2) * attention.scale).softmax(-1)[..., 1]
        side = round(shares.shape[1] ** 0.5)
        maps.append(shares.view(1, 4, side, side))
    return enlarged(maps, size)[:, 0]


def half(reader: AttentionReader, size: int) -> Tensor:
    """The picture's latents under noise that is 0.5 everywhere."""
    latents = reader.encode(picture(size, size))
    return noised(latents, torch.full_like(latents, 0.5), TIMESTEP)


def enlarged(maps: list[Tensor], size: int) -> Tensor:
    """Maps (N, T, s, s) of the layers at the picture's size: (layers, N, T, S, S)."""
    return torch.stack([interpolate(one, (size, size), mode="bilinear", align_corners=False) for one in maps])


@pytest.fixture(scope="module")
def formula_maps() -> list[Tensor]:
    """Attention to token 1 of 7, mean of heads 4 to 7 of 8, of layers with 4 x 4, 4 x 4 and 8 x 8 cells."""
    maps = []
    for layer, cells in enumerate((16, 16, 64)):
        head, cell, token = torch.meshgrid(
            *(torch.arange(count, dtype=torch.float64) for count in (8, cells, 7)), indexing="ij"
        )
        waves = 2 * torch.sin(0.37 * cell + 0.61 * token * (layer + 1) + 0.23 * head)
        attention = (waves + 0.5 * torch.cos(0.11 * cell * token)).softmax(-1)[4:, :, 1].mean(0)
        side = round(cells**0.5)
        maps.append(attention.float().view(1, 1, side, side))
    return maps


@pytest.fixture(scope="module")
def formula_layers(formula_maps: list[Tensor]) -> Tensor:
    """The same laid over a picture of 32 pixels: (3, 32, 32)."""
    return joined([one[:, 0] for one in formula_maps], [(0, 0)], Crops(32, 32, 4))


def test_layers_are_brought_to_the_pictures_size(formula_layers: Tensor) -> None:
    assert 4 * float(formula_layers.double().sum()) == pytest.approx(1659.540173, **CLOSE)
    means = torch.tensor([0.13509386, 0.14339451, 0.12667281])
    assert_close(formula_layers.mean((1, 2)), means, rtol=1e-4, atol=0)
    places = [(0, 0, 0), (0, 5, 20), (1, 31, 31), (2, 16, 9), (2, 3, 28)]
    expected = torch.tensor([0.3490624, 0.2202549, 0.3455560, 0.0507083, 0.1047560])
    assert_close(torch.stack([formula_layers[place] for place in places]), expected, rtol=1e-4, atol=0)


def test_the_wanted_peak_is_the_official_one() -> None:
    across, down = profile(torch.tensor([0.4 * 32, 0.6 * 32]), 32, 1.75, half_pixel=False)
    peak = down[:, None] * across
    assert float(peak.sum()) == pytest.approx(19.242255, **CLOSE)
    assert float(peak[19, 12]) == pytest.approx(0.8949204, **CLOSE)
    assert float(peak[19, 13]) == pytest.approx(0.9870237, **CLOSE)
    assert divmod(int(peak.argmax()), 32) == (19, 13)


def test_the_wanted_peak_at_full_size_is_the_official_one() -> None:
    across, down = profile(torch.tensor([205.0, 307.0]), 512, OFFICIAL.sigma, half_pixel=False)
    peak = down[:, None] * across
    assert float(peak.double().sum()) == pytest.approx(4918.46703, **CLOSE)
    assert float(peak[307, 205]) == 1.0
    for row, column in ((307, 233), (279, 205)):
        assert float(peak[row, column]) == pytest.approx(0.6060653, **CLOSE)
    assert float(peak.square().mean()) == pytest.approx(0.00938123, **CLOSE)
    nothing = PeakLoss(512, OFFICIAL.sigma, half_pixel=False).of_nothing(torch.tensor([[[205.0, 307.0]]]))
    assert float(nothing) == pytest.approx(0.00938123, **CLOSE)
    across, down = profile(512 * torch.tensor([0.4, 0.6]), 512, OFFICIAL.sigma, half_pixel=False)
    between = down[:, None] * across
    assert divmod(int(between.argmax()), 512) == (307, 205)
    assert float(between.max()) == pytest.approx(0.9999489, rel=1e-6)


def test_the_loss_is_the_official_one(formula_maps: list[Tensor]) -> None:
    centre = 32 * torch.tensor([[[0.4, 0.6]]])
    closed = PeakLoss(32, 1.75, half_pixel=False)(formula_maps, centre)
    plain = plain_peak_loss(formula_maps, centre, 32, 1.75, half_pixel=False)
    assert float(closed) == pytest.approx(0.03684960, rel=1e-5)
    assert float(plain) == pytest.approx(0.03684960, rel=1e-5)


@pytest.mark.parametrize(("fusion", "place"), [("softmax", (480.5, 480.5)), ("mean", (496.5, 480.5))])
def test_layers_become_one_in_both_official_ways(
    formula_layers: Tensor, fusion: str, place: tuple[float, float]
) -> None:
    whole = fused(formula_layers, fusion)
    column, row = (int(axis // 16) for axis in place)
    # The four pixels in the corner are equal; which one the official code takes, the last bit of its sums decides.
    assert float(whole[row, column]) == pytest.approx(float(whole.max()), rel=1e-6)
    assert float(whole[:30].max()) < 0.99 * float(whole.max())
    assert float(whole.sum()) == pytest.approx(1 if fusion == "softmax" else 1659.540173 / 12, **CLOSE)


@pytest.mark.parametrize(
    ("percent", "side", "margin"), [(100, 512, 76), (OFFICIAL.crop_percent, 477, 71), (80, 409, 61), (50, 256, 38)]
)
def test_crops_have_the_official_size(percent: float, side: int, margin: int) -> None:
    assert crops_of(512, percent) == Crops(512, side, margin)


@pytest.mark.parametrize(
    ("place", "starts"),
    [
        (0, (0, 0)),
        (30, (0, 0)),
        (71, (0, 0)),
        (90.5, (0, 19)),
        (106, (0, 35)),
        (256, (0, 35)),
        (406, (0, 35)),
        (420, (14, 35)),
        (430.7, (24, 35)),
        (441, (35, 35)),
        (500, (35, 35)),
        (512, (35, 35)),
    ],
)
def test_crops_lie_where_the_official_ones_do(place: float, starts: tuple[int, int]) -> None:
    assert crops_of(512, OFFICIAL.crop_percent).starts(place) == starts


def test_a_crop_is_drawn_as_the_official_code_draws_it() -> None:
    crops = crops_of(512, OFFICIAL.crop_percent)
    x, y = crops.draw((256, 430.7), torch.Generator().manual_seed(0))
    assert (x, y) == (8, 27)
    assert ((256 - x) / crops.side, (430.7 - y) / crops.side) == pytest.approx((0.5199161, 0.8463312), rel=1e-6)


def test_the_place_is_the_highest_pixels_official_one() -> None:
    maps = torch.zeros(1, 1, 512, 512)
    maps[0, 0, 14, 467] = 1
    found = located(maps, torch.ones(512, 512, dtype=torch.bool), sigma=OFFICIAL.sigma, fusion="softmax")
    assert (found.x, found.y) == (467.5, 14.5)


@pytest.mark.parametrize(
    ("pixels", "highest", "place", "total"),
    [(512, 0.96899414, (175, 303), 1024.0), (477, 0.97499138, (163, 283), 888.71490)],
)
def test_one_cell_is_enlarged_as_officially(pixels: int, highest: float, place: tuple[int, int], total: float) -> None:
    cells = torch.zeros(16, 16)
    cells[5, 9] = 1
    matrix = upsampling(16, pixels)
    found = matrix @ cells @ matrix.T
    assert float(found.max()) == pytest.approx(highest, rel=1e-6)
    assert divmod(int(found.argmax()), pixels) == place
    assert float(found.sum()) == pytest.approx(total, rel=1e-6)


@dataclass(frozen=True)
class Attended:
    """What the tiny network attends to at 256 pixels, under noise that is 0.5 everywhere."""

    reader: AttentionReader
    embedding: Tensor
    features: list[Tensor]
    maps: list[Tensor]

    def loss(self) -> Tensor:
        centre = 256 * torch.tensor([[[0.4, 0.6]]])
        return PeakLoss(256, OFFICIAL.sigma / 2, half_pixel=False)(self.maps, centre)[0, 0]


def attended(heads: str = "second_half") -> Attended:
    reader = tiny_reader(heads=heads)
    embedding = context().requires_grad_()
    features = reader.features(half(reader, 256), TIMESTEP, embedding, torch.tensor([0]))
    return Attended(reader, embedding, features, reader.attend(features, embedding, 1))


@pytest.fixture(scope="module")
def tiny() -> Attended:
    return attended()


@torch.no_grad()
def test_attention_of_each_head_is_the_official_one(tiny: Attended) -> None:
    maps = by_head(tiny.features, tiny.embedding, 256)
    assert float(maps.mean()) == pytest.approx(0.00978342, **CLOSE)
    assert float(maps.std()) == pytest.approx(0.00695011, **CLOSE)
    assert float(maps.max()) == pytest.approx(0.05381393, **CLOSE)
    chosen = torch.tensor([0.03014184, 0.00846594, 0.01662271, 0.00133088])
    assert_close(maps[:, 0, 100, 150], chosen, rtol=1e-4, atol=0)
    assert_close(maps.mean(1), enlarged(tiny.maps, 256)[:, 0, 0], rtol=1e-5, atol=1e-8)


@torch.no_grad()
def test_attention_of_each_layer_is_the_official_one(tiny: Attended) -> None:
    maps = enlarged(tiny.maps, 256)[:, 0, 0]
    means = torch.tensor([0.01303558, 0.00894981, 0.01227137, 0.00487690])
    assert_close(maps.mean((1, 2)), means, rtol=1e-4, atol=0)
    highest = [divmod(int(layer.argmax()), 256) for layer in maps]
    assert highest == [(143, 240), (112, 240), (175, 111), (200, 199)]


def test_loss_and_gradient_are_the_official_ones(tiny: Attended) -> None:
    loss = tiny.loss()
    (gradient,) = torch.autograd.grad(loss, tiny.embedding)
    assert float(loss.detach()) == pytest.approx(0.00915217, **CLOSE)
    assert float(gradient.norm()) == pytest.approx(1.386959e-4, **GRADIENT)
    assert float(gradient[0, 1].norm()) == pytest.approx(4.92597e-5, **GRADIENT)
    assert float(gradient[0, 0].norm()) == pytest.approx(1.81595e-5, **GRADIENT)


@torch.no_grad()
def test_all_heads_give_the_value_that_the_official_code_would() -> None:
    everything = attended("all").loss()
    assert float(everything) == pytest.approx(0.00916017, rel=1e-6)


@dataclass(frozen=True)
class FullSize:
    """The tiny network at 512 pixels, with latents as small as its autoencoder gives them."""

    maps: Tensor
    """(4 layers, 4 heads, 512, 512)."""
    loss: float
    gradient: Tensor
    windows: list[Window]
    losses: list[float]


@pytest.fixture(scope="module")
def full_size() -> FullSize:
    reader = tiny_reader(gain=False)
    embedding = context().requires_grad_()
    features = reader.features(half(reader, 512), TIMESTEP, embedding, torch.tensor([0]))
    maps = reader.attend(features, embedding, 1)
    centre = 512 * torch.tensor([[[0.4, 0.6]]])
    loss = PeakLoss(512, OFFICIAL.sigma, half_pixel=False)(maps, centre).sum()
    (gradient,) = torch.autograd.grad(loss, embedding)
    windows, losses = two_steps(reader)
    return FullSize(by_head(features, embedding, 512), float(loss.detach()), gradient, windows, losses)


def two_steps(reader: AttentionReader) -> tuple[list[Window], list[float]]:
    """Optimise an embedding from given numbers, with random draws as the official code takes them from a seed of 7."""
    options = options_of(SdCorrespondenceParams(preset="official", tuning={"rounds": 1, "steps": 2}))
    crops = crops_of(512, options.crop_percent)
    live = LiveFeatures(Scene(reader, picture(512, 512)[0], crops, tick=no_tick), options.optimise_timestep)
    windows = []

    def watched(views: list[View], contexts: Tensor, owners: Tensor) -> list[Tensor]:
        windows.extend(view.window for view in views)
        return live(views, contexts, owners)

    group = Group(512 * torch.tensor([[0.40, 0.62]]), ("golden",))
    optimisation = Optimisation(reader, watched, [group], Draws(crops, []), options, Passes(reader, print, items=1))
    drawn = torch.Generator().manual_seed(7).get_state()
    optimisation.restore(optimisation.state() | {"embeddings": context(), "generators": drawn[None]})
    return windows, [optimisation.step(), optimisation.step()]


def test_attention_at_full_size_is_the_official_one(full_size: FullSize) -> None:
    maps = full_size.maps
    found = [float(value) for value in (maps.mean(), maps.std(), maps.max())]
    assert found == pytest.approx([0.01148371, 0.00706109, 0.0609775], **CLOSE)
    # At this size the official sums alone are off by up to 6e-6.
    assert float(maps.min()) == pytest.approx(8.4579e-5, rel=1e-3)


def test_loss_at_full_size_is_the_official_one(full_size: FullSize) -> None:
    assert full_size.loss == pytest.approx(0.00918009, **CLOSE)
    assert float(full_size.gradient.norm()) == pytest.approx(5.76747e-5, **GRADIENT)


def test_two_steps_are_the_official_ones(full_size: FullSize) -> None:
    assert full_size.windows == [(27, 4), (9, 26)]
    assert full_size.losses == pytest.approx([0.00914955, 0.00915465], **CLOSE)
