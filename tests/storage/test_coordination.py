"""Idempotency keys, workers and leases, on both engines."""

import threading
from collections.abc import Sequence

import pytest
from sqlalchemy import text

from storage.database.records import IdempotencyRecord, WorkerRecord
from storage.database.repositories import IdempotencyRepository, LeaseRepository, WorkerRepository
from storage.database.session import Database
from tests.storage.builders import NOON, Clock

KEY = "POST /v1/jobs 7f9c"
HOUR_S = 3600.0


@pytest.fixture
def clock() -> Clock:
    return Clock()


def reserve(database: Database, clock: Clock, fingerprint: str = "f1") -> IdempotencyRecord | None:
    with database.transaction() as session:
        return IdempotencyRepository(session, clock).reserve(KEY, fingerprint)


def test_a_key_is_taken_once_and_then_gives_the_stored_answer(database: Database, clock: Clock) -> None:
    assert reserve(database, clock) is None
    at_work = reserve(database, clock, "f2")
    assert at_work is not None
    assert (at_work.fingerprint, at_work.status, at_work.body) == ("f1", None, None)
    with database.transaction() as session:
        IdempotencyRepository(session, clock).complete(KEY, 202, {"id": "job_1", "n": [1, None]}, "/v1/jobs/job_1")
    assert reserve(database, clock) == IdempotencyRecord(
        key=KEY,
        fingerprint="f1",
        created_at=NOON,
        status=202,
        body={"id": "job_1", "n": [1, None]},
        location="/v1/jobs/job_1",
    )


def test_an_answer_is_kept_for_a_day(database: Database, clock: Clock) -> None:
    reserve(database, clock)
    with database.transaction() as session:
        IdempotencyRepository(session, clock).complete(KEY, 202, {}, None)
    clock.advance(24 * HOUR_S - 1)
    assert reserve(database, clock) is not None
    clock.advance(1)
    assert reserve(database, clock, "f2") is None, "free again"
    taken = reserve(database, clock)
    assert taken is not None
    assert (taken.fingerprint, taken.status, taken.body) == ("f2", None, None)


def test_a_request_that_never_ended_blocks_its_key_for_ten_minutes(database: Database, clock: Clock) -> None:
    reserve(database, clock)
    clock.advance(599)
    assert reserve(database, clock) is not None
    clock.advance(1)
    assert reserve(database, clock) is None


def test_a_key_is_given_back_only_while_unanswered(database: Database, clock: Clock) -> None:
    reserve(database, clock)
    with database.transaction() as session:
        IdempotencyRepository(session, clock).release(KEY)
    assert reserve(database, clock) is None
    with database.transaction() as session:
        IdempotencyRepository(session, clock).complete(KEY, 202, {}, None)
        IdempotencyRepository(session, clock).release(KEY)
    assert reserve(database, clock) is not None


def test_expired_keys_are_removed(database: Database, clock: Clock) -> None:
    with database.transaction() as session:
        keys = IdempotencyRepository(session, clock)
        keys.reserve("old", "f")
        keys.complete("old", 202, {}, None)
        clock.advance(23 * HOUR_S)
        keys.reserve("new", "f")
        clock.advance(2 * HOUR_S)
        keys.complete("new", 202, {}, None)
        keys.delete_expired()
        assert keys.reserve("new", "f") is not None
        clock.now = NOON
        assert keys.reserve("old", "f") is None


def test_of_many_requests_with_one_key_one_goes_on(database: Database, clock: Clock) -> None:
    answers: list[IdempotencyRecord | None] = []
    threads = [threading.Thread(target=lambda: answers.append(reserve(database, clock))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 6
    assert answers.count(None) == 1


def worker(name: str, *backbones: str, weights: Sequence[str] = ()) -> WorkerRecord:
    return WorkerRecord(
        id=name,
        lanes=["default"],
        device="cpu",
        backbones=list(backbones),
        weights=list(weights),
        started_at=NOON,
        seen_at=NOON,
    )


def test_workers_are_listed_and_their_backbones_joined(database: Database, clock: Clock) -> None:
    with database.transaction() as session:
        workers = WorkerRepository(session, clock)
        workers.register(worker("b", "dino_vits8", "dense_descriptor"))
        workers.register(worker("a", "dense_descriptor"))
        assert workers.all() == [worker("a", "dense_descriptor"), worker("b", "dino_vits8", "dense_descriptor")]
        assert workers.backbones() == ["dense_descriptor", "dino_vits8"]
        workers.register(worker("b"))
        assert workers.backbones() == ["dense_descriptor"]
        workers.remove("a")
        assert workers.all() == [worker("b")]


def test_weights_of_living_workers_are_joined_and_a_later_word_replaces_an_earlier(
    database: Database, clock: Clock
) -> None:
    with database.transaction() as session:
        workers = WorkerRepository(session, clock)
        workers.register(worker("a", "dino_vits8", weights=["dino_vits8", "vgg16"]))
        workers.register(worker("b", weights=["sd15", "vgg16"]))
        assert workers.weights() == ["dino_vits8", "sd15", "vgg16"]
        workers.register(worker("a", "dino_vits8", weights=["dino_vits8"]))
        workers.register(worker("b"))
        assert (workers.weights(), workers.backbones()) == (["dino_vits8"], ["dino_vits8"])
        clock.advance(200)
        assert workers.weights() == []


def test_a_worker_that_says_nothing_of_weights_has_none(database: Database, clock: Clock) -> None:
    """As those of an earlier version do while the database is of this one."""
    columns = "id, lanes, device, backbones, started_at, seen_at"
    with database.transaction() as session:
        session.execute(
            text(f"INSERT INTO workers ({columns}) VALUES ('old', '[]', 'cpu', '[]', :now, :now)"),
            {"now": "2026-07-01 12:00:00+00:00"},
        )
        assert [record.weights for record in WorkerRepository(session, clock).all()] == [[]]


def test_a_silent_worker_does_not_count(database: Database, clock: Clock) -> None:
    with database.transaction() as session:
        workers = WorkerRepository(session, clock)
        workers.register(worker("a", "dino_vits8"))
        workers.register(worker("b", "dense_descriptor"))
        clock.advance(100)
        assert workers.seen("b")
        assert not workers.seen("nobody")
        clock.advance(100)
        assert workers.backbones() == ["dense_descriptor"]
        assert [alive.id for alive in workers.alive(within_s=300)] == ["a", "b"]


def test_a_duty_is_held_until_it_expires_or_is_given_back(database: Database, clock: Clock) -> None:
    with database.transaction() as session:
        leases = LeaseRepository(session, clock)
        assert leases.take("reconciler", "a", 10)
        assert not leases.take("reconciler", "b", 10)
        assert leases.take("other", "b", 10)
        clock.advance(9)
        assert leases.take("reconciler", "a", 10), "the holder renews it"
        clock.advance(9)
        assert not leases.take("reconciler", "b", 10)
        clock.advance(1)
        assert leases.take("reconciler", "b", 10)
        leases.give_back("reconciler", "a")
        assert not leases.take("reconciler", "a", 10), "only its holder gives it back"
        leases.give_back("reconciler", "b")
        assert leases.take("reconciler", "a", 10)
