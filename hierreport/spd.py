"""Inverse and determinant of one symmetric positive definite matrix."""

from __future__ import annotations

import numpy as np

# Importing scipy.linalg takes a quarter of a second: from this size on a fit's inverses save more than that.
LARGE = 500


def inverse_and_logdet(matrix: np.ndarray) -> tuple[np.ndarray, float]:
    """A⁻¹ and log|A|.

    Raises:
        numpy.linalg.LinAlgError: the matrix is not positive definite.
    """
    if len(matrix) < LARGE:
        lower = np.linalg.cholesky(matrix)
        return np.linalg.inv(matrix), 2.0 * float(np.log(np.diag(lower)).sum())
    from scipy.linalg import lapack

    # The transposed view is in LAPACK's own order, and the same matrix.
    upper, info = lapack.dpotrf(matrix.T, clean=1)
    if info == 0:
        log = 2.0 * float(np.log(np.diag(upper)).sum())
        inverse, info = lapack.dpotri(upper, overwrite_c=1)
    if info != 0 or not np.isfinite(log):
        raise np.linalg.LinAlgError("the matrix is not positive definite")
    inverse = inverse + inverse.T
    inverse[np.diag_indices(len(inverse))] *= 0.5
    return inverse, log
