"""Products through V⁻¹ = (I + Σ Z T Z')⁻¹ of a crossed model at given parameters, and how they change with them.

With e the factor that is eliminated first and d the dense rest (``crossed_design``), C = [Z_d W]'V_e⁻¹[Z_d W],
N = Λ(I + Λ'C_ddΛ)⁻¹Λ', D = Z_e'V_e⁻¹Z_d and B = Z_e'V_e⁻¹Z_e, blockwise:

    Z_d'V⁻¹Z_d = C_dd − C_dd N C_dd,   Z_e'V⁻¹Z_d = D J,   Z_e'V⁻¹Z_e = B − D N D',   J = I − N C_dd,

and any Q = Z'V⁻¹Z changes with T by dQ = −Q dT Q.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np

from .crossed_design import Design
from .crossed_rows import pairs
from .problem import Level
from .smallmat import cholesky_lower, solve_lower
from .spd import inverse_and_logdet

# Q of a dense component comes from I − (I + Λ'CΛ)⁻¹ where the least eigenvalue of its mean block is this large.
CLEAR = 1e-4


class Solved:
    """One value of the factors Λ of all components (real); what is asked for is computed once.

    Args:
        design: from ``crossed_design``.
        components: as in the problem.
        factors: Λ of each.

    Raises:
        numpy.linalg.LinAlgError: the factors are too large for the products' rounding.
    """

    def __init__(self, design: Design, components: tuple[Level, ...], factors: list[np.ndarray]) -> None:
        self.design, self.components, self.factors = design, components, factors
        lam, root = factors[design.first], design.root
        k = len(lam)
        # I + R T R' per block of e, and L⁻¹ for its factor L.
        scaled = np.matmul(lam.T, root)
        h = np.einsum("iag,jag->ijg", scaled, scaled)
        lower = cholesky_lower(h + np.eye(k)[:, :, None])
        self.half = solve_lower(lower, np.broadcast_to(np.eye(k)[:, :, None], lower.shape))
        self.logdet = 2.0 * sum(float(np.log(lower[i, i]).sum()) for i in range(k))
        rows = design.rows.mapped(self.half)
        cross = np.einsum("abg,bqg->aqg", self.half, design.cross)
        flat = cross.transpose(1, 0, 2).reshape(cross.shape[1], -1)
        self.c_dd = design.dd + rows.gram()
        c_dw = design.dw + rows.transposed_times(cross)
        inner = self._scaled(self._scaled(self.c_dd).T)
        inner[np.diag_indices(len(inner))] += 1.0
        self.inverse, log = inverse_and_logdet(inner)
        self.logdet += log
        # The predictions of d's effects from W, N C_dW, after a step of iterative refinement: where random effects are
        # a thousand times the noise the inverse alone has seven digits less. The total is then right to second order.
        right = self._scaled(c_dw)
        spherical = self.inverse @ right
        rest = right - spherical - self._scaled(self.c_dd @ self._unscaled(spherical))
        spherical += self.inverse @ rest
        self.coefficients = self._unscaled(spherical)
        self.r_dense = c_dw - self.c_dd @ self.coefficients
        part = self.coefficients.T @ c_dw
        total = design.ww + flat @ flat.T - part - self.r_dense.T @ self.coefficients + spherical.T @ spherical
        self.total = 0.5 * (total + total.T)

    def parts(self, matrix: np.ndarray) -> list[np.ndarray]:
        """The rows of every dense component. (k, groups, ...) each"""
        out = []
        for i, number in enumerate(self.design.dense):
            a, b = self.design.offsets[i : i + 2]
            k = self.components[number].size
            out.append(matrix[a:b].reshape(k, (b - a) // k, *matrix.shape[1:]))
        return out

    def _apply(self, matrix: np.ndarray, which: str) -> np.ndarray:
        out = np.empty_like(matrix)
        for number, source, target in zip(self.design.dense, self.parts(matrix), self.parts(out), strict=True):
            lam = self.factors[number]
            left = lam if which == "plain" else lam.T if which == "transposed" else np.linalg.inv(lam.T)
            if len(lam) == 1:
                np.multiply(source, left[0, 0], out=target)
            else:
                target[...] = (left @ source.reshape(len(lam), -1)).reshape(source.shape)
        return out

    def _scaled(self, matrix: np.ndarray) -> np.ndarray:
        """Λ' matrix, for the dense components."""
        return self._apply(matrix, "transposed")

    def _unscaled(self, matrix: np.ndarray) -> np.ndarray:
        """Λ matrix."""
        return self._apply(matrix, "plain")

    @cached_property
    def n(self) -> np.ndarray:
        """N = Λ(I + Λ'C_ddΛ)⁻¹Λ'."""
        return self._unscaled(self._unscaled(self.inverse).T)

    @cached_property
    def maps(self) -> np.ndarray:
        """R'(LL')⁻¹ per block of e."""
        weighed = np.einsum("bag,bcg->acg", self.half, self.half)
        return np.einsum("bag,bcg->acg", self.design.root, weighed)

    @cached_property
    def rows(self):
        """D."""
        return self.design.rows.mapped(self.maps)

    @cached_property
    def b(self) -> np.ndarray:
        """B, per block. (k, k, G)"""
        return np.einsum("abg,bcg->acg", self.maps, self.design.root)

    @cached_property
    def r(self) -> list[np.ndarray]:
        """Z'V⁻¹W of every component. (k, q, groups)"""
        out = [np.zeros(0)] * len(self.components)
        for number, part in zip(self.design.dense, self.parts(self.r_dense), strict=True):
            out[number] = part.transpose(0, 2, 1)
        eliminated = np.einsum("abg,bqg->aqg", self.maps, self.design.cross)
        out[self.design.first] = eliminated - self.rows.times(self.coefficients)
        return out

    @cached_property
    def clear(self) -> list[bool]:
        """Whether I − (I + Λ'CΛ)⁻¹ = Λ'QΛ of a dense component subtracts no almost equal numbers, Λ being regular."""
        out = []
        for i, number in enumerate(self.design.dense):
            a, b = self.design.offsets[i : i + 2]
            k = self.components[number].size
            mean = np.eye(k) - _trace_blocks(self.inverse[a:b, a:b], k) * (k / (b - a))
            out.append(bool(np.linalg.eigvalsh(mean)[0] > CLEAR))
        return out

    @cached_property
    def sums(self) -> list[np.ndarray]:
        """Σ_g Z_g'V⁻¹Z_g of every component. (k, k) each"""
        out = [np.zeros(0)] * len(self.components)
        for i, number in enumerate(self.design.dense):
            a, b = self.design.offsets[i : i + 2]
            lam = self.factors[number]
            if self.clear[i]:
                left = np.eye(len(lam)) * ((b - a) // len(lam)) - _trace_blocks(self.inverse[a:b, a:b], len(lam))
                out[number] = np.linalg.solve(lam.T, np.linalg.solve(lam.T, left).T)
            else:
                columns = self.c_dd[:, a:b]
                out[number] = _trace_blocks(columns[a:b] - columns.T @ (self.n @ columns), len(lam))
        out[self.design.first] = self.b.sum(axis=2) - self.rows.quadratic_sum(self.n)
        return out

    def conditional(self, number: int) -> np.ndarray:
        """T − TZ_g'V⁻¹Z_gT of every group of a component. (k, k, groups)"""
        lam = self.factors[number]
        if number != self.design.first:
            i = self.design.dense.index(number)
            a, b = self.design.offsets[i : i + 2]
            k = len(lam)
            return np.einsum("agbg->abg", self.n[a:b, a:b].reshape(k, (b - a) // k, k, (b - a) // k))
        # Of e on its own Λ(I + Λ'Z'ZΛ)⁻¹Λ', and what the rest leaves uncertain.
        scaled = np.einsum("ijg,jl->ilg", self.design.root, lam)
        h = np.einsum("iag,ibg->abg", scaled, scaled) + np.eye(len(lam))[:, :, None]
        half = solve_lower(cholesky_lower(h), np.broadcast_to(lam.T[:, :, None], h.shape))
        t = lam @ lam.T
        seen = np.einsum("ab,bcg,cd->adg", t, self.own, t, optimize=True)
        return np.einsum("aig,ajg->ijg", half, half) + seen

    # ------------------------------------------------------------------ change with T

    @cached_property
    def j(self) -> np.ndarray:
        """J = I − N C_dd = Λ(I + Λ'C_ddΛ)⁻¹Λ⁻¹."""
        if all(self.clear):
            return self._unscaled(self._apply(self.inverse, "inverse").T)
        out = -self.n @ self.c_dd
        out[np.diag_indices(len(out))] += 1.0
        return out

    @cached_property
    def q_dense(self) -> np.ndarray:
        """Z_d'V⁻¹Z_d."""
        if all(self.clear):
            rest = np.eye(len(self.inverse)) - self.inverse
            return self._apply(self._apply(rest, "inverse").T, "inverse")
        out = self.c_dd @ self.j
        return 0.5 * (out + out.T)

    @cached_property
    def own(self) -> np.ndarray:
        """D N D' of every block of e. (k, k, G)"""
        return self.rows.quadratic(self.n)

    @cached_property
    def curvature(self) -> dict[tuple[int, int], np.ndarray]:
        """−Σ_gh Z_g'V⁻¹Z_h dT Z_h'V⁻¹Z_g by the entries of a symmetric dT: from component h's pairs to g's. (g, h) ->
        (pairs of g, pairs of h)"""
        out: dict[tuple[int, int], np.ndarray] = {}
        first, dense, offsets = self.design.first, self.design.dense, self.design.offsets
        for i, one in enumerate(dense):
            for j, two in enumerate(dense[: i + 1]):
                block = self.q_dense[offsets[i] : offsets[i + 1], offsets[j] : offsets[j + 1]]
                k, m = self.components[one].size, self.components[two].size
                block = block.reshape(k, len(block) // k, m, -1)
                out[one, two] = _products(block)
                out[two, one] = _products(block.transpose(2, 3, 0, 1))
        lam = self.factors[first]
        grams = self.rows.grams()
        through = [self.n @ gram for gram in grams]
        seen = [gram @ self.j for gram in grams]
        for i, number in enumerate(dense):
            a, b = offsets[i : i + 2]
            k = self.components[number].size
            shape = (len(self.j), k, (b - a) // k)
            mine = self.j[:, a:b].reshape(shape)
            table = np.empty((len(pairs(k)), len(grams)))
            for column, matrix in enumerate(seen):
                theirs = matrix[:, a:b].reshape(shape)
                table[:, column] = [
                    0.5 * (np.vdot(mine[:, s], theirs[:, t]) + np.vdot(mine[:, t], theirs[:, s])) for s, t in pairs(k)
                ]
            out[number, first] = -table * _twice(len(lam))
            out[first, number] = -table.T * _twice(k)
        table = np.empty((len(grams), len(grams)))
        for column, (s, t) in enumerate(pairs(len(lam))):
            unit = np.zeros((len(lam), len(lam)))
            unit[s, t] += 0.5
            unit[t, s] += 0.5
            left = np.einsum("abg,bc->acg", self.b, unit)
            whole = np.einsum("abg,bcg->ac", left, self.b - 2.0 * self.own)
            whole = 0.5 * (whole + whole.T)
            for row, (u, v) in enumerate(pairs(len(lam))):
                table[row, column] = whole[u, v] + np.vdot(through[row].T, through[column])
        out[first, first] = -table * _twice(len(lam))
        return out

    def step(self, changes: list[np.ndarray], rows: bool) -> tuple:
        """First-order change with dT of every component: of logdet and total; of r and sums too where asked for."""
        first, dense = self.design.first, self.design.dense
        logdet = sum(float(np.vdot(s, change)) for s, change in zip(self.sums, changes, strict=True))
        moved = [np.tensordot(change, r, axes=1) for change, r in zip(changes, self.r, strict=True)]
        total = -sum(np.einsum("aqg,arg->qr", m, r, optimize=True) for m, r in zip(moved, self.r, strict=True))
        if not rows:
            return logdet, total
        q = len(self.total)
        in_dense = [moved[number].transpose(0, 2, 1).reshape(-1, q) for number in dense]
        stacked = np.concatenate(in_dense) if in_dense else np.zeros((0, q))
        own = self.rows.transposed_times(moved[first])
        by_dense = -(self.q_dense @ stacked + self.j.T @ own)
        r = [np.zeros(0)] * len(changes)
        for number, part in zip(dense, self.parts(by_dense), strict=True):
            r[number] = part.transpose(0, 2, 1)
        through = self.rows.times(self.j @ stacked - self.n @ own)
        r[first] = -(through + np.einsum("abg,bqg->aqg", self.b, moved[first]))
        sums = []
        for number, level in enumerate(self.components):
            entries = np.zeros(len(pairs(level.size)))
            for other, change in enumerate(changes):
                entries += self.curvature[number, other] @ [change[a, b] for a, b in pairs(len(change))]
            matrix = np.empty((level.size, level.size))
            for (a, b), value in zip(pairs(level.size), entries, strict=True):
                matrix[a, b] = matrix[b, a] = value
            sums.append(matrix)
        return logdet, total, r, sums


def _trace_blocks(matrix: np.ndarray, k: int) -> np.ndarray:
    """Sum of the groups' own blocks of a (k groups, k groups) matrix. (k, k)"""
    groups = len(matrix) // k
    return np.einsum("agbg->ab", matrix.reshape(k, groups, k, groups))


def _twice(k: int) -> np.ndarray:
    """How often each entry of ``pairs`` stands in a symmetric matrix."""
    return np.array([1.0 if a == b else 2.0 for a, b in pairs(k)])


def _products(block: np.ndarray) -> np.ndarray:
    """−Σ_gh block_g.h. dT block_g.h.' for every pair; block (k, G, m, H). (pairs of k, pairs of m)"""
    k, _, m, _ = block.shape
    flat = np.ascontiguousarray(block.transpose(0, 2, 1, 3)).reshape(k * m, -1)
    gram = (flat @ flat.T).reshape(k, m, k, m)
    out = np.empty((len(pairs(k)), len(pairs(m))))
    for row, (a, b) in enumerate(pairs(k)):
        out[row] = [-0.5 * (gram[a, c, b, d] + gram[a, d, b, c]) for c, d in pairs(m)]
    return out * _twice(m)
