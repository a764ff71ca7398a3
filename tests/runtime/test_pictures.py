import threading
import time

import numpy as np
import pytest

from fauxface import images
from fauxface.errors import BundleError, ImageError
from fauxface.pictures import Room, in_order, load

ARRAY = np.zeros((4, 4, 3), np.uint8)


def never(picture):
    raise AssertionError(f"{picture} isn't an array")


@pytest.mark.parametrize("workers", [0, 1, 2, 8])
def test_order_is_kept_whichever_is_ready_first(workers):
    def work(name):
        time.sleep(0.002 * (9 - int(name)) if int(name) % 3 else 0)
        return name

    names = [str(number) for number in range(10)]
    assert list(in_order(names, work, work, workers)) == names


def test_pictures_are_taken_by_the_caller_and_files_worked_on_by_others():
    takers, workers = set(), set()

    def names():
        for number in range(20):
            takers.add(threading.get_ident())
            yield str(number)

    def ahead(name):
        workers.add(threading.get_ident())
        return name

    assert len(list(in_order(names(), never, ahead, 4))) == 20
    assert takers == {threading.get_ident()}
    assert workers
    assert not workers & takers


def test_arrays_come_at_once_between_files_that_wait():
    gate = threading.Event()

    def pictures():
        yield ARRAY
        yield "file"
        gate.set()
        yield ARRAY

    def ahead(name):
        assert gate.wait(10)
        return name

    made = in_order(pictures(), lambda _: threading.get_ident(), ahead, 2)
    assert next(made) == threading.get_ident()
    assert not gate.is_set()  # an array waits for nothing that comes behind it
    assert list(made) == ["file", threading.get_ident()]


def test_so_many_are_taken_ahead_and_no_more():
    taken, gate = [], threading.Event()

    def names():
        for number in range(50):
            taken.append(number)
            yield str(number)

    def ahead(name):
        if name == "0":
            assert gate.wait(10)
        return name

    def open_when_full():
        for _ in range(10_000):
            if len(taken) == 2 * 3 + 1:
                break
            time.sleep(0.001)
        time.sleep(0.05)
        gate.set()

    made = in_order(names(), never, ahead, 3)
    threading.Thread(target=open_when_full, daemon=True).start()
    assert next(made) == "0"
    assert len(taken) == 2 * 3 + 1
    made.close()


@pytest.mark.parametrize(("size", "most"), [(100_000_000, 3), (50_000_000, 5), (0, 9)])
def test_no_more_pixels_wait_than_two_of_the_largest_pictures_have(size, most):
    taken, handed = [], []

    def names():
        for number in range(40):
            taken.append(number)
            yield str(number)

    waiting = []
    for _ in in_order(names(), never, lambda name: name, 4, lambda _: size):
        time.sleep(0.005)  # a slow consumer, whom the workers have left behind
        handed.append(1)
        waiting.append(len(taken) - len(handed))
    assert len(handed) == 40
    assert max(waiting) <= most


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("broken", ["pictures", "work"])
def test_an_error_comes_behind_what_was_taken_before_it(workers, broken):
    def names():
        yield from "0123"
        if broken == "pictures":
            raise BundleError("broken")
        yield from "456789"

    def work(name):
        if name == "4":
            raise BundleError("broken")
        return name

    found = []
    with pytest.raises(BundleError, match="broken"):
        found.extend(name for name in collected(in_order(names(), work, work, workers), found))
    assert found == list("0123")


def collected(made, found):
    for name in made:
        found.append(name)
    return ()


@pytest.mark.parametrize("end", ["close", "drop"])
def test_leaving_early_ends_every_thread(end):
    before = threading.active_count()
    made = in_order(map(str, range(1000)), never, lambda name: name, 4)
    next(made)
    assert threading.active_count() > before
    if end == "close":
        made.close()
    del made
    assert threading.active_count() == before


def test_room_is_shared_and_a_larger_picture_waits_until_it_is_alone():
    room, inside, most = Room(100), [], []

    def decode(pixels):
        with room.for_one() as take_room:
            take_room(pixels)
            inside.append(pixels)
            most.append(sum(inside))
            time.sleep(0.002)
            inside.remove(pixels)

    threads = [threading.Thread(target=decode, args=(pixels,)) for pixels in (40, 500, 60, 30, 100, 20) * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(most) == len(threads)
    assert all(total in (500, 100) or total < 100 for total in most)


def test_room_that_is_asked_for_again_is_not_taken_twice():
    room = Room(10)
    with room.for_one() as take_room:
        take_room(6)
        take_room(6)
        take_room(10)
    with room.for_one() as take_room:
        take_room(10)


def test_room_is_given_back_where_decoding_fails():
    room = Room(10)

    def fail():
        with room.for_one() as take_room:
            take_room(10)
            raise ImageError("broken")

    for _ in range(3):
        with pytest.raises(ImageError):
            fail()


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_room_is_asked_for_before_pixels_are_decoded(tmp_path, monkeypatch, suffix):
    images.write(tmp_path / f"a{suffix}", np.zeros((3, 5, 3), np.uint8))
    asked = []

    def take_room(pixels):
        asked.append(pixels)
        assert images._warnings_lock.acquire(
            timeout=1
        )  # else threads whose room is waited for would wait, too
        images._warnings_lock.release()
        raise MemoryError

    with pytest.raises(ImageError, match="memory"):
        load(tmp_path / f"a{suffix}", take_room)
    assert asked == [15]
