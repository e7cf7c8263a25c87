"""What Stable Diffusion attends to: the cross-attentions of its decoder (arXiv 2305.15581, section 3.2).

The network runs up to the last layer that is read and no further; what no embedding changes, the layers before the
first cross-attention, is computed once for all embeddings under which a latent is looked at.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, TypeVar

import torch
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from workers.backbones.base import Tick, no_tick
from workers.backbones.diffusion.networks import DiffusionNetworks
from workers.backbones.diffusion.unet import Conditioning, Step, down_steps, time_embedding, up_steps
from workers.backbones.diffusion.vae import LATENT_STRIDE

TAPPED_LAYERS = (
    "up_blocks.1.attentions.0",
    "up_blocks.1.attentions.1",
    "up_blocks.1.attentions.2",
    "up_blocks.2.attentions.0",
)
"""Transformers whose cross-attention, `transformer_blocks.0.attn2`, is read. The official code counts 7 to 10 of 16,
which holds at 512 pixels alone; names hold at any size and for 1.x and 2.x."""
TOKENS = 77

T = TypeVar("T")
HeadChoice = Literal["second_half", "all"]


class _Entrance(NamedTuple):
    """A transformer's state where it begins to look at the context: its input (N, C, h, w), and tokens (N, h w, C)."""

    residual: Tensor
    tokens: Tensor


