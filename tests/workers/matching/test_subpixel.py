import torch

from workers.matching.subpixel import refine_matches

RIPPLES = ((0.5, 0.1), (0.1, 0.5), (0.3, -0.3))


def test_refinement_finds_the_place_between_cells() -> None:
    y, x = torch.meshgrid(torch.arange(12.0), torch.arange(12.0), indexing="ij")
    waves = [torch.cos(w * x + v * y) for w, v in RIPPLES] + [torch.sin(w * x + v * y) for w, v in RIPPLES]
    place = torch.tensor([5.3, 6.8])
    angle = [w * place[0] + v * place[1] for w, v in RIPPLES]
    descriptor = torch.stack([a.cos() for a in angle] + [a.sin() for a in angle]).unsqueeze(0)
    found = refine_matches(descriptor, torch.stack(waves), torch.tensor([7 * 12 + 5]))
    torch.testing.assert_close(found[0], place, atol=0.05, rtol=0)


def test_refinement_stays_within_half_a_cell_and_the_map() -> None:
    generator = torch.Generator().manual_seed(0)
    maps, queries = torch.randn(8, 5, 7, generator=generator), torch.randn(35, 8, generator=generator)
    index = torch.arange(35)
    found = refine_matches(queries, maps, index)
    cells = torch.stack([index % 7, index // 7], dim=1)
    assert ((found - cells).abs() <= 0.5).all()
