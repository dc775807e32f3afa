"""Log-likelihood of a rung by statsmodels, where it can express the model: evaluated there, never fitted there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from hierreport.spec import ModelSpec

from .rows import Rows, random_terms

# Entries of the variance components' indicator matrices (rows times groups, summed over the top-level groups).
MAX_ENTRIES = 3e7


def expressible(spec: ModelSpec, estimate: Mapping[str, Any], rows: Rows) -> bool:
    """Whether statsmodels has this model: OLS, or one level with correlated coefficients and nested independent ones.

    Weights, serial correlation and singular estimates (it inverts the covariance matrix) are left to the dense
    evaluation.
    """
    if spec.errors != "iid" or spec.variances or spec.crossed or rows.weights is not None:
        return False
    if not spec.random:
        return True
    wide = [(level.level, block) for level in spec.random for block in level.blocks if len(block) > 1]
    if len(wide) > 1 or (wide and wide[0][0] != spec.random[0].level):
        return False
    block, components = _split(spec, estimate)
    if any(variance <= 0 for _, _, variance in components):
        return False
    if block is not None and np.linalg.eigvalsh(_centred(rows, *block)[1])[0] <= 1e-8 * estimate["sigma"] ** 2:
        return False
    top = rows.codes[spec.random[0].level]
    entries = 0.0
    for level in spec.random[1:]:
        pairs = np.unique(np.column_stack([top, rows.codes[level.level]]), axis=0)[:, 0]
        entries += float((np.bincount(top) * np.bincount(pairs)).sum()) * len(level.blocks)
    return entries <= MAX_ENTRIES


def loglik(rows: Rows, spec: ModelSpec, estimate: Mapping[str, Any], *, reml: bool) -> float:
    """statsmodels' log-likelihood at our fixed effects and covariances; it profiles the scale itself.

    The columns are centred and scaled before they are handed over (a change of coordinates that leaves the likelihood
    as it is; log|X'V^-1 X| is put back), because statsmodels loses digits on calendar years.
    """
    terms = [f["term"] for f in estimate["fixed"]]
    beta = np.array([f["estimate"] for f in estimate["fixed"]])
    x = rows.matrix(terms)
    if not spec.random:
        from statsmodels.regression.linear_model import OLS

        if reml:
            raise ValueError("statsmodels has no REML for OLS")
        return float(OLS(rows.y, x).loglike(beta))
    from statsmodels.regression.mixed_linear_model import MixedLM, MixedLMParams

    wide, components = _split(spec, estimate)
    z, cov = _centred(rows, *wide) if wide else (None, None)
    model_x, model_beta, log_change = _conditioned(x, beta)
    variance = estimate["sigma"] ** 2
    model = MixedLM(
        rows.y,
        model_x,
        rows.codes[spec.random[0].level],
        exog_re=z,
        exog_vc=_vc(rows, spec.random[0].level, components) if components else None,
    )
    model.reml = reml
    model.cov_pen = None  # otherwise set by fit(), which is never called
    params = MixedLMParams.from_components(
        fe_params=model_beta,
        cov_re=None if cov is None else cov / variance,
        vcomp=np.array([v / variance for _, _, v in components]) if components else None,
    )
    value = float(model.loglike(params, profile_fe=False))
    return value + (log_change if reml else 0.0)


def _split(spec: ModelSpec, estimate: Mapping[str, Any]) -> tuple[Any, list[tuple[str, str, float]]]:
    """The correlated block of the top level (terms, covariance), and independent components (level, term, variance)."""
    found = {level: (terms, cov) for level, terms, cov in random_terms(estimate)}
    wide, components = None, []
    for number, level in enumerate(spec.random):
        terms, cov = found[level.level]
        for block in level.blocks:
            at = [terms.index(t) for t in block]
            if wide is None and number == 0 and (len(block) > 1 or len(level.blocks) == 1):
                wide = (block, cov[np.ix_(at, at)])
            else:
                components.append((level.level, block[0], float(cov[at[0], at[0]])))
    return wide, components


def _centred(rows: Rows, block: tuple[str, ...], cov: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Columns of a block in better coordinates, and their covariance matrix: Z R, R^-1 Sigma R^-T."""
    z = rows.matrix(block)
    change = np.diag(1.0 / np.sqrt((z**2).mean(axis=0)))
    if "(Intercept)" in block:
        one = block.index("(Intercept)")
        spread = np.where(np.arange(len(block)) == one, 1.0, z.std(axis=0))
        change = np.diag(1.0 / spread)
        for j in range(len(block)):
            if j != one:
                change[one, j] = -z[:, j].mean() / spread[j]
    back = np.linalg.inv(change)
    return z @ change, back @ cov @ back.T


def _conditioned(x: np.ndarray, beta: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """X in orthonormal columns, beta to match, and what REML's -1/2 log|X'V^-1 X| changes by: Q R = X."""
    if not x.shape[1]:
        return x, beta, 0.0
    q, r = np.linalg.qr(x)
    return q, r @ beta, -float(np.log(np.abs(np.diag(r))).sum())


def _vc(rows: Rows, top: str, components: list[tuple[str, str, float]]) -> Any:
    """Indicator (or covariate) matrices of the independent components, per top-level group in sorted order."""
    from statsmodels.regression.mixed_linear_model import VCSpec

    codes = rows.codes[top]
    order = [np.flatnonzero(codes == g) for g in range(codes.max() + 1)]
    mats, colnames, names = [], [], []
    for level, term, _ in components:
        per_group, per_names = [], []
        for members in order:
            inner = np.unique(rows.codes[level][members], return_inverse=True)[1]
            matrix = np.zeros((len(members), inner.max() + 1))
            matrix[np.arange(len(members)), inner] = rows.columns[term][members]
            per_group.append(matrix)
            per_names.append([str(i) for i in range(matrix.shape[1])])
        mats.append(per_group)
        colnames.append(per_names)
        names.append(f"{level} {term}")
    return VCSpec(names, colnames, mats)
