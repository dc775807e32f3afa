"""From moments and a model to the arrays that the criterion works on: columns centred, scaled and without aliases."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .errors import ModelError
from .moments import Moments
from .spec import ModelSpec

INTERCEPT = "(Intercept)"


@dataclass(frozen=True)
class Level:
    """One level of random coefficients inside the engine.

    Attributes:
        name: path of the level.
        terms: names of its random coefficients. (k)
        index: their columns in the working matrix W. (k,)
        block: block number of each coefficient; coefficients of different blocks are independent. (k,)
        to_raw: R with Z_raw = Z R, so that T_raw = R⁻¹ T R⁻ᵀ and u_raw = R⁻¹ u. (k, k)
        starts: first innermost group of each of the level's groups. (groups,)
    """

    name: str
    terms: tuple[str, ...]
    index: np.ndarray
    block: np.ndarray
    to_raw: np.ndarray
    starts: np.ndarray

    @property
    def size(self) -> int:
        return len(self.index)

    @property
    def groups(self) -> int:
        return len(self.starts)


@dataclass(frozen=True)
class Basis:
    """The working columns W = raw columns × a sparse transformation (centred, scaled, duplicated unshifted).

    Attributes:
        transform: from the stored columns of the moments to W: ``w = stored @ transform``. (q_stored, q)
        x_index: columns of the fixed effects in W, the formula's order. (p,)
        y_index: the outcome's column in W.
        fixed: names of the fixed effects that are kept. (p)
        aliased: dropped fixed effects and the kept ones that they depend on.
        p_x: X_raw = X P_X. (p, p)
        y_shift: coefficient of the raw intercept taken out of y (0 when nothing was centred).
        y_scale: scale taken out of y.
    """

    transform: np.ndarray
    x_index: np.ndarray
    y_index: int
    fixed: tuple[str, ...]
    aliased: tuple[tuple[str, tuple[str, ...]], ...]
    p_x: np.ndarray
    y_shift: float
    y_scale: float


@dataclass(frozen=True)
class Problem:
    """A model ready to be fitted.

    Attributes:
        spec: the model.
        levels: innermost first (the order in which the criterion eliminates them).
        basis: working columns.
        total: sums of products over all rows in the working columns. (q, q)
        n: rows per innermost group of the *moments*. (G,)
        n_obs: rows. int
        sum_log_weight: Σ log w.
        moments: the source.
    """

    spec: ModelSpec
    levels: tuple[Level, ...]
    basis: Basis
    total: np.ndarray
    n: np.ndarray
    n_obs: int
    sum_log_weight: float
    moments: Moments
    crossed: Level | None = None

    @property
    def components(self) -> tuple[Level, ...]:
        """Everything with variances of its own: the nested levels, innermost first, then the crossed factor."""
        return self.levels if self.crossed is None else (*self.levels, self.crossed)

    @cached_property
    def mean_weight(self) -> float:
        """Mean of the case weights; 1 without weights."""
        moments = self.moments
        if moments.unweighted is None:
            return 1.0
        return float(_total(moments)[0, 0]) / self.n_obs

    def working_products(self, products: np.ndarray) -> np.ndarray:
        """Sums of products of the stored columns, full (q_s, q_s, K), in the working columns (q, q, K)."""
        return transform_products(products, self.basis.transform)


def transform_products(products: np.ndarray, transform: np.ndarray) -> np.ndarray:
    """T'M T for a stack of symmetric matrices (q_s, q_s, K); the transformation is sparse and applied by columns."""
    half = _combine(products, transform, axis=1)
    return _combine(half, transform, axis=0)


def _combine(products: np.ndarray, transform: np.ndarray, axis: int) -> np.ndarray:
    # Each working column is one stored column times a number plus a multiple of the constant: two terms, no BLAS.
    moved = products.swapaxes(0, axis)
    out = np.empty((transform.shape[1], *moved.shape[1:]), dtype=products.dtype)
    last = -1
    for j, row in zip(*(index.tolist() for index in transform.T.nonzero()), strict=True):
        if j == last:
            out[j] += transform[row, j] * moved[row]
        else:
            np.multiply(moved[row], transform[row, j], out=out[j])
            last = j
    return out.swapaxes(0, axis)


