"""Coordinates for profiles: one parameter apart from the rest, and how derivatives are carried over.

A profile needs a parameter, say a correlation on the user's scale, as a coordinate of its own. T of a block is written
as A L L'A' with L lower triangular in the user's units and the coefficient (or the pair) in question first, so that its
standard deviation is L's first entry, and a correlation the angle of L's second row. Shares of variance scale a factor.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .profile_layout import LIFT, Block, Layout


class Coordinate:
    """A parameter c apart from the others η: x = decode(c, η).

    Attributes:
        layout: what x means.
        low, high: the range of c; attainable ends are the boundary of the parameter space.
        at: the place of x that η lacks.
    """

    low, high = -np.inf, np.inf
    at: int

    def __init__(self, layout: Layout) -> None:
        self.layout = layout

    def decode(self, c: float, eta: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def encode(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        raise NotImplementedError

    def pull(self, c: float, eta: np.ndarray, gradient: np.ndarray) -> tuple[float, np.ndarray]:
        """Derivatives with respect to c and η from those with respect to x."""
        raise NotImplementedError

    def value(self, c: float) -> float:
        """The parameter on the scale on which it is reported."""
        return c


class Entry(Coordinate):
    """One of the coordinates itself, log σ or a parameter of the errors, with the function that it is reported by."""

    def __init__(self, layout: Layout, at: int, value: Callable[[float], float]) -> None:
        super().__init__(layout)
        self.at, self._value = at, value

    def decode(self, c, eta):
        return np.insert(eta, self.at, c)

    def encode(self, x):
        return float(x[self.at]), np.delete(x, self.at)

    def pull(self, c, eta, gradient):
        return float(gradient[self.at]), np.delete(gradient, self.at)

    def value(self, c):
        return self._value(c)


class Deviation(Coordinate):
    """A standard deviation c in units of the estimated residual one: the first entry of its block's L is cσ̂/σ."""

    low = 0.0

    def __init__(self, layout: Layout, block: Block, sigma: float) -> None:
        super().__init__(layout)
        self.at = int(block.inside[0][0])
        self.log_sigma = float(layout.x_hat[-1])
        self.sigma = sigma

    def decode(self, c, eta):
        return np.insert(eta, self.at, c * np.exp(self.log_sigma - eta[-1]))

    def encode(self, x):
        return float(abs(x[self.at]) * np.exp(x[-1] - self.log_sigma)), np.delete(x, self.at)

    def pull(self, c, eta, gradient):
        ratio = np.exp(self.log_sigma - eta[-1])
        by_eta = np.delete(gradient, self.at)
        by_eta[-1] -= gradient[self.at] * c * ratio
        return float(gradient[self.at] * ratio), by_eta

    def value(self, c):
        return float(c * self.sigma)


class Correlation(Coordinate):
    """A correlation sin c between the first two coefficients of a block: L's second row is s (sin c, cos c)."""

    low, high = -0.5 * np.pi, 0.5 * np.pi

    def __init__(self, layout: Layout, block: Block) -> None:
        super().__init__(layout)
        self.at, self.down = int(block.inside[0][1]), int(block.inside[0][2])
        self.first = int(block.inside[0][0])

    def decode(self, c, eta):
        # η keeps s in the place of the second diagonal entry. A standard deviation that crosses zero does not turn the
        # correlation's sign: both count by their size.
        x = np.insert(eta, self.at, 0.0)
        s = abs(x[self.down])
        x[self.at], x[self.down] = self._sign(eta) * s * np.sin(c), s * np.cos(c)
        return x

    def _sign(self, eta):
        return -1.0 if np.insert(eta, self.at, 0.0)[self.first] < 0 else 1.0

    def encode(self, x):
        sign = -1.0 if x[self.first] < 0 else 1.0
        c = float(np.arctan2(sign * x[self.at], abs(x[self.down])))
        x = x.copy()
        x[self.down] = np.hypot(x[self.at], x[self.down])
        x[self.first] = abs(x[self.first])
        return c, np.delete(x, self.at)

    def pull(self, c, eta, gradient):
        s, across = eta[self.down - 1], self._sign(eta) * gradient[self.at]
        by_c = abs(s) * (across * np.cos(c) - gradient[self.down] * np.sin(c))
        by_s = (across * np.sin(c) + gradient[self.down] * np.cos(c)) * (-1.0 if s < 0 else 1.0)
        by_eta = np.delete(gradient, self.at)
        by_eta[self.down - 1] = by_s
        return float(by_c), by_eta

    def value(self, c):
        return float(np.sin(c))