class AttentionReader:
    """Cross-attention of a frozen network, with gradients to the context alone.

    Attributes:
        identity: tells apart any two readers that may attend differently: weights, layers, heads, precision.
        embedding_shape: tokens and channels of a context.
        low_memory: computes activations again on the way back instead of keeping them.
    """

    def __init__(self, networks: DiffusionNetworks, *, heads: HeadChoice = "second_half") -> None:
        """Read `networks`.

        Args:
            networks: of Stable Diffusion 1.x or 2.x.
            heads: the official code reads the second half of the heads, by a store that was made to leave out the
                unconditional half of a batch.
        """
        self._networks = networks
        self._half = heads == "second_half"
        self.low_memory = False
        self.embedding_shape = (TOKENS, int(networks.unet.config["cross_attention_dim"]))
        self.identity = (
            f"{networks.name} weights={networks.digest!r} layers={','.join(TAPPED_LAYERS)} heads={heads} "
            f"dtype={networks.compute.dtype}"
        )

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self._networks.compute.device

    def latent_shape(self, size: int) -> tuple[int, ...]:
        """Shape of the latents of one picture of `size` pixels a side."""
        return (4, size // LATENT_STRIDE, size // LATENT_STRIDE)

    @torch.no_grad()
    def encode(self, pictures: Tensor, *, tick: Tick = no_tick) -> Tensor:
        """Latents (N, 4, S / 8, S / 8) of pictures (N, 3, S, S) in [0, 1], S a multiple of 64; means, not draws."""
        return self._networks.posterior(pictures, tick=tick).mean

    def features(
        self, noisy: Tensor, timestep: int, contexts: Tensor, owners: Tensor, *, tick: Tick = no_tick
    ) -> list[Tensor]:
        """What each layer attends with.

        Args:
            noisy: (N, 4, h, w) noisy latents.
            timestep: in 0..999.
            contexts: (B, 77, D).
            owners: (B,) index of the latents that each context goes with.
            tick: called between layers, on the way back too.

        Returns:
            Per layer queries (B, H, n, d) of H heads at n cells, row by row; float32.
        """
        dtype = self._networks.compute.dtype
        return self._queries(noisy.to(dtype), timestep, contexts.to(dtype), owners, tick)

    def attend(self, features: Sequence[Tensor], embeddings: Tensor, tokens: int) -> list[Tensor]:
        """Attention of each layer to the tokens 1 to `tokens`, mean over the heads; softmax over all 77, in float32.

        Args:
            features: of `features`, for B contexts, or for one that all share.
            embeddings: (B, 77, D).
            tokens: 1..76.

        Returns:
            Per layer (B, tokens, s, s) in [0, 1].
        """
        given = embeddings.to(self._networks.compute.dtype)
        maps = []
        for name, queries in zip(TAPPED_LAYERS, features, strict=True):
            attention = _cross_attention(self._networks.unet, name)
            keys = self._heads(attention, attention.to_k(given))
            logits = queries @ keys.transpose(-1, -2) * attention.scale
            chosen = logits.softmax(dim=-1)[..., 1 : 1 + tokens].mean(dim=1)
            side = round(chosen.shape[1] ** 0.5)
            maps.append(chosen.transpose(1, 2).unflatten(2, (side, side)))
        return maps

    def _heads(self, attention: Any, projected: Tensor) -> Tensor:
        """Projections (B, n, heads x d) by head, of the heads that are read: (B, H, n, d), float32."""
        by_head = projected.reshape(*projected.shape[:2], attention.heads, -1).transpose(1, 2)
        first = attention.heads // 2 if self._half else 0
        return by_head[:, first:].float()

    def _queries(self, noisy: Tensor, timestep: int, contexts: Tensor, owners: Tensor, tick: Tick) -> list[Tensor]:
        unet = self._networks.unet
        told, hidden, skips = self._begun(noisy, timestep, contexts, owners, tick)
        for step in list(down_steps(unet))[1:]:
            hidden = self._stepped(step, hidden, told, tick)
            skips.append(hidden)
        hidden = self._call(lambda state: unet.mid_block(state, told.time, encoder_hidden_states=told.context), hidden)
        tapped = {id(unet.get_submodule(name)) for name in TAPPED_LAYERS}
        found: list[Tensor] = []
        for step in up_steps(unet):
            joined = torch.cat([_watched(hidden, tick), skips.pop()], dim=1)
            if id(step.attention) not in tapped:
                hidden = self._stepped(step, joined, told, tick)
                continue
            entered = self._entered(step, joined, told, tick)
            found.append(self._read(step, entered))
            if len(found) == len(TAPPED_LAYERS):
                break
            hidden = self._left(step, entered, told, tick)
        return found

    def _begun(
        self, noisy: Tensor, timestep: int, contexts: Tensor, owners: Tensor, tick: Tick
    ) -> tuple[Conditioning, Tensor, list[Tensor]]:
        """Up to the end of the first cross-attention; what comes before it is computed once for each of the latents."""
        unet = self._networks.unet
        first = next(iter(down_steps(unet)))
        time = time_embedding(unet, noisy[:1], timestep)
        with torch.no_grad():
            latents = unet.conv_in(noisy)
            shared = self._entered(first, latents, Conditioning(time, contexts), tick)
        told = Conditioning(time.expand(len(contexts), -1), contexts)
        entered = _Entrance(shared.residual[owners], shared.tokens[owners])
        hidden = self._left(first, entered, told, tick)
        return told, hidden, [latents[owners], hidden]

    def _read(self, step: Step, entered: _Entrance) -> Tensor:
        block = _transformer(step).transformer_blocks[0]
        return self._heads(block.attn2, block.attn2.to_q(block.norm2(entered.tokens)))

    def _stepped(self, step: Step, hidden: Tensor, told: Conditioning, tick: Tick) -> Tensor:
        if step.attention is None:
            return _watched(self._call(lambda state: step(state, told), hidden), tick)
        return self._left(step, self._entered(step, hidden, told, tick), told, tick)

    def _entered(self, step: Step, hidden: Tensor, told: Conditioning, tick: Tick) -> _Entrance:
        residual, tokens = self._call(lambda state: _entered(step, state, told), hidden)
        return _Entrance(residual, _watched(tokens, tick))

    def _left(self, step: Step, entered: _Entrance, told: Conditioning, tick: Tick) -> Tensor:
        return _watched(self._call(lambda *state: _left(step, _Entrance(*state), told), *entered), tick)

    def _call(self, layers: Callable[..., T], *states: Tensor) -> T:
        if self.low_memory and torch.is_grad_enabled():
            return checkpoint(layers, *states, use_reentrant=False)
        return layers(*states)


# What diffusers' modules hold is not typed.


def _transformer(step: Step) -> Any:
    assert isinstance(step.attention, Transformer2DModel)
    return step.attention


def _cross_attention(unet: UNet2DConditionModel, name: str) -> Any:
    return unet.get_submodule(f"{name}.transformer_blocks.0.attn2")


def _entered(step: Step, hidden: Tensor, told: Conditioning) -> _Entrance:
    """Go through a step's resnet and its transformer's self-attention."""
    assert step.resnet is not None
    residual = step.resnet(hidden, told.time)
    transformer = _transformer(step)
    normed = transformer.norm(residual)
    if transformer.use_linear_projection:
        tokens = transformer.proj_in(normed.flatten(2).transpose(1, 2))
    else:
        tokens = transformer.proj_in(normed).flatten(2).transpose(1, 2)
    block = transformer.transformer_blocks[0]
    return _Entrance(residual, tokens + block.attn1(block.norm1(tokens)))


def _left(step: Step, entered: _Entrance, told: Conditioning) -> Tensor:
    """Go on from `_entered` through the cross-attention to the end of the step."""
    transformer = _transformer(step)
    block = transformer.transformer_blocks[0]
    residual, tokens = entered
    tokens = tokens + block.attn2(block.norm2(tokens), encoder_hidden_states=told.context)
    tokens = tokens + block.ff(block.norm3(tokens))
    if transformer.use_linear_projection:
        outcome = transformer.proj_out(tokens).transpose(1, 2).unflatten(2, residual.shape[2:])
    else:
        outcome = transformer.proj_out(tokens.transpose(1, 2).unflatten(2, residual.shape[2:]))
    hidden: Tensor = outcome + residual
    return hidden if step.resampling is None else step.resampling(hidden)


def _watched(hidden: Tensor, tick: Tick) -> Tensor:
    """Call `tick` now, and again when the gradient comes by."""
    tick()
    if hidden.requires_grad:
        hidden.register_hook(lambda _: tick())  # type: ignore[no-untyped-call]
    return hidden
