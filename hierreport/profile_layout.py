"""Coordinates of a model for profiles: T of a block as A L L'A', L lower triangular in any units and order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .problem import Level
from .profile_criterion import FullParameters
from .smallmat import cholesky_semidefinite

LIFT = 0.02
# A zero standard deviation's scale, in units of the residual one.
FLOOR = 0.1


@dataclass(frozen=True)
class Block:
    """A block of correlated coefficients.

    Attributes:
        members: its coefficients, in the order in which L is triangular. (k)
        to_work: A, with Λ = A L for the block's rows of Λ. (k, k)
        rows: the block's coefficients in their own order (rows of Λ). (k)
        inside: places of L's lower triangle in the coordinates, and its rows and columns. (k(k+1)/2,) each
        full: places of Λ's entries in the full θ. (k, k)
    """

    number: int
    members: np.ndarray
    rows: np.ndarray
    to_work: np.ndarray
    inside: tuple[np.ndarray, np.ndarray, np.ndarray]
    full: np.ndarray


class Layout:
    """Coordinates x = (L of every block, error parameters, log σ).

    Args:
        components: levels of random coefficients, innermost first, then a crossed factor.
        covariances: T at the optimum, which gives the order of coefficients.
        phi: error parameters.
        log_sigma: at the optimum, working scale.
        first: number of a component and the coefficients that come first in their block, in the user's units.
    """

    def __init__(
        self,
        components: tuple[Level, ...],
        covariances: list[np.ndarray],
        phi: np.ndarray,
        log_sigma: float,
        first: tuple[int, tuple[int, ...]] | None = None,
    ) -> None:
        self.parameters = FullParameters(components, len(phi))
        place = {entry: i for i, entry in enumerate(self.parameters.entries)}
        self.blocks: list[Block] = []
        size = 0
        for number, level in enumerate(components):
            for b in range(level.block.max() + 1):
                rows = np.flatnonzero(level.block == b)
                ahead = [m for m in first[1] if m in rows] if first is not None and first[0] == number else []
                order = ahead + [m for m in rows[np.argsort(-np.diag(covariances[number])[rows])] if m not in ahead]
                where = np.searchsorted(rows, order)
                r = level.to_raw[np.ix_(rows, rows)] if ahead else np.eye(len(rows))
                i, j = np.tril_indices(len(rows))
                inside = (size + np.arange(len(i)), i, j)
                full = np.array([[place[number, int(p), int(q)] for q in rows] for p in rows])
                self.blocks.append(Block(number, np.array(order), rows, r[:, where], inside, full))
                size += len(i)
        self.n_lambda = size
        self.sizes = [level.size for level in components]
        self.phi_at = np.arange(size, size + len(phi))
        self.size = size + len(phi) + 1
        self.n_full = len(self.parameters.entries)
        self.x_hat = self.from_covariances(covariances, phi, log_sigma)

    def from_covariances(self, covariances: list[np.ndarray], phi: np.ndarray, log_sigma: float) -> np.ndarray:
        """Coordinates of T, φ and log σ."""
        x = np.zeros(self.size)
        for block in self.blocks:
            back = np.linalg.inv(block.to_work)
            t = back @ covariances[block.number][np.ix_(block.rows, block.rows)] @ back.T
            at, i, j = block.inside
            x[at] = cholesky_semidefinite(t[:, :, None], np.array([1e-12]))[:, :, 0].T[i, j]
        x[self.phi_at] = phi
        x[-1] = log_sigma
        return x

    def lower(self, x: np.ndarray, block: Block) -> np.ndarray:
        """L of a block. (k, k)"""
        at, i, j = block.inside
        out = np.zeros((len(block.rows), len(block.rows)), dtype=x.dtype)
        out[i, j] = x[at]
        return out

    def covariances(self, x: np.ndarray) -> list[np.ndarray]:
        """T of every component."""
        out = [np.zeros((n, n)) for n in self.sizes]
        for block in self.blocks:
            factor = block.to_work @ self.lower(x, block)
            out[block.number][np.ix_(block.rows, block.rows)] = factor @ factor.T
        return out

    def sizes_of(self, x: np.ndarray) -> np.ndarray:
        """Typical size of each coordinate: a coefficient's standard deviation for its row of L, one for logarithms."""
        out = np.ones(self.size)
        for block in self.blocks:
            at, i, _ = block.inside
            floor = FLOOR * np.linalg.norm(np.linalg.inv(block.to_work), axis=1)
            out[at] = np.maximum(np.linalg.norm(self.lower(x, block), axis=1), floor)[i]
        return out

    def to_full(self, x: np.ndarray) -> np.ndarray:
        """θ of ``FullParameters``."""
        theta = np.empty(self.n_full + len(self.phi_at), dtype=x.dtype)
        for block in self.blocks:
            theta[block.full] = block.to_work @ self.lower(x, block)
        theta[self.n_full :] = x[self.phi_at]
        return theta

    def pull(self, gradient: np.ndarray, by_log_sigma: float) -> np.ndarray:
        """Derivatives with respect to x from those with respect to θ and log σ."""
        out = np.empty(self.size)
        for block in self.blocks:
            at, i, j = block.inside
            out[at] = (block.to_work.T @ gradient[block.full])[i, j]
        out[self.phi_at] = gradient[self.n_full :]
        out[-1] = by_log_sigma
        return out
