"""The text encoder, into which learned words can be put (textual inversion, arXiv 2208.01618)."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

PLACEHOLDER = "{}"
"""Stands in a template where the learned vectors go."""
_MARKS = 2


class _WithInserted(nn.Module):
    """The table of words; ids past its end name rows of what is inserted."""

    def __init__(self, table: nn.Embedding) -> None:
        super().__init__()
        self.table = table
        # Boxed: a module would take a bare parameter for one of its own.
        self._inserted: list[Tensor] = []

    @contextmanager
    def inserting(self, token: Tensor) -> Iterator[None]:
        """Know the rows of `token` (k, D) for a while."""
        self._inserted = [token]
        try:
            yield
        finally:
            self._inserted = []

    def forward(self, ids: Tensor) -> Tensor:
        known = self.table.num_embeddings
        embedded: Tensor = self.table(ids.clamp(max=known - 1))
        if not self._inserted:
            return embedded
        rows = self._inserted[0].to(embedded)[(ids - known).clamp(min=0)]
        return torch.where((ids >= known).unsqueeze(-1), rows, embedded)


class TextEncoder:
    """Prompts to the U-Net's context.

    Attributes:
        length: tokens of a context, L = 77.
        width: channels of a state and of a word, D.
    """

    def __init__(self, tokenizer: CLIPTokenizer, network: CLIPTextModel) -> None:
        """Take a loaded tokenizer and encoder."""
        self.tokenizer, self.network = tokenizer, network
        self.length, self.width = int(network.config.max_position_embeddings), int(network.config.hidden_size)
        table = network.get_input_embeddings()
        assert isinstance(table, nn.Embedding)
        self._words = _WithInserted(table)
        network.set_input_embeddings(self._words)

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        return self._words.table.weight.device

    @torch.no_grad()
    def states(self, prompts: list[str]) -> Tensor:
        """Encode N prompts, (N, L, D).

        Raises:
            ValueError: a prompt has more tokens than the encoder takes.
        """
        return self._encoded([self.token_ids(prompt) for prompt in prompts])

    def states_with(self, token: Tensor, template: str) -> Tensor:
        """Encode a template with learned vectors in place of its `{}`; the gradient goes to them.

        Args:
            token: (k, D).
            template: a prompt with one `{}`, a word of its own.

        Returns:
            (1, L, D).

        Raises:
            ValueError: the template has not one `{}`, or too many tokens.
        """
        ids = self.token_ids(template, inserted=len(token))
        with self._words.inserting(token):
            return self._encoded([ids])

    def token_ids(self, prompt: str, *, inserted: int = 0) -> list[int]:
        """Return the L ids: start mark, the prompt's tokens, end mark, padding.

        Args:
            prompt: with one `{}` where vectors are inserted.
            inserted: how many; their ids are those past the vocabulary.

        Raises:
            ValueError: see `states_with`.
        """
        words = self._ids_of(prompt) if inserted == 0 else self._ids_around(prompt, inserted)
        if len(words) > self.length - _MARKS:
            raise ValueError(
                f"the prompt has {len(words)} tokens and at most {self.length - _MARKS} fit; shorten {prompt!r}"
            )
        start, end, padding = (
            int(mark)
            for mark in (self.tokenizer.bos_token_id, self.tokenizer.eos_token_id, self.tokenizer.pad_token_id)
        )
        ids = [start, *words, end]
        return ids + [padding] * (self.length - len(ids))

    def word(self, text: str) -> Tensor:
        """The vector (D,) of a word, the mean over its tokens; a place to begin learning from.

        Raises:
            ValueError: the text has no token.
        """
        ids = self._ids_of(text)
        if not ids:
            raise ValueError("an empty text has no vector to begin from; give a word")
        return self._words.table.weight.detach()[ids].mean(dim=0)

    def _ids_around(self, template: str, inserted: int) -> list[int]:
        before, placeholder, after = template.partition(PLACEHOLDER)
        if not placeholder or PLACEHOLDER in after:
            raise ValueError(f"a template needs one {PLACEHOLDER}, where the learned vectors go; {template!r} has not")
        known = self._words.table.num_embeddings
        return [*self._ids_of(before), *range(known, known + inserted), *self._ids_of(after)]

    def _ids_of(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def _encoded(self, ids: list[list[int]]) -> Tensor:
        # No attention mask: the networks were trained with the padding in sight.
        states: Tensor = self.network(torch.tensor(ids, device=self.device)).last_hidden_state
        return states
