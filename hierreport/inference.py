"""Degrees of freedom, tests and intervals of fixed effects: Satterthwaite, Kenward-Roger, normal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .errors import HierreportError
from .records import FixedEffect
from .tails import student_quantile, student_sf

if TYPE_CHECKING:
    from .mixed import State

METHODS = ("satterthwaite", "kenward-roger", "normal", "residual")


def fixed_effects(
    state: State, method: str = "satterthwaite", level: float = 0.95
) -> tuple[list[FixedEffect], np.ndarray]:
    """Wald tests and intervals of every fixed effect.

    Args:
        method: ``satterthwaite``, ``kenward-roger`` (REML, iid errors; its adjusted covariance is used), ``normal``. A
            model without random effects uses its residual degrees of freedom.
        level: coverage of the intervals.

    Returns:
        The effects and the covariance matrix that they rest on. (p), (p, p)
    """
    if method not in METHODS:
        raise HierreportError(
            f"unknown method {method!r} for degrees of freedom.", "df", f"Use one of {', '.join(METHODS)}."
        )
    cov = state.fixed_cov
    p = len(cov)
    criterion = state.criterion
    if not criterion.parameters.size:
        method, df = "residual", np.full(p, float(criterion.problem.n_obs - p))
    elif method == "normal":
        df = np.full(p, np.inf)
    elif method == "kenward-roger" and has_kenward_roger(state):
        cov, df = kenward_roger(state)
    else:
        method, df = "satterthwaite", satterthwaite(state, np.eye(p))
    beta = state.beta_raw
    out = []
    for j, term in enumerate(criterion.problem.basis.fixed):
        out.append(wald(term, float(beta[j]), float(np.sqrt(cov[j, j])), float(df[j]), method, level))
    return out, cov


def has_kenward_roger(state: State) -> bool:
    """Whether Kenward and Roger's degrees of freedom exist: REML, independent errors, nested random effects."""
    criterion = state.criterion
    return bool(criterion.parameters.size and criterion.reml and criterion.errors is None) and (
        criterion.problem.crossed is None
    )


def wald(term: str, estimate: float, se: float, df: float, method: str, level: float = 0.95) -> FixedEffect:
    """One Wald-t (or z where df is infinite) test and interval."""
    statistic = estimate / se if se > 0 else np.nan
    finite = np.isfinite(df) and df < 1e12
    used = max(df, 1e-3) if finite else np.inf
    half = se * student_quantile(0.5 + level / 2.0, used)
    p = 2.0 * student_sf(abs(statistic), used)
    return FixedEffect(
        term,
        estimate,
        se,
        float(df) if finite else None,
        method,
        float(statistic),
        float(p),
        estimate - half,
        estimate + half,
    )


def parameter_derivatives(state: State) -> tuple[np.ndarray, np.ndarray]:
    """∂r²/∂θ and ∂(X'V⁻¹X)/∂θ by complex steps. (m,), (m, p, p)"""
    theta = state.theta
    dr2, dxx = [], []
    for j in range(len(theta)):
        step = theta.astype(complex)
        step[j] += 1e-20j
        out = state.criterion.evaluate(step, gradient=False)
        dr2.append(out.r2.imag / 1e-20)
        dxx.append(out.xx.imag / 1e-20)
    return np.array(dr2), np.array(dxx)


def parameter_covariance(state: State, dr2: np.ndarray) -> np.ndarray:
    """Asymptotic covariance 2H⁻¹ of (θ, log σ²), H the Hessian of the unprofiled deviance; null directions dropped.

    Source: Fai & Cornelius (1996) for the use; the block structure follows from profiling σ².
    """
    nu, r2 = state.criterion.nu, state.evaluation.r2.real
    m = len(state.theta)
    h = np.empty((m + 1, m + 1))
    h[:m, :m] = state.optimum.hessian + nu * np.outer(dr2, dr2) / r2**2
    h[:m, m] = h[m, :m] = -nu * dr2 / r2
    h[m, m] = nu
    # Curvature falls with the square of θ: where that is large it is measured in units of θ, or it would pass for none.
    size = np.append(np.maximum(1.0, state.optimum.scale), 1.0)
    values, vectors = np.linalg.eigh(h * np.outer(size, size))
    good = values > 1e-8 * min(1.0, values.max())
    half = size[:, None] * vectors[:, good]
    return 2.0 * (half / values[good]) @ half.T


