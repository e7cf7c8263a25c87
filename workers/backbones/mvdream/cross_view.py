"""Self-attention over all views of an object, the heart of MVDream (arXiv 2308.16512, section 3.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

if TYPE_CHECKING:
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

_SELF_ATTENTION = ".attn1.processor"
_SHOWN = 3


class CrossViewError(RuntimeError):
    """The views of an object would not see each other."""


class CrossViewProcessor:
    """Attention of every cell to the cells of all views of its group; what diffusers calls a processor.

    Attributes:
        views: of a group. A batch holds groups one after the other, the views of each side by side.
    """

    def __init__(self) -> None:
        """Begin with groups of one view, which is plain self-attention."""
        self.views = 1

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
    ) -> Tensor:
        """Attend.

        Args:
            attn: the layer, diffusers' `Attention`.
            hidden_states: (groups x views, n, C).
            encoder_hidden_states: None, as this is self-attention.
            attention_mask: None.

        Returns:
            The same shape.
        """
        assert encoder_hidden_states is None
        assert attention_mask is None
        batch, cells, _ = hidden_states.shape
        joined = hidden_states.reshape(batch // self.views, self.views * cells, -1)
        query, key, value = (
            project(joined).unflatten(-1, (attn.heads, -1)).transpose(1, 2)
            for project in (attn.to_q, attn.to_k, attn.to_v)
        )
        attended = scaled_dot_product_attention(query, key, value)
        outcome: Tensor = attn.to_out[0](attended.transpose(1, 2).reshape(batch, cells, -1))
        return outcome


def install_cross_view(unet: UNet2DConditionModel) -> None:
    """Let all self-attentions of a U-Net see all views, by one processor that they share."""
    shared = CrossViewProcessor()
    # Of any kind: diffusers names the types of those that it knows.
    processors: dict[str, Any] = {
        name: shared if name.endswith(_SELF_ATTENTION) else own for name, own in unet.attn_processors.items()
    }
    unet.set_attn_processor(processors)


def require_cross_view(unet: UNet2DConditionModel) -> CrossViewProcessor:
    """Return the processor that all self-attentions share.

    Raises:
        CrossViewError: some have another one. Many helpers of diffusers set processors, and say nothing.
    """
    found = {name: each for name, each in unet.attn_processors.items() if name.endswith(_SELF_ATTENTION)}
    shared = next((each for each in found.values() if isinstance(each, CrossViewProcessor)), None)
    reset = [name.removesuffix(".processor") for name, each in found.items() if each is not shared]
    if shared is None or reset:
        names = ", ".join(reset[:_SHOWN]) + (", ..." if len(reset) > _SHOWN else "")
        raise CrossViewError(
            f"{len(reset)} of {len(found)} self-attentions of the U-Net lost their cross-view processor ({names}), so "
            "the views of an object would not see each other: something set other attention processors. Leave them "
            "as they were loaded, or call `install_cross_view`"
        )
    return shared
