"""From queries to other images, and back."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from workers.methods.sd_correspondence.matches import Match, Matches, in_upload
from workers.methods.sd_correspondence.plan import Batch, Query, batches_of
from workers.methods.sd_correspondence.search import Learnt
from workers.methods.sd_correspondence.work import Work


def go_there(work: Work, learnt: Sequence[Learnt], matches: Matches, added: Collection[int] | None = None) -> None:
    """Find all queries in their targets and, as a check, in their own images; or in the `added` images alone."""
    plan = [(image, _wanted(work, image, added)) for image in range(len(work.images))]
    plan = [(image, numbers) for image, numbers in plan if numbers]
    for done, (image, numbers) in enumerate(plan):
        for is_own in (True, False):
            chosen = [number for number in numbers if (work.batches[number].image == image) is is_own]
            found = work.search.find(
                image,
                [work.batches[number] for number in chosen],
                [learnt[number] for number in chosen],
                "own" if is_own else "found",
                corners_only=is_own and not work.options.adaptive,
            )
            square = work.search.pictures.squares[image]
            matches.there |= {(query, image): in_upload(one, square) for query, one in found.items()}
        work.search.forget(image)
        work.pulse.step(done + 1, len(plan), state=work.search.kept.state)


def go_back(work: Work, matches: Matches, targets: Collection[int]) -> None:
    """Look for every point found in `targets` in its source again, by embeddings learnt where it was found."""
    by_pair: dict[tuple[int, int], list[int]] = {}
    for query, image in sorted(matches.there):
        source = matches.queries[query].image
        if image in targets and image != source:
            by_pair.setdefault((source, image), []).append(query)
    for done, ((source, image), asked) in enumerate(by_pair.items()):
        places = [matches.there[query, image].place(soft=work.is_soft) for query in asked]
        found = _sought(work, [Query(image, x, y) for x, y in places], source, f"back-{source}-{image}")
        for query, match in zip(asked, found, strict=True):
            matches.back[query, image] = (*match.place(soft=work.is_soft), match.peak)
        work.pulse.step(done + 1, len(by_pair), state=work.search.kept.state)


def _sought(work: Work, points: Sequence[Query], target: int, key: str) -> list[Match]:
    """Learn points of one image and find them in another."""
    pictures = work.search.pictures
    search = work.search.for_queries(points)
    batches = batches_of(points, pictures.squares, work.options)
    found = search.find(target, batches, search.learn(batches, key), key)
    search.forget(points[0].image)
    return [in_upload(found[index], pictures.squares[target]) for index in range(len(points))]


def _wanted(work: Work, image: int, added: Collection[int] | None) -> list[int]:
    """Batches to be found in an image."""
    return [number for number, batch in enumerate(work.batches) if _is_wanted(work, batch, image, added)]


def _is_wanted(work: Work, batch: Batch, image: int, added: Collection[int] | None) -> bool:
    if added is not None:
        return image in added
    return image == batch.image or image in work.params.targets_of(batch.image, len(work.images))