def check_identified(spec: ModelSpec, moments: Moments) -> None:
    """Refuse random parts that the residual variance cannot be told apart from.

    Raises:
        ModelError: fewer than two groups at a level, or as many random coefficients as rows (as lme4 refuses).
    """
    for level in spec.random:
        depth = moments.levels.index(level.level)
        groups = len(moments.starts(depth))
        terms = [term for block in level.blocks for term in block]
        if groups < 2:
            raise ModelError(
                f"only 1 group at level {level.level}: the variance between its groups cannot be estimated.",
                where=f"random part of {level.level}",
                do="Drop this level from the formula.",
            )
        if groups * len(terms) >= moments.n_obs:
            singles = int(np.sum(np.add.reduceat(moments.n, moments.starts(depth)) == 1))
            note = f" ({singles} groups of size 1)" if singles else ""
            raise ModelError(
                f"{groups} groups{note} with {len(terms)} random coefficient{'s' * (len(terms) > 1)} each are not "
                f"fewer than the {moments.n_obs} rows: they cannot be told from the residuals.",
                where=f"random part of {level.level}",
                do="Remove random coefficients or use a coarser grouping.",
            )


def build(moments: Moments, spec: ModelSpec, crossed_groups: int = 0) -> Problem:
    """Prepare a model's working columns.

    Args:
        crossed_groups: number of groups of the crossed factor, where the model has one.

    Raises:
        ModelError: unknown columns or levels, an unidentified random part, a constant outcome, more columns than rows.
    """
    names = list(moments.columns)
    wanted = list(spec.fixed) + [t for level in spec.random for block in level.blocks for t in block]
    missing = [name for name in wanted if name not in names]
    if missing:
        raise ModelError(f"the moments have no column {missing[0]!r}.", do="Add the term to the panel's formula.")
    check_identified(spec, moments)
    centred = INTERCEPT in spec.fixed
    total = _total(moments)
    basis, levels, one = _layout(moments, spec, total, centred)
    crossed = None
    if spec.crossed:
        if crossed_groups < 2:
            raise ModelError(f"a crossed effect of {spec.crossed} needs at least 2 of its values.", "crossed")
        crossed = Level(
            spec.crossed, (INTERCEPT,), np.array([one]), np.zeros(1, dtype=int), np.eye(1), np.arange(crossed_groups)
        )
    working = transform_products(total[:, :, None], basis.transform)[:, :, 0]
    rank = len(basis.x_index)
    if rank >= moments.n_obs:
        raise ModelError(
            f"{rank} fixed effects and only {moments.n_obs} rows: nothing is left to estimate the residual variance.",
            do="Use fewer predictors or more rows.",
        )
    return Problem(spec, levels, basis, working, moments.n, moments.n_obs, moments.sum_log_weight, moments, crossed)


def _total(moments: Moments) -> np.ndarray:
    if moments.products.shape[0] == moments.products.shape[1]:
        return moments.products.sum(axis=2)
    return moments.parent_products.sum(axis=2)


