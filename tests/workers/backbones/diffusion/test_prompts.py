from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from tests.workers.backbones.diffusion.tiny import MARKS, tiny_text_encoder
from workers.backbones.diffusion.stable_diffusion import StableDiffusion


def test_empty_prompt_is_a_start_mark_and_end_marks(diffusion: StableDiffusion) -> None:
    start, end = diffusion.prompts.tokenizer.convert_tokens_to_ids(list(MARKS))
    assert diffusion.prompts.token_ids("").tolist() == [[start, *[end] * 76]]


def test_words_are_split_as_the_merges_say(diffusion: StableDiffusion) -> None:
    tokenizer = diffusion.prompts.tokenizer
    tokens = tokenizer.convert_ids_to_tokens(diffusion.prompts.token_ids("A  Cat sat")[0, :7].tolist())
    assert tokens == [MARKS[0], "a</w>", "cat</w>", "s", "a", "t</w>", MARKS[1]]


def test_context_is_the_text_encoders_last_state(diffusion: StableDiffusion) -> None:
    ids = diffusion.prompts.token_ids("a cat")
    with torch.no_grad():
        expected = tiny_text_encoder()(ids).last_hidden_state
    context = diffusion.prompts.embed("a cat")
    assert context.shape == (1, 77, 32)
    assert_close(context, expected, rtol=0, atol=0)


def test_prompt_is_encoded_once(diffusion: StableDiffusion) -> None:
    assert diffusion.prompts.embed("a dog") is diffusion.prompts.embed("a dog")
    assert not torch.equal(diffusion.prompts.embed("a dog"), diffusion.prompts.embed(""))


def test_prompt_that_does_not_fit_is_refused(diffusion: StableDiffusion) -> None:
    assert diffusion.prompts.embed(" ".join("a" * 75)).shape == (1, 77, 32)
    with pytest.raises(ValueError, match="has 76 tokens and at most 75 fit"):
        diffusion.prompts.embed(" ".join("a" * 76))


def test_published_tokenizer_files_are_enough(weights_dir: Path) -> None:
    names = {path.name for path in (weights_dir / "sd15" / "tokenizer").iterdir()}
    assert names == {"vocab.json", "merges.txt", "special_tokens_map.json", "tokenizer_config.json"}
