"""Flags: names, and translation of a file's own bits."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from jwcal.core.dq import DQ, names, translate, translation

FLAGS = sorted((v, k) for k, v in DQ.items() if k != "RESERVED")


def table(pairs):
    return np.array(
        [(k, v, n) for k, (v, n) in enumerate(pairs)], dtype=[("BIT", "i4"), ("VALUE", "u4"), ("NAME", "S40")]
    )


@given(st.lists(st.integers(0, 31), unique=True))
def test_names_tell_the_bits(bits):
    value = sum(1 << b for b in bits)
    assert sum(DQ[n] for n in names(value)) == value


@given(st.permutations(range(32)), st.lists(st.integers(0, 2**32 - 1), min_size=1))
def test_translation_moves_each_bit(order, values):
    pairs = [(1 << own, FLAGS[standard][1]) for own, standard in enumerate(order)]
    dq = np.array(values, "u4")
    want = np.zeros_like(dq)
    for own, standard in enumerate(order):
        want |= ((dq >> np.uint32(own)) & np.uint32(1)) << np.uint32(standard)
    assert np.array_equal(translate(dq, translation(table(pairs))), want)


def test_unknown_names_are_dropped_and_no_table_means_standard():
    dq = np.array([0, 1, 2, 3], "u4")
    assert np.array_equal(
        translate(dq, translation(table([(1, "DO_NOT_USE"), (2, "MADE_UP")]))), [0, 1, 0, 1]
    )
    assert translate(dq, translation(None)) is dq
