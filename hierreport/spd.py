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
        log = 2.0 * float(np.log(np.diag(np.linalg.cholesky(matrix))).sum())
        inverse = np.linalg.inv(matrix)
    else:
        from scipy.linalg import lapack

        # The transposed view is in LAPACK's own order, and the same matrix.
        upper, failed = lapack.dpotrf(matrix.T, clean=1)
        if failed:
            raise np.linalg.LinAlgError("the matrix is not positive definite")
        log = 2.0 * float(np.log(np.diag(upper)).sum())
        half, failed = lapack.dpotri(upper, overwrite_c=1)
        inverse = half + half.T
        inverse[np.diag_indices(len(inverse))] *= 0.5
    if not np.isfinite(log):
        raise np.linalg.LinAlgError("the matrix is not finite")
    return inverse, log
