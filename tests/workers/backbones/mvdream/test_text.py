from collections.abc import Iterator

import pytest
import torch
from torch.testing import assert_close

from tests.workers.backbones.mvdream.tiny import MARKS, TEXT_WIDTH, tiny_text_encoder, vocabulary
from workers.backbones.mvdream.networks import MvdreamNetworks
from workers.backbones.mvdream.text import TextEncoder

WORDS = len(vocabulary())
START, END = WORDS - 2, WORDS - 1


@pytest.fixture
def text(mvdream: MvdreamNetworks) -> Iterator[TextEncoder]:
    before = {name: tensor.clone() for name, tensor in mvdream.text_encoder.network.state_dict().items()}
    yield mvdream.text_encoder
    after = mvdream.text_encoder.network.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_prompts_end_with_the_end_mark_and_padding_with_id_0(text: TextEncoder) -> None:
    assert vocabulary()[START] == MARKS[0]
    cat = vocabulary().index("cat</w>")
    assert text.token_ids("A  cat") == [START, vocabulary().index("a</w>"), cat, END, *[0] * 73]
    assert text.token_ids("") == [START, END, *[0] * 75]


def test_states_are_those_of_the_plain_encoder(mvdream: MvdreamNetworks) -> None:
    states = mvdream.text(["a cat", ""])
    assert states.shape == (2, 77, TEXT_WIDTH)
    ids = torch.tensor([mvdream.text_encoder.token_ids(prompt) for prompt in ("a cat", "")])
    with torch.no_grad():
        assert_close(states, tiny_text_encoder()(ids).last_hidden_state, rtol=0, atol=1e-6)


def test_the_rows_of_the_words_put_in_give_what_the_words_give(mvdream: MvdreamNetworks) -> None:
    rows = mvdream.text_encoder.network.get_input_embeddings().table.weight
    token = rows[torch.tensor([vocabulary().index("cat</w>"), vocabulary().index("b</w>")])].detach()
    with torch.no_grad():
        states = mvdream.text_with(token, "a photo of {}, c")
    assert_close(states, mvdream.text(["a photo of cat b, c"]), rtol=0, atol=0)


def test_the_gradient_goes_to_the_learned_vectors_alone(text: TextEncoder) -> None:
    token = torch.randn(3, TEXT_WIDTH, generator=torch.Generator().manual_seed(0)).requires_grad_()
    states = text.states_with(token, "a {} b")
    assert states.shape == (1, 77, TEXT_WIDTH)
    states.square().sum().backward()
    assert token.grad is not None
    assert bool((token.grad.abs().amax(dim=1) > 0).all())
    assert not any(parameter.grad is not None for parameter in text.network.parameters())


def test_tokens_before_the_learned_ones_do_not_see_them(text: TextEncoder) -> None:
    states = [text.states_with(torch.full((1, TEXT_WIDTH), value), "a b {}") for value in (0.0, 1.0)]
    differs = (states[0] != states[1]).any(dim=-1)[0]
    assert differs.tolist() == [False] * 3 + [True] * 74


def test_learning_leaves_all_other_words_bit_identical(text: TextEncoder) -> None:
    """The fixture compares every tensor of the encoder."""
    before = text.states(["a cat"])
    token = torch.nn.Parameter(text.word("cat")[None].clone())
    optimiser = torch.optim.AdamW([token], lr=0.02)
    for _ in range(3):
        loss = text.states_with(token, "a {}").square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert not torch.equal(token[0].detach(), text.word("cat"))
    assert torch.equal(text.states(["a cat"]), before)


def test_the_vector_of_a_word_is_the_mean_over_its_tokens(text: TextEncoder) -> None:
    assert_close(text.word("a cat"), (text.word("a") + text.word("cat")) / 2)
    with pytest.raises(ValueError, match="empty text"):
        text.word(" ")


@pytest.mark.parametrize("template", ["a cat", "{} and {}"])
def test_a_template_needs_one_place_for_the_vectors(text: TextEncoder, template: str) -> None:
    with pytest.raises(ValueError, match=r"needs one \{\}"):
        text.states_with(torch.zeros(1, TEXT_WIDTH), template)


def test_prompts_that_do_not_fit_are_refused_and_leave_no_vectors_behind(text: TextEncoder) -> None:
    before = text.states(["a"])
    with pytest.raises(ValueError, match="has 76 tokens and at most 75 fit"):
        text.states_with(torch.ones(74, TEXT_WIDTH), "a {} b")
    assert torch.equal(text.states(["a"]), before)
