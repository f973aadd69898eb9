from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trine.errors import InvalidInput
from trine.serving.routing import Route, Variant, checked, choose, place, shadowed

weights = st.lists(st.floats(0.1, 1000), min_size=2, max_size=5)
KEYS = [f"customer-{number}" for number in range(400)]


def route(*parts: float, salt: str = "salt", shadow: float = 0.0) -> Route:
    variants = [Variant(f"v{index}", f"m@{index + 1}", weight) for index, weight in enumerate(parts)]
    if shadow:
        variants.append(Variant("shadow", "m@99", shadow, "shadow"))
    return Route(endpoint="e", number=1, variants=checked(tuple(variants)), salt=salt)


@given(weights, st.integers(0, 4), st.floats(1, 50))
def test_raising_one_share_moves_keys_to_it_and_nowhere_else(parts: list[float], raised: int, factor: float) -> None:
    raised %= len(parts)
    before, after = route(*parts), route(*(p * factor if i == raised else p for i, p in enumerate(parts)))
    for key in KEYS:
        old, new = choose(before, key).name, choose(after, key).name
        assert new in (old, f"v{raised}")


@given(weights)
def test_a_key_stays_on_its_variant(parts: list[float]) -> None:
    one = route(*parts)
    again = msgspec.json.decode(msgspec.json.encode(one), type=Route)
    assert [choose(one, key) for key in KEYS] == [choose(again, key) for key in KEYS]


@pytest.mark.parametrize("parts", [(90.0, 10.0), (50.0, 50.0), (1.0, 2.0, 7.0)])
def test_shares_are_what_the_weights_say(parts: tuple[float, ...]) -> None:
    one = route(*parts)
    count = 20_000
    counts = dict.fromkeys((f"v{i}" for i in range(len(parts))), 0)
    for number in range(count):
        counts[choose(one, str(number)).name] += 1
    for index, weight in enumerate(parts):
        share = weight / sum(parts)
        deviation = (share * (1 - share) / count) ** 0.5
        assert abs(counts[f"v{index}"] / count - share) < 5 * deviation


def test_another_salt_is_another_draw() -> None:
    one, other = route(50, 50, salt="a"), route(50, 50, salt="b")
    same = sum(choose(one, key).name == choose(other, key).name for key in KEYS)
    assert 120 < same < 280


def test_a_place_is_strictly_between_0_and_1_and_the_same_for_ever() -> None:
    assert place("salt", "v", "key") == 0.5899688679626341
    assert all(0 < place("s", "v", key) < 1 for key in KEYS)


def test_a_shadow_gets_its_percentage() -> None:
    assert all(shadowed(route(1, shadow=100), key) for key in KEYS)
    some = sum(bool(shadowed(route(1, shadow=25), key)) for key in KEYS)
    assert 60 < some < 140


@pytest.mark.parametrize(
    ("variants", "words"),
    [
        ([Variant("a", "m"), Variant("a", "n")], '"a" is there twice'),
        ([Variant("a", "m", 10, "shadow")], "needs a live variant"),
        ([Variant("a", "m", 0)], "above 0"),
        ([Variant("a", "m", float("nan"))], "above 0"),
        ([Variant("a", "m", float("inf"))], "above 0"),
        ([Variant("a", "m"), Variant("b", "m", 101, "shadow")], "at most 100"),
        ([], "needs a live variant"),
    ],
)
def test_what_makes_no_route_is_refused(variants: list[Variant], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        checked(tuple(variants))


def test_live_weights_become_percent() -> None:
    assert [one.weight for one in checked((Variant("a", "m", 1), Variant("b", "n", 3)))] == [25, 75]