def satterthwaite(state: State, contrasts: np.ndarray) -> np.ndarray:
    """Satterthwaite degrees of freedom df = 2f²/Var(f), f = l'Cov(β)l, per contrast.

    Args:
        contrasts: rows l on the user's scale of the fixed effects. (m, p)

    Source: Fai & Cornelius (1996); Kuznetsova, Brockhoff & Christensen (2017), J. Stat. Softw. 82(13), eq. 6.
    """
    basis = state.criterion.problem.basis
    inner = np.linalg.solve(basis.p_x.T, np.atleast_2d(contrasts).T).T
    dr2, dxx = parameter_derivatives(state)
    a = parameter_covariance(state, dr2)
    inverse = np.linalg.inv(state.evaluation.xx.real)
    right = inner @ inverse
    f = np.einsum("mp,mp->m", right, inner)
    # df does not depend on a contrast's size: at f = 1 nothing under- or overflows.
    size = np.sqrt(np.where(f > 0, f, 1.0))
    right, f = right / size[:, None], f / size**2
    slope = np.column_stack([*(-np.einsum("mp,mp->m", right @ part, right) for part in dxx), f])
    variance = np.einsum("mk,mk->m", slope @ a, slope)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(variance > 0, 2.0 * f**2 / variance, np.inf)


# ---------------------------------------------------------------------------------------------------- Kenward-Roger


def information(state: State, covariances: list[np.ndarray]) -> tuple[np.ndarray, complex]:
    """X'V⁻¹X and log|V| as functions of the relative covariances T themselves (defined for singular T too).

    Args:
        covariances: T of every level, innermost first; may be complex.
    """
    criterion = state.criterion
    levels, f = criterion.levels, criterion.factored
    eye = np.eye(levels[0].size)
    root = f.root.transpose(2, 0, 1)
    h = eye + root @ covariances[0] @ root.transpose(0, 2, 1)
    logdet = np.log(np.linalg.det(h)).sum()
    cross = f.cross.transpose(2, 0, 1)
    inner = np.linalg.solve(h, cross)
    products = np.empty((cross.shape[2], cross.shape[2], len(f.starts)), dtype=inner.dtype)
    ends = np.append(f.starts[1:], len(cross))
    for p, (s, e) in enumerate(zip(f.starts, ends, strict=True)):
        products[:, :, p] = np.tensordot(cross[s:e], inner[s:e], axes=([0, 1], [0, 1]))
    c = f.rest + products
    for number in range(1, len(levels)):
        level, t = levels[number], covariances[number]
        if number > 1:
            c = np.add.reduceat(c, np.searchsorted(levels[number - 1].starts, level.starts), axis=2)
        stack = c.transpose(2, 0, 1)
        half = stack[:, level.index]
        h = np.eye(level.size) + t @ half[:, :, level.index]
        logdet = logdet + np.log(np.linalg.det(h)).sum()
        c = (stack - half.transpose(0, 2, 1) @ np.linalg.solve(h, t @ half)).transpose(1, 2, 0)
    x = criterion.problem.basis.x_index
    return c.sum(axis=2)[np.ix_(x, x)], logdet