def _layout(
    moments: Moments, spec: ModelSpec, total: np.ndarray, centred: bool
) -> tuple[Basis, tuple[Level, ...], int]:
    """Choose the working columns: fixed effects first, then what only the random part uses, the outcome last."""
    stored = {name: j for j, name in enumerate(moments.columns)}
    weight = total[0, 0]
    # Exact mean and sd of the stored columns, and the shift that was taken out before.
    mean = total[0] / weight
    square = np.diag(total) / weight
    variance = square - mean**2
    # What the subtraction leaves of a constant column is rounding.
    spread = np.sqrt(np.where(variance > 1e-13 * square, variance, 0.0))
    raw_mean = moments.shift + moments.scale * mean
    raw_sd = moments.scale * spread
    raw_rms = np.hypot(raw_mean, raw_sd)
    outcome = len(moments.columns) - 1
    y_level = raw_sd[outcome] if centred else raw_rms[outcome]
    if not raw_sd[outcome] > 1e-13 * raw_rms[outcome]:
        raise ModelError(
            f"the outcome {moments.columns[outcome]} is constant ({raw_mean[outcome]:.6g}): nothing to explain.",
            do="Check that the right column was named.",
        )
    columns: list[np.ndarray] = []
    scales: list[float] = []
    shifts: list[float] = []
    position: dict[tuple[str, bool], int] = {}

    def column(name: str, shifted: bool) -> int:
        key = (name, shifted and name != INTERCEPT)
        if key in position:
            return position[key]
        vector = np.zeros(len(moments.columns))
        j = stored[name]
        if name == INTERCEPT:
            vector[0], scale, shift = 1.0, 1.0, 0.0
        elif shifted:
            # A constant column has no spread: keep it, it is dropped as aliased. Its raw value may be zero (a dummy
            # whose rows were left out): the scale that it is stored in keeps its rounding from being blown up.
            stored_size = moments.scale[j] * np.sqrt(square[j])
            scale = raw_sd[j] if raw_sd[j] > 1e-12 * raw_rms[j] else max(raw_rms[j], stored_size, 1e-300)
            shift = raw_mean[j]
            vector[j] += moments.scale[j] / scale
            vector[0] -= mean[j] * moments.scale[j] / scale
        else:
            scale, shift = max(raw_rms[j], 1e-300), 0.0
            vector[j] += moments.scale[j] / scale
            vector[0] += moments.shift[j] / scale
        columns.append(vector)
        scales.append(scale)
        shifts.append(shift)
        position[key] = len(columns) - 1
        return position[key]

    x_all = [column(name, centred) for name in spec.fixed]
    plan = []
    for level in reversed(spec.random):
        index, block_of, terms = [], [], []
        for b, block in enumerate(level.blocks):
            shifted = centred and INTERCEPT in block
            for term in block:
                index.append(column(term, shifted))
                block_of.append(b)
                terms.append(term)
        plan.append((level.level, tuple(terms), np.array(index), np.array(block_of)))
    one = column(INTERCEPT, False) if spec.crossed else -1
    columns.append(np.zeros(len(moments.columns)))
    columns[-1][outcome] = moments.scale[outcome] / y_level
    columns[-1][0] = (-mean[outcome] * moments.scale[outcome] if centred else moments.shift[outcome]) / y_level
    transform = np.column_stack(columns)

    x_gram = transform_products(total[:, :, None], transform[:, x_all])[:, :, 0]
    keep, aliased = independent_columns(x_gram, moments.n_obs)
    fixed = tuple(spec.fixed[j] for j in keep)
    # A constant column was centred away: it is the intercept's.
    dropped = tuple((spec.fixed[j], tuple(spec.fixed[i] for i in by) or (INTERCEPT,) * centred) for j, by in aliased)
    x_index = np.array([x_all[j] for j in keep], dtype=int)
    p_x = np.diag([scales[j] for j in x_index]) if len(x_index) else np.zeros((0, 0))
    if centred and len(x_index):
        p_x[fixed.index(INTERCEPT), :] = [
            1.0 if name == INTERCEPT else shifts[j] for name, j in zip(fixed, x_index, strict=True)
        ]
    basis = Basis(
        transform, x_index, len(columns) - 1, fixed, dropped, p_x, raw_mean[outcome] if centred else 0.0, float(y_level)
    )
    levels = []
    for name, level_terms, columns_of, owner in plan:
        to_raw = np.diag([scales[j] for j in columns_of]).astype(float)
        for b in range(owner.max() + 1):
            members = np.flatnonzero(owner == b)
            anchor = [m for m in members if level_terms[m] == INTERCEPT]
            if anchor and centred:
                for m in members:
                    to_raw[anchor[0], m] = 1.0 if m == anchor[0] else shifts[columns_of[m]]
        levels.append(Level(name, level_terms, columns_of, owner, to_raw, moments.starts(moments.levels.index(name))))
    return basis, tuple(levels), one


def independent_columns(gram: np.ndarray, n_obs: int) -> tuple[list[int], list[tuple[int, list[int]]]]:
    """Columns that are not linear combinations of those before them, in order, as ``lm`` keeps them.

    Args:
        gram: X'X of centred and scaled columns. (p, p)
        n_obs: rows; the tolerance grows with the rounding of their sums.

    Returns:
        Indices kept, and for each dropped index the kept columns that it is a combination of.
    """
    tolerance = 1e-12 + 1e-15 * np.sqrt(n_obs)
    # Every column has unit spread here, save a constant one that was centred away.
    floor = 1e-12 * np.diag(gram).max(initial=0.0)
    keep: list[int] = []
    aliased: list[tuple[int, list[int]]] = []
    lower = np.zeros_like(gram)
    for j in range(len(gram)):
        row = np.zeros(len(keep))
        for i, other in enumerate(keep):
            row[i] = (gram[j, other] - row[:i] @ lower[i, :i]) / lower[i, i]
        pivot = gram[j, j] - row @ row
        if gram[j, j] > floor and pivot > tolerance * gram[j, j]:
            lower[len(keep), : len(keep)] = row
            lower[len(keep), len(keep)] = np.sqrt(pivot)
            keep.append(j)
        else:
            size = len(keep)
            weights = np.linalg.solve(lower[:size, :size].T, row) if size else row
            relevant = [
                keep[i]
                for i in range(size)
                if gram[j, j] > floor and weights[i] ** 2 * gram[keep[i], keep[i]] > 1e-16 * gram[j, j]
            ]
            aliased.append((j, relevant))
    return keep, aliased
