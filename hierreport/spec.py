"""What a model is, in words that every stage shares: random terms by level, and a rung's specification."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LevelSpec:
    """The random coefficients of one grouping level.

    Attributes:
        level: the level's path, ``"sector/firm"``.
        blocks: names of the columns with a random coefficient at this level; the coefficients within a block are
            correlated, blocks are independent of each other (``(x || firm)`` gives two blocks of one).
    """

    level: str
    blocks: tuple[tuple[str, ...], ...]

    @property
    def terms(self) -> tuple[str, ...]:
        """All columns with a random coefficient at this level, in the order of the blocks."""
        return tuple(term for block in self.blocks for term in block)


@dataclass(frozen=True)
class ModelSpec:
    """One model: a rung or a variant of it.

    Attributes:
        fixed: names of the fixed columns, ``(Intercept)`` first where there is one.
        random: one entry per level, outermost first; empty for pooled OLS.
        errors: ``"iid"``, ``"ar1"`` or ``"car1"``.
        variances: column whose values have residual variances of their own, or None.
        crossed: time column with a crossed random effect, or None.
    """

    fixed: tuple[str, ...]
    random: tuple[LevelSpec, ...] = ()
    errors: str = "iid"
    variances: str | None = None
    crossed: str | None = None
