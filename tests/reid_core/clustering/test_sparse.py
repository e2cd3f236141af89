import numpy as np

from reid_core.clustering.k_reciprocal import allocate


def test_room_for_every_row_by_hand() -> None:
    rows = allocate(np.array([2, 0, 3]))
    np.testing.assert_array_equal(rows.indptr, [0, 2, 2, 5])
    assert rows.indices.shape == (5,)
    assert rows.indices.dtype == np.int32
    assert rows.values.shape == (5,)
    assert rows.values.dtype == np.float32
