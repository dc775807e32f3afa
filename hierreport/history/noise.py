"""Whether a coefficient changed by more than sampling explains, given the rows that two fits share.

Two estimates from overlapping rows are correlated, so that their standard errors alone say little about their
difference. But each is, up to terms of second order, the truth plus a sum over independent groups of influences,
ψ_g = (X'V⁻¹X)⁻¹ X_g'V_g⁻¹(y_g − X_gβ) (Liang & Zeger 1986, Biometrika 73, eq. 6). The difference is then a sum of
ψ_g(now) − ψ_g(before), where a group that is in one run alone has no other part and an unchanged group's two parts
almost cancel; its variance is estimated by the sum of their squares, as in a cluster-robust covariance (CR2-adjusted,
Pustejovsky & Tipton 2018) and as in tests of differences between estimators on one sample (Weesie 1999, Stata
Technical Bulletin 52, ``suest``). No group's variance is assumed, and rows may be added, removed and revised.

Degrees of freedom are Satterthwaite's, from the groups' shares in the variance: under the model where rows were only
added or only removed, else as observed, which is less for the same groups. Where few groups carry
the change (below ``FEW``), their squares say nothing; if rows were then only added, or only removed, the model's own
variance of the difference is taken, Var(less) − Var(more) (Hausman 1978, Econometrica 46, lemma 2.1: the estimate from
more rows is efficient; both at the components of the run with more rows), and if not there is no test.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import ndtr, stdtr

from ..clusters import ClusterPass, cluster_starts
from ..errors import ModelError
from ..mixed import MixedFit
from ..robust import cluster_robust

ROUNDING = 1e-9  # share of a variance below which a difference of two of them is none
FEW = 5.0  # effective number of groups below which their squares are no estimate of a variance


@dataclass(frozen=True)
class Influences:
    """What each independent group adds to the fixed effects of a fit (REML), on the user's scale.

    terms: fixed effects; groups: ids; level: theirs; psi: influences (G, p); information: X'V⁻¹X per group under the
    model (G, p, p); cov: the inverse of its sum (p, p).
    """

    terms: list[str]
    level: str
    groups: list[tuple[str, ...]]
    psi: np.ndarray
    information: np.ndarray
    cov: np.ndarray


def influences(fit: MixedFit, level: str | None = None) -> Influences:
    """Influences of a fit's independent groups.

    Args:
        fit: any model without a crossed effect.
        level: of the groups; by default the outermost random level, the innermost level for pooled OLS.

    Raises:
        ModelError: no independent groups (see ``robust.cluster_robust``).
    """
    robust = cluster_robust(fit, level, "auto")
    state = robust.state
    criterion, basis = state.criterion, state.criterion.problem.basis
    moments = criterion.problem.moments
    depth = moments.levels.index(robust.level)
    starts = moments.starts(depth)
    ids = list(zip(*(moments.labels[k][starts].astype(str) for k in range(depth + 1)), strict=True))
    half = np.linalg.solve(basis.p_x, robust._to_orthonormal) * basis.y_scale
    c, _ = ClusterPass(criterion, starts)(state.factors, state.theta[criterion.parameters.n_lambda :])
    x = list(basis.x_index)
    gram = np.real(c[x][:, x]).transpose(2, 0, 1)
    information = basis.p_x.T @ gram @ basis.p_x / state.sigma**2
    cov = np.linalg.inv(information.sum(axis=0))
    return Influences(robust.terms, robust.level, ids, robust._pieces.scores @ half.T, information, cov)


@dataclass(frozen=True)
class Noise:
    """The tests: ``terms`` by name {se_change, z, df, p, method}, ``about`` for the reader, see ``compare``."""

    terms: dict[str, dict[str, Any]]
    about: dict[str, Any]


def compare(before: MixedFit, now: MixedFit, nested: str, skip: Sequence[str] = ()) -> Noise:
    """Test the change of every fixed effect that two fits of one model share.

    Args:
        before, now: the model on the earlier and on the present rows.
        nested: "now" where the present rows are the earlier ones and more, "before" where they are fewer, "" else.
        skip: terms whose meaning changed.

    Returns:
        per shared term the standard error of its change, change over it (``z``), degrees of freedom (None under the
        model's own variance) and two-sided p; None, with a reason in ``method``, where there is no test. ``about`` has
        the groups' ``level`` and how many ``groups`` there are in both runs.

    Raises:
        ModelError: the fits' groups are not independent, or of different levels.
    """
    old, new = influences(before), influences(now)
    if old.level != new.level:
        raise ModelError("the two models have different independent groups.", "history")
    shared = [t for t in new.terms if t in old.terms and t not in skip]
    i, j = [old.terms.index(t) for t in shared], [new.terms.index(t) for t in shared]
    groups = list(dict.fromkeys([*new.groups, *old.groups]))
    place = {g: k for k, g in enumerate(groups)}
    at_old, at_new = [place[g] for g in old.groups], [place[g] for g in new.groups]
    difference = np.zeros((len(groups), len(shared)))
    difference[at_new] += new.psi[:, j]
    difference[at_old] -= old.psi[:, i]
    change = now.state("reml").beta_raw[j] - before.state("reml").beta_raw[i]
    squares = np.square(difference)
    shares = squares
    if nested:
        shares = _expected(old, new, i, j, at_old, at_new, len(groups))
    total, square = shares.sum(axis=0), np.square(shares).sum(axis=0)
    least = np.square(1e-10 * old.cov.diagonal()[i])
    df = np.minimum(total**2 / np.where(square > least, square, np.inf), len(groups) - 1.0)
    model = np.zeros(len(shared))
    if nested == "now":
        model = covariance_under(now, before)[i, i] - new.cov[j, j]
    elif nested == "before":
        model = covariance_under(before, now)[j, j] - old.cov[i, i]
    terms = {}
    for k, term in enumerate(shared):
        variance = float(squares[:, k].sum())
        if df[k] >= FEW and variance > 0:
            se = float(np.sqrt(variance))
            z = float(change[k]) / se
            terms[term] = _entry(se, z, float(df[k]), 2.0 * float(stdtr(df[k], -abs(z))), "groups")
        elif model[k] > ROUNDING * old.cov[i[k], i[k]]:
            se = float(np.sqrt(model[k]))
            z = float(change[k]) / se
            terms[term] = _entry(se, z, None, 2.0 * float(ndtr(-abs(z))), "model")
        else:
            terms[term] = _entry(None, None, None, None, "too few groups carry the change")
    return Noise(terms, {"level": new.level, "groups": len(groups)})


def covariance_under(fit: MixedFit, rows: MixedFit) -> np.ndarray:
    """Covariance of the fixed effects on the rows of one fit, at the variance components of another of the same model.

    Under one V the covariance of fewer rows is never the smaller one; under two estimates of it, it may seem to be.

    Args:
        fit: whose components (REML).
        rows: whose rows.

    Returns:
        (p, p), terms as in ``rows``.
    """
    state, other = fit.state("reml"), rows.state("reml")
    criterion, sigma = other.criterion, state.sigma
    factors = []
    for number, level in enumerate(criterion.levels):
        inside = level.to_raw @ (state.covariance(number) / sigma**2) @ level.to_raw.T
        values, vectors = np.linalg.eigh(inside)
        upper = np.linalg.qr(np.sqrt(np.maximum(values, 0.0))[:, None] * vectors.T, mode="r")
        factors.append(np.asarray(upper).T)
    errors = state.theta[state.criterion.parameters.n_lambda :]
    _, starts = cluster_starts(other, None)
    c, _ = ClusterPass(criterion, starts)(factors, errors)
    basis = criterion.problem.basis
    x = list(basis.x_index)
    return np.linalg.inv(basis.p_x.T @ np.real(c[x][:, x]).sum(axis=2) @ basis.p_x) * sigma**2


def _entry(se: float | None, z: float | None, df: float | None, p: float | None, method: str) -> dict[str, Any]:
    return {"se_change": se, "z": z, "df": df, "p": p, "method": method}


def _expected(
    old: Influences,
    new: Influences,
    i: list[int],
    j: list[int],
    at_old: list[int],
    at_new: list[int],
    count: int,
) -> np.ndarray:
    """Each group's share in the variance of each shared term's change, under the model. (groups, terms)

    The covariance of a group's two scores is the information of its shared rows, taken as that of the run that has
    less of the group: exact where rows were only added or only removed.
    """
    left, right = new.cov[j], old.cov[i]
    found = np.zeros((count, len(j)))
    found[at_new] += np.einsum("ka,gab,kb->gk", left, new.information, left, optimize=True)
    found[at_old] += np.einsum("ka,gab,kb->gk", right, old.information, right, optimize=True)
    # the terms of one run in the order of the other: rows of the embedded information
    common = [t for t in new.terms if t in old.terms]
    a, b = [new.terms.index(t) for t in common], [old.terms.index(t) for t in common]
    index = {g: k for k, g in enumerate(old.groups)}
    for k, group in enumerate(new.groups):
        if group not in index:
            continue
        mine, theirs = new.information[k][np.ix_(a, a)], old.information[index[group]][np.ix_(b, b)]
        both = theirs if np.trace(theirs) <= np.trace(mine) else mine
        found[at_new[k]] -= 2.0 * np.einsum("ka,ab,kb->k", left[:, a], both, right[:, b])
    return np.maximum(found, 0.0)

