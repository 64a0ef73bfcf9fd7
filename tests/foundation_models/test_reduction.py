"""The PCA: its formula, its directions against a full decomposition, its file."""

from __future__ import annotations

import numpy as np
import pytest

from projects.DistillNeRF.foundation_models import reduction
from projects.DistillNeRF.foundation_models.reduction import Reduction, ReductionFit, load_reduction
from tests.helpers.refusals import assert_refused


def sample(rows: int, channels: int, seed: int = 0) -> np.ndarray:
    """Features with a mean and directions of different strength."""
    random = np.random.default_rng(seed)
    mixed = random.normal(size=(rows, channels)) * np.geomspace(3, 0.01, channels) + 0.5
    return (mixed @ np.linalg.qr(random.normal(size=(channels, channels)))[0]).astype(np.float32)


def fitted(rows: np.ndarray, channels: int, parts: int = 7) -> Reduction:
    fit = ReductionFit(channels)
    for part in np.array_split(rows, parts):
        fit.add(part)
    return fit.reduction()


def test_the_directions_are_those_of_a_full_decomposition():
    rows = sample(900, 40)
    found = fitted(rows, 12)
    assert found.channels == (40, 12)
    _, _, directions = np.linalg.svd(rows.astype(np.float64), full_matrices=False)
    # Each up to its sign.
    assert np.abs(np.sum(found.matrix.T * directions[:12], axis=1)) == pytest.approx(np.ones(12), abs=1e-5)
    assert found.matrix.T @ found.matrix == pytest.approx(np.eye(12), abs=1e-5)
    assert np.all(found.matrix[np.abs(found.matrix).argmax(0), np.arange(12)] > 0)


def test_the_parts_do_not_matter():
    rows = sample(300, 20)
    one, many = fitted(rows, 5, 1), fitted(rows, 5, 60)
    assert one.matrix == pytest.approx(many.matrix, abs=1e-5)
    assert one.low == pytest.approx(many.low, abs=1e-5)


def test_the_formula_and_the_range():
    rows = sample(4000, 20)
    found = fitted(rows, 5)
    values = found(rows)
    by_hand = (rows[7] @ found.matrix - found.low) / (found.high - found.low)
    assert values[7] == pytest.approx(by_hand, abs=1e-5) and values.dtype == np.float32
    # Half a percent lies outside on each side.
    assert (values < 0).mean(0) == pytest.approx(np.full(5, 0.005), abs=1e-3)
    assert (values > 1).mean(0) == pytest.approx(np.full(5, 0.005), abs=1e-3)
    assert found(rows.reshape(40, 100, 20)).shape == (40, 100, 5)
    projected = rows @ found.matrix @ found.matrix.T
    assert found.restore(values) == pytest.approx(projected, abs=1e-4)


def test_memory_is_bounded(monkeypatch):
    monkeypatch.setattr(reduction, 'KEPT_ROWS', 50)
    fit = ReductionFit(4)
    for seed in range(20):
        fit.add(sample(100, 10, seed))
    assert fit.rows == 2000 and fit._kept.shape == (50, 10)
    values = fit.reduction()(sample(500, 10, 5))
    # A range from 50 rows is rough, not wrong.
    assert 0.8 < ((values > 0) & (values < 1)).mean() < 1


def test_few_channels_are_kept_and_scaled():
    rows = sample(500, 6)
    found = fitted(rows, 64)
    assert np.array_equal(found.matrix, np.eye(6))
    assert found.restore(found(rows)) == pytest.approx(rows, abs=1e-4)


def test_a_channel_that_never_changes_is_zero():
    rows = np.tile(np.float32([1.5, -2.0]), (100, 1))
    assert np.array_equal(fitted(rows, 64)(rows), np.zeros((100, 2)))


def test_the_share_that_is_kept():
    rows = sample(500, 20)
    fit = ReductionFit(5)
    fit.add(rows)
    found = fit.reduction()
    projected = rows.astype(np.float64) @ found.matrix
    assert fit.kept_share(found) == pytest.approx(np.square(projected).sum() / np.square(rows).sum(), rel=1e-4)


def test_the_file_has_three_arrays(tmp_path):
    found = fitted(sample(300, 20), 5)
    found.save(tmp_path / 'pca.npz')
    with np.load(tmp_path / 'pca.npz') as content:
        assert {name: content[name].shape for name in content} == {'reduction_mat': (20, 5), 'min': (5,), 'max': (5,)}
    again = load_reduction(tmp_path / 'pca.npz')
    assert np.array_equal(again.matrix, found.matrix) and again.digest() == found.digest()


def test_what_is_no_reduction_is_refused(tmp_path):
    assert_refused(lambda: load_reduction(tmp_path / 'none.npz'), 'no such file')
    (tmp_path / 'cut.npz').write_bytes(b'PK\x03\x04')
    np.savez(tmp_path / 'other.npz', matrix=np.eye(3))
    np.save(tmp_path / 'single.npy', np.eye(3))
    for name in ('cut.npz', 'other.npz', 'single.npy'):
        assert_refused(
            lambda name=name: load_reduction(tmp_path / name), 'reduction_mat, min, max', start=tmp_path / name
        )
    good = {'reduction_mat': np.eye(3), 'min': np.zeros(3), 'max': np.ones(3)}
    for wrong in ({'min': np.ones(3)}, {'min': np.zeros(2)}, {'reduction_mat': np.full((3, 3), np.nan)}):
        np.savez(tmp_path / 'wrong.npz', **{**good, **wrong})
        assert_refused(lambda: load_reduction(tmp_path / 'wrong.npz'), 'min below max')


def test_what_does_not_fit_is_refused():
    found = fitted(sample(300, 20), 5)
    assert_refused(lambda: found(np.zeros((4, 19))), '20 channels, the model has 19')
    assert_refused(lambda: ReductionFit(4).reduction(), '0 cells')
    assert_refused(lambda: fitted(sample(4, 20), 5, 1), '4 cells', '--sample')
    assert_refused(lambda: ReductionFit(4).add(np.array([[1.0, np.nan]])), 'not finite')