def kenward_roger(state: State, contrasts: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Adjusted covariance, and degrees of freedom of each fixed effect or of single contrasts.

    Args:
        contrasts: rows on the user's scale of the fixed effects; every fixed effect where left out. (m, p)

    Source: Kenward & Roger (1997), Biometrics 53, 983-997: Φ_A of section 2, the scaled Wald-F of section 3;
    derivatives in the covariance parameters γ = (σ²T, σ²), in which Σ is linear.

    Returns:
        Φ_A (p, p) on the user's scale, df (m,).
    """
    criterion = state.criterion
    levels = criterion.levels
    nu, basis = criterion.nu, criterion.problem.basis
    s2 = state.evaluation.r2.real / nu
    relative = [lam @ lam.T for lam in state.factors]
    entries = [(i, r, c) for i, lv in enumerate(levels) for c in range(lv.size) for r in range(c, lv.size)
               if lv.block[r] == lv.block[c]]  # fmt: skip
    m = len(entries)
    scale = np.array([np.sqrt(_noise(state, i, r) * _noise(state, i, c)) for i, r, c in entries])

    def at(step: np.ndarray) -> tuple[np.ndarray, complex]:
        covariances = [t.astype(complex) for t in relative]
        for value, (i, r, c) in zip(step, entries, strict=True):
            covariances[i][r, c] += value
            if r != c:
                covariances[i][c, r] += value
        return information(state, covariances)

    # In the relative parameters t: C(t) and D(t) = log|V|. First derivatives by complex step, second ones by central
    # differences of those (relative error of order h² = 1e-8, far below what the degrees of freedom are read to).
    h = 1e-4
    base_xx = state.evaluation.xx.real
    p = len(base_xx)
    d1, l1 = np.empty((m, p, p)), np.empty(m)
    d2, l2 = np.empty((m, m, p, p)), np.empty((m, m))
    for j in range(m):
        unit = np.zeros(m, dtype=complex)
        unit[j] = 1e-20j * scale[j]
        xx, log = at(unit)
        d1[j], l1[j] = xx.imag / 1e-20 / scale[j], log.imag / 1e-20 / scale[j]
        for i in range(m):
            move = np.zeros(m, dtype=complex)
            move[i] = h * scale[i]
            (up, lup), (down, ldown) = at(unit + move), at(unit - move)
            d2[i, j] = (up.imag - down.imag) / 1e-20 / scale[j] / (2 * h * scale[i])
            l2[i, j] = (lup.imag - ldown.imag) / 1e-20 / scale[j] / (2 * h * scale[i])
    d2, l2 = 0.5 * (d2 + d2.transpose(1, 0, 2, 3)), 0.5 * (l2 + l2.T)

    # To γ = (σ²t, σ²): I(γ) = C(γ_t/σ²)/σ², log|Σ| = n log σ² + D(γ_t/σ²).
    t = np.array([relative[i][r, c] for i, r, c in entries])
    n = criterion.problem.n_obs
    size = m + 1
    first = np.empty((size, p, p))
    second = np.empty((size, size, p, p))
    trace = np.empty((size, size))
    first[:m] = d1 / s2**2
    td1 = np.tensordot(t, d1, axes=1)
    first[m] = -(base_xx + td1) / s2**2
    second[:m, :m] = d2 / s2**3
    cross = np.tensordot(t, d2, axes=1)
    second[:m, m] = second[m, :m] = -(2.0 * d1 + cross) / s2**3
    second[m, m] = (2.0 * base_xx + 4.0 * td1 + np.tensordot(t, cross, axes=1)) / s2**3
    trace[:m, :m] = -l2 / s2**2
    trace[:m, m] = trace[m, :m] = (l1 + l2 @ t) / s2**2
    trace[m, m] = (n - 2.0 * (t @ l1) - t @ l2 @ t) / s2**2

    phi = s2 * np.linalg.inv(base_xx)
    # tr(Σ⁻¹Σ_iΣ⁻¹Σ_j) = trace; the REML information (Kenward & Roger 1997, p. 985).
    pp = np.einsum("ab,ibc,cd,jda->ij", phi, first, phi, first, optimize=True)
    q_sum = np.einsum("ab,ijba->ij", phi, second, optimize=True)
    info = trace - q_sum + pp
    # In units of each parameter's own information: variances may differ by many orders of magnitude.
    unit = 1.0 / np.sqrt(np.maximum(np.diag(info), 1e-300))
    unit[np.diag(info) <= 0] = 0.0
    values, vectors = np.linalg.eigh(0.5 * info * np.outer(unit, unit))
    good = values > 1e-10 * values.max()
    half = unit[:, None] * vectors[:, good]
    w = (half / values[good]) @ half.T
    middle = np.einsum("ij,ijab->ab", w, 0.5 * second) - np.einsum(
        "ij,iab,bc,jcd->ad", w, first, phi, first, optimize=True
    )
    adjusted = phi + 2.0 * phi @ middle @ phi

    to_user = np.linalg.inv(basis.p_x)
    vectors = to_user if contrasts is None else np.atleast_2d(contrasts) @ to_user
    moved = vectors @ phi
    value = np.einsum("mi,mi->m", moved, vectors)
    g = np.einsum("mi,kij,mj->mk", moved, first, moved, optimize=True) / np.where(value > 0, value, 1.0)[:, None]
    # For one contrast A₁ = A₂ = a, and the four moments matched in section 3 reduce to df = 2/a.
    a = np.einsum("mi,ij,mj->m", g, w, g)
    df = np.where(a > 0, 2.0 / np.where(a > 0, a, 1.0), np.inf)
    adjusted = to_user @ adjusted @ to_user.T * basis.y_scale**2
    return adjusted, df


def _noise(state: State, number: int, row: int) -> float:
    """A typical size of T's diagonal entry: its value, or the noise level 1/mean F where it is smaller."""
    lam = state.factors[number]
    level = state.criterion.levels[number]
    gram = state.criterion.problem.total[level.index[row], level.index[row]] / level.groups
    return float(max((lam @ lam.T)[row, row], 1.0 / max(gram, 1e-300)))
