"""Images and image sets, on both engines."""

import threading
from dataclasses import asdict, replace

import pytest
from sqlalchemy.exc import IntegrityError

from storage.database.repositories import ImageRepository, ImageSetRepository
from storage.database.session import Database
from tests.storage.builders import Clock, add_image_set, new_image


def test_an_image_comes_back_as_it_was_stored(database: Database) -> None:
    clock = Clock()
    with database.transaction() as session:
        added = ImageRepository(session, clock).add(new_image())
    with database.transaction(read_only=True) as session:
        images = ImageRepository(session)
        assert images.get(added.id) == added
        assert images.by_digest(added.upload_sha256) == added
        assert images.by_digest("0" * 64) is None
        assert images.get("img_none") is None
    assert added.created_at == clock.now
    assert added.created_at.utcoffset() is not None
    assert {name: getattr(added, name) for name in new_image().__dataclass_fields__} == asdict(new_image())


def test_the_same_upload_keeps_its_first_row(database: Database) -> None:
    with database.transaction() as session:
        first = ImageRepository(session).add(new_image())
        again = ImageRepository(session).add(replace(new_image(), name="other name.png"))
    assert again == first


def test_the_same_upload_from_many_threads_is_one_row(database: Database) -> None:
    barrier, ids = threading.Barrier(6), list[str]()

    def upload() -> None:
        barrier.wait()
        with database.transaction() as session:
            ids.append(ImageRepository(session).add(new_image()).id)

    threads = [threading.Thread(target=upload) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 6
    assert len(set(ids)) == 1


def test_get_many_keeps_the_order_and_leaves_out_the_missing(database: Database) -> None:
    with database.transaction() as session:
        images = ImageRepository(session)
        a, b, c = (images.add(new_image(name)) for name in "abc")
        assert images.get_many([c.id, "img_none", a.id, b.id]) == [c, a, b]
        assert images.get_many([]) == []


def test_a_set_keeps_the_order_of_its_images(database: Database) -> None:
    with database.transaction() as session:
        images = [ImageRepository(session).add(new_image(name)).id for name in "abc"]
        added = ImageSetRepository(session).add("cats", [images[2], images[0], images[1]])
    with database.transaction(read_only=True) as session:
        found = ImageSetRepository(session).get(added.id)
        assert ImageSetRepository(session).get("set_none") is None
    assert found == added
    assert found.image_ids == (images[2], images[0], images[1])


def test_a_set_of_unknown_images_is_refused_whole(database: Database) -> None:
    with pytest.raises(IntegrityError), database.transaction() as session:
        ImageSetRepository(session).add("cats", ["img_none"])
    with database.transaction(read_only=True) as session:
        assert ImageSetRepository(session).page(10) == []


def test_sets_are_paged_newest_first_without_gaps(database: Database) -> None:
    clock = Clock()
    image_ids = add_image_set(database).image_ids
    with database.transaction() as session:
        sets = ImageSetRepository(session, clock)
        made = []
        for number in range(7):
            made.append(sets.add(f"set {number}", image_ids))
            # Some share their time, so that the id must decide.
            clock.advance(number % 2)
        seen, before = [], None
        while page := sets.page(3, before):
            seen += page
            before = (page[-1].created_at, page[-1].id)
    ordered = sorted(made, key=lambda made_set: (made_set.created_at, made_set.id), reverse=True)
    assert [item for item in seen if item.name != "cats"] == ordered
