"""What Stable Diffusion is told that pictures show: prompts through CLIP's text encoder (arXiv 2103.00020)."""

import torch
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

_MARKS = 2


class PromptEncoder:
    """Prompts to the U-Net's context; each prompt is encoded once.

    The encoder stays on the CPU in float32: it runs once a prompt, and elsewhere would hold half a gigabyte for that.
    """

    def __init__(self, tokenizer: CLIPTokenizer, text_encoder: CLIPTextModel) -> None:
        """Take a loaded tokenizer and encoder."""
        self.tokenizer, self.text_encoder = tokenizer, text_encoder
        self.length = int(text_encoder.config.max_position_embeddings)
        self._known: dict[str, Tensor] = {}

    def embed(self, prompt: str) -> Tensor:
        """Return the context (1, L, D) of a prompt, (1, 77, 768) in Stable Diffusion 1.x; float32 on the CPU.

        Raises:
            ValueError: the prompt has more tokens than the encoder takes.
        """
        if prompt not in self._known:
            self._known[prompt] = self._encoded(self.token_ids(prompt))
        return self._known[prompt]

    def token_ids(self, prompt: str) -> Tensor:
        """Return the ids (1, L): start mark, the prompt's tokens, end mark, padding.

        Raises:
            ValueError: the prompt has more tokens than the encoder takes.
        """
        ids: list[int] = self.tokenizer(prompt, padding="max_length", max_length=self.length)["input_ids"]
        if len(ids) > self.length:
            raise ValueError(
                f"the prompt has {len(ids) - _MARKS} tokens and at most {self.length - _MARKS} fit; shorten {prompt!r}"
            )
        return torch.tensor([ids])

    @torch.no_grad()
    def _encoded(self, ids: Tensor) -> Tensor:
        # No attention mask: the network was trained with the padding in sight.
        context: Tensor = self.text_encoder(ids).last_hidden_state
        return context
