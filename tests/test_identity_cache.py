"""What was made of an object is made once, for that very object alone."""

import gc

from smartroute.identity_cache import MAX_RESULTS, cached_by_identity


def counted():
    asked = []

    @cached_by_identity
    def length(of, start=0):
        """Return how much there is from a place on."""
        asked.append((of, start))
        return len(of) - start

    return length, asked


def test_the_same_object_is_made_of_once_and_an_equal_one_for_itself():
    length, asked = counted()
    one, equal = [1, 2, 3], [1, 2, 3]
    assert [length(one), length(one), length(equal), length(one, 1), length(one, 1)] == [3, 3, 3, 2, 2]
    assert asked == [(one, 0), (equal, 0), (one, 1)]
    assert length.__doc__ == "Return how much there is from a place on."


def test_an_object_in_the_place_of_one_that_is_gone_is_no_other():
    length, _ = counted()
    for size in range(5 * MAX_RESULTS):
        assert length([None] * (size % 7)) == size % 7
        gc.collect(0)


def test_no_more_than_so_many_are_kept():
    class Kept:
        alive = 0

        def __init__(self):
            Kept.alive += 1

        def __del__(self):
            Kept.alive -= 1

        def __len__(self):
            return 1

    length = cached_by_identity(len)
    for _ in range(3 * MAX_RESULTS + 1):
        assert length(Kept()) == 1
        assert Kept.alive <= MAX_RESULTS + 1


def test_an_error_is_not_remembered():
    length, asked = counted()
    nothing = object()
    for _ in range(2):
        try:
            length(nothing)
        except TypeError:
            continue
        raise AssertionError("an object without a length has none")
    assert len(asked) == 2
