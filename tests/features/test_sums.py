"""Window sums are exact before their one rounding, whatever was summed before the window."""

import math
from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from trine.features.sums import ExactSums, two_product, variance

finite = st.floats(allow_nan=False, allow_infinity=False, max_value=1e300, min_value=-1e300)


def exactly(pair):
    high, low = pair
    return [Fraction(float(h)) + Fraction(float(rest)) for h, rest in zip(high, low, strict=True)]


@given(st.lists(finite, max_size=20), st.data())
def test_any_slice_sums_to_the_correctly_rounded_value(values, data):
    start = data.draw(st.integers(0, len(values)))
    end = data.draw(st.integers(start, len(values)))
    sums = ExactSums([np.array(values)], None, None)
    high, _ = sums.between(np.array([start]), np.array([end]))
    assert math.isclose(high[0], math.fsum(values[start:end]), rel_tol=2.3e-16, abs_tol=0)


@given(st.lists(finite, min_size=1, max_size=12), st.randoms())
def test_the_sum_does_not_depend_on_the_order_or_on_what_surrounds_it(values, random):
    shuffled = random.sample(values, len(values))
    surrounded = [1e299, -3e-300, *shuffled, 7.7]
    alone = ExactSums([np.array(values)], None, None).between(np.array([0]), np.array([len(values)]))
    among = ExactSums([np.array(surrounded)], None, None).between(np.array([2]), np.array([2 + len(values)]))
    assert alone[0][0] == among[0][0] and alone[1][0] == among[1][0]


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=15), st.sampled_from([0.0, 1e9, 1e15]))
def test_the_variance_keeps_its_digits_under_a_large_mean(values, offset):
    x = np.array(values) + offset
    squares, lost = two_product(x, x)
    whole = np.array([0]), np.array([len(x)])
    got = variance(
        np.array([len(x)]),
        ExactSums([x], None, None).between(*whole),
        ExactSums([squares, lost], None, None).between(*whole),
    )[0]
    exact = [Fraction(float(value)) for value in x]
    middle = sum(exact) / len(exact)
    wanted = float(sum((value - middle) ** 2 for value in exact) / (len(exact) - 1))
    floor = float(max(abs(value) for value in exact)) ** 2 * 2.0**-96
    assert math.isclose(got, wanted, rel_tol=1e-9, abs_tol=floor)


def test_two_parts_of_a_row_are_summed_together():
    high, low = ExactSums([np.array([1.0, 2.0]), np.array([2.0**-60, 2.0**-61])], None, None).between(
        np.array([0, 1]), np.array([2, 2])
    )
    assert exactly((high, low)) == [3 + Fraction(3, 2**61), 2 + Fraction(1, 2**61)]


def test_a_sum_past_the_largest_float_is_infinite():
    huge = np.array([-1.7e308, -1.7e308, 1.0])
    high, low = ExactSums([huge], None, None).between(np.array([0, 2]), np.array([3, 3]))
    assert high.tolist() == [-math.inf, 1.0] and low.tolist() == [0.0, 0.0]
