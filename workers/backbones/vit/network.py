"""A vision transformer of timm: loading it, and reading any facet of any of its blocks."""

from collections.abc import Sequence
from dataclasses import dataclass

import timm
import torch
from timm.layers.pos_embed_sincos import RotaryEmbeddingDinoV3
from timm.models.eva import Eva, EvaAttention
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad

from api_schemas.backbones import Facet
from workers.backbones.base import Compute, Tick, no_tick
from workers.backbones.vit.blocks import as_block
from workers.backbones.vit.positions import resampled_position, rotary_table
from workers.backbones.weights.errors import WeightsError
from workers.backbones.weights.folder import WeightsFolder
from workers.backbones.weights.tensors import fill, read_tensors

WEIGHTS_FILE = "model.safetensors"


@dataclass(frozen=True)
class View:
    """What of a network describes a token: a facet of a block, counted from 0."""

    layer: int
    facet: Facet

    @property
    def blocks(self) -> int:
        """Blocks that must have been run before it can be read."""
        return self.layer + (self.facet == "token")


class VitNetwork:
    """A frozen transformer with a class token: DINO and DINOv2 (learned positions) or DINOv3 (RoPE).

    Attributes:
        model: as timm builds it.
        patch: side of a patch in pixels.
        dim: channels C of a token.
        heads: of attention.
        prefix: tokens in front of the patches: the class token, then registers.
        digest: which weights these are.
    """

    def __init__(self, model: VisionTransformer | Eva, *, digest: str) -> None:
        """Wrap a model in evaluation mode, on its device, without gradients.

        Raises:
            ValueError: it has no class token or no positions, or its blocks are of another kind.
        """
        if model.cls_token is None or not isinstance(model.norm_pre, nn.Identity):
            raise ValueError(
                "the transformer has no class token or a norm before its blocks; use DINO, DINOv2 or DINOv3"
            )
        self.model, self.digest = model, digest
        self.patch, self.dim, self.prefix = model.patch_embed.patch_size[0], model.embed_dim, model.num_prefix_tokens
        self.blocks = [as_block(block) for block in model.blocks]
        self.heads = self.blocks[0].heads
        self._front: Tensor = model.cls_token
        if model.reg_token is not None:
            self._front = torch.cat([model.cls_token, model.reg_token], dim=1)
        self._periods = _periods(model)

    @torch.no_grad()
    def describe(self, inputs: Tensor, views: Sequence[View], *, stride: int, tick: Tick = no_tick) -> list[Tensor]:
        """Read facets in one pass, which ends with the last block that is needed.

        Args:
            inputs: (N, 3, H, W), normalised as in `framing.normalised`.
            views: what to read.
            stride: pixels between patches; divides the patch.
            tick: called several times a block.

        Returns:
            For each view (N, C, rows, columns) float32, a column of C numbers for each patch: C is `dim`, channel
            c = dimension * heads + head of a query, key or value (as in Deep ViT Features, arXiv 2112.05814), those of
            DINOv3 before RoPE; a token is the block's output, before any final norm; of `attention` C is `heads`.
        """
        tokens, grid = self.embedded(inputs, stride)
        rope = self.rope(inputs, stride)
        maps: dict[View, Tensor] = {}
        whole = max(view.blocks for view in views)
        for index, block in enumerate(self.blocks[: whole + 1]):
            here = [view for view in dict.fromkeys(views) if view.layer == index]
            for view in here:
                if view.facet == "attention":
                    maps[view] = _as_map(block.class_attention(tokens, rope)[..., self.prefix :], grid)
                elif view.facet != "token":
                    projected = block.projected(block.norm1(tokens[:, self.prefix :]), view.facet)
                    maps[view] = _as_map(projected.permute(0, 3, 1, 2).flatten(1, 2), grid)
            if index < whole:
                block.advance_(tokens, rope, tick)
            maps |= {view: _as_map(tokens[:, self.prefix :].mT, grid) for view in here if view.facet == "token"}
            tick()
        return [maps[view] for view in views]

    def embedded(self, inputs: Tensor, stride: int) -> tuple[Tensor, tuple[int, int]]:
        """Return the first block's input (N, T, C), the prefix in front, and the rows and columns of patches."""
        projection = self.model.patch_embed.proj
        patches = conv2d(inputs.to(self._front.dtype), projection.weight, projection.bias, stride=stride)
        rows, columns = patches.shape[-2:]
        tokens = torch.cat([self._front.expand(len(inputs), -1, -1), patches.flatten(2).mT], dim=1)
        if self.model.pos_embed is not None:
            tokens += self.position(rows, columns).to(tokens.dtype)
        return tokens, (rows, columns)

    def position(self, rows: int, columns: int) -> Tensor:
        """Return the learned position embedding (1, T, C) of the prefix and rows x columns patches; 0 where none."""
        stored = self.model.pos_embed
        if stored is None:
            return torch.zeros(1, self.prefix + rows * columns, self.dim, device=self._front.device)
        own = 0 if self.model.no_embed_class else self.prefix
        antialias = self.model.reg_token is not None
        grid = resampled_position(stored[:, own:], rows, columns, antialias=antialias)
        return torch.cat([pad(stored[:, :own], (0, 0, 0, self.prefix - own)), grid], dim=1)

    def rope(self, inputs: Tensor, stride: int) -> Tensor | None:
        """Return the table of `positions.rotary_table` for inputs (N, 3, H, W), or None where positions are learned."""
        if self._periods is None:
            return None
        height, width = inputs.shape[-2:]
        return rotary_table(self._periods, (height, width), patch=self.patch, stride=stride, prefix=self.prefix)