class Share(Coordinate):
    """A share of the mean variance: of one component (sin² c), or of the residual (cos² c).

    The component's L (all of them for the residual) is κ times what η says of it, with the κ that gives the share; its
    largest entry stays as it is, since κ takes its place.

    Args:
        layout: all blocks in working units.
        grams: mean products of each component's Z over rows. (k, k) each
        component: its number; None for the residual.
        spread: gives the residual's mean variance over rows, relative to σ², and its derivatives, at φ.
    """

    low, high = 0.0, 0.5 * np.pi

    def __init__(
        self,
        layout: Layout,
        grams: list[np.ndarray],
        component: int | None,
        spread: Callable[[np.ndarray], tuple[float, np.ndarray]],
    ) -> None:
        super().__init__(layout)
        self.grams, self.spread = grams, spread
        self.mine = [b for b in layout.blocks if component is None or b.number == component]
        self.others = [b for b in layout.blocks if b not in self.mine]
        self.residual = component is None
        self.scaled = np.zeros(layout.size, dtype=bool)
        for block in self.mine:
            self.scaled[block.inside[0]] = True
        start = np.where(self.scaled, np.abs(layout.x_hat), -1.0)
        self.at = int(np.argmax(start))
        # A component whose estimate is zero has no direction: all its coefficients alike.
        self.empty = not start[self.at] > 0
        self.anchor = LIFT if self.empty else float(layout.x_hat[self.at])

    def _mean_variance(self, x: np.ndarray, blocks: list[Block]) -> tuple[float, np.ndarray]:
        """Mean variance over rows, relative to σ², and its derivatives."""
        total, slope = 0.0, np.zeros(len(x))
        for block in blocks:
            at, i, j = block.inside
            lower = self.layout.lower(x, block)
            gram = self.grams[block.number][np.ix_(block.rows, block.rows)]
            half = block.to_work.T @ gram @ block.to_work @ lower
            total += float(np.sum(lower * half))
            slope[at] = 2.0 * half[i, j]
        return total, slope

    def _rest(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        """Mean variance of everything else, the residual's too, and its derivatives."""
        total, slope = self._mean_variance(x, self.others)
        own, slope[self.layout.phi_at] = self.spread(x[self.layout.phi_at])
        return total + own, slope

    def decode(self, c, eta):
        x = np.insert(eta, self.at, self.anchor)
        mine, rest = self._mean_variance(x, self.mine)[0], self._rest(x)[0]
        return np.where(self.scaled, np.tan(c) * np.sqrt(rest / mine) * x, x)

    def encode(self, x):
        mine, rest = self._mean_variance(x, self.mine)[0], self._rest(x)[0]
        x = x.copy()
        if self.empty and not mine > 0:
            for block in self.mine:
                at, i, j = block.inside
                x[at] = LIFT * (i == j)
        elif x[self.at] != 0:
            x[self.scaled] *= self.anchor / x[self.at]
        return float(np.arctan(np.sqrt(mine / rest))), np.delete(x, self.at)

    def pull(self, c, eta, gradient):
        x = np.insert(eta, self.at, self.anchor)
        mine, by_mine = self._mean_variance(x, self.mine)
        rest, by_rest = self._rest(x)
        root = np.sqrt(rest / mine)
        kappa = np.tan(c) * root
        along = float(gradient[self.scaled] @ x[self.scaled])
        by_x = np.where(self.scaled, kappa * gradient, gradient)
        by_x = by_x + along * kappa * 0.5 * (by_rest / rest - by_mine / mine)
        return along * root / np.cos(c) ** 2, np.delete(by_x, self.at)

    def value(self, c):
        return float(np.cos(c) ** 2 if self.residual else np.sin(c) ** 2)
