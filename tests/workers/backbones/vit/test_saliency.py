import torch
from torch.testing import assert_close

from api_schemas.backbones import BACKBONES
from workers.backbones.vit.saliency import SALIENT_HEADS, attention_saliency


def test_chosen_heads_are_averaged_and_stretched() -> None:
    attention = torch.zeros(2, 3, 1, 3)
    attention[:, 0] = torch.tensor([0.0, 1.0, 2.0])
    attention[:, 2] = torch.tensor([2.0, 5.0, 0.0])
    assert_close(attention_saliency(attention, [0]), torch.tensor([0.0, 0.5, 1.0]).expand(2, 1, 1, 3))
    assert_close(attention_saliency(attention, (0, 2)), torch.tensor([0.0, 1.0, 0.0]).expand(2, 1, 1, 3))
    assert_close(attention_saliency(attention), attention_saliency(attention, (0, 1, 2)))


def test_each_image_is_stretched_by_itself_and_flat_ones_are_nowhere_salient() -> None:
    attention = torch.full((2, 2, 2, 2), 0.25)
    attention[1, :, 0, 0] = 0.3
    saliency = attention_saliency(attention)
    assert torch.equal(saliency[0], torch.zeros(1, 2, 2))
    assert torch.equal(saliency[1, 0], torch.tensor([[1.0, 0.0], [0.0, 0.0]]))


def test_the_table_names_backbones() -> None:
    assert SALIENT_HEADS["dino_vits8"] == (0, 2, 4, 5)
    assert set(SALIENT_HEADS) <= set(BACKBONES)