def load_vit(folder: WeightsFolder, compute: Compute) -> VitNetwork:
    """Build the network that a catalogue entry names and fill it with the entry's weights, onto the device.

    Raises:
        WeightsError: the file is damaged or belongs to another network.
    """
    model = _built(folder)
    fill(model, read_tensors(folder.path / WEIGHTS_FILE), source=str(folder.path / WEIGHTS_FILE))
    model.eval().requires_grad_(False).to(compute.device, compute.dtype)
    return VitNetwork(model, digest=folder.digest)


def _built(folder: WeightsFolder) -> VisionTransformer | Eva:
    """Build the network without weights, which would take longer to draw than to read."""
    architecture = folder.entry.architecture
    if architecture is None or not timm.is_model(architecture):
        raise WeightsError(f"weights {folder.name!r} name no architecture that timm has: {architecture!r}")
    with torch.device("meta"):
        model = timm.create_model(architecture, pretrained=False, num_classes=0)
    if not isinstance(model, VisionTransformer | Eva):
        raise WeightsError(f"weights {folder.name!r} belong to a {type(model).__name__}; use a vision transformer")
    model.to_empty(device="cpu")
    for module in model.modules():
        if isinstance(module, EvaAttention | RotaryEmbeddingDinoV3):
            module.init_non_persistent_buffers()  # constants that no file holds
    return model


def _periods(model: VisionTransformer | Eva) -> Tensor | None:
    """Return the periods of DINOv3's rotary embedding, or None where positions are learned; there is one of the two."""
    rope = getattr(model, "rope", None)
    if rope is None and model.pos_embed is not None:
        return None
    if model.pos_embed is None and isinstance(rope, RotaryEmbeddingDinoV3) and rope.rotate_half:
        return rope.get_buffer("periods")
    raise ValueError("the transformer has neither learned positions alone nor DINOv3's; use DINO, DINOv2 or DINOv3")


def _as_map(columns: Tensor, grid: tuple[int, int]) -> Tensor:
    """Lay out (N, C, patches) as (N, C, rows, columns), a copy in float32."""
    return columns.to(torch.float32, memory_format=torch.contiguous_format, copy=True).view(*columns.shape[:2], *grid)
