import math

import pytest

from mnistlab.analysis.intervals import wilson


@pytest.mark.parametrize(("right", "count"), [(9950, 10000), (10, 10), (0, 7), (3, 8)])
def test_wilson_by_hand(right, count):
    z, share = 1.959963984540054, right / count
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    assert wilson(right, count) == pytest.approx((middle - half, middle + half), abs=1e-12)
