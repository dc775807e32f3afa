"""Likelihood-ratio tests between nested specifications, with the boundary taken into account.

A variance cannot be negative, so that a test of "no variance" sits on the edge of the parameter space and the statistic
is not chi-squared. Self & Liang (1987, case 5 and 6) and Stram & Lee (1994) give its distribution as a mixture of
chi-squareds; the weights used here:

=====================================================  =============================================
added to the null                                      distribution of the statistic
=====================================================  =============================================
one random term, correlated with q terms of its level  1/2 chi2(q) + 1/2 chi2(q+1)
one independent random term, or a first intercept      1/2 chi2(0) + 1/2 chi2(1)
correlations, fixed effects, AR(1)'s rho               chi2(df): an interior point
several terms, or terms together with other parts      at most 1/2 chi2(df-1) + 1/2 chi2(df)
anything, where the null itself is singular            no mixture known; chi2(df) stands in
=====================================================  =============================================

The fourth line is a bound, not the distribution: the even and the odd weights of a chi-bar-squared add to one half each
unless its cone is a linear space (Shapiro 1988), so that the weight of df and the weight of df-1 are at most one half.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from .records import Record
from .spec import LevelSpec, ModelSpec
from .tails import chi2_sf

# A statistic this small beside the deviance is rounding: both fits are the same point.
_SAME = 1e-10


@dataclass(frozen=True)
class Difference:
    """What the alternative adds to the null.

    Attributes:
        fixed: number of fixed columns added.
        terms: per random term added, (columns in the term, columns of the null that it is correlated with).
        covariances: correlations added between columns that the null has already.
        rho: "" or the kind of serial correlation added ("ar1", "car1").
        other: other parts added ("variances", "crossed").
    """

    fixed: int
    terms: tuple[tuple[int, int], ...]
    covariances: int
    rho: str
    other: tuple[str, ...]


@dataclass(frozen=True)
class Comparison(Record):
    """A likelihood-ratio test by maximum likelihood, as ``ladder.json`` keeps it.

    ``p_boundary`` is None where the test is not defined (not nested, or a fit is missing), and so are the others.
    ``weights`` maps degrees of freedom to the weight of that chi-squared; ``exact`` tells a known distribution from a
    bound or a stand-in, in which case ``note`` says why.
    """

    null: str
    alternative: str
    consecutive: bool
    statistic: float | None
    df: int | None
    p_naive: float | None
    p_boundary: float | None
    mixture: str
    weights: dict[str, float]
    exact: bool
    note: str


def mixture_tail(statistic: float, weights: Mapping[int, float]) -> float:
    """P(mixture >= statistic) for a mixture of chi-squareds with the given weights by degrees of freedom."""
    return 1.0 if statistic <= 0 else sum(w * chi2_sf(statistic, df) for df, w in weights.items())


def mixture_text(weights: Mapping[int, float]) -> str:
    """``{1: .5, 2: .5}`` as ``"0.5 chi2(1) + 0.5 chi2(2)"``."""
    return " + ".join(f"chi2({df})" if w == 1 else f"{w:g} chi2({df})" for df, w in sorted(weights.items()))


def term_label(column: str) -> str:
    """The term that a column belongs to: the dummies ``year[1977]``, ``year[1978]`` … of a factor are one term."""
    label, depth = [], 0
    for char in column:
        depth += char == "["
        if not depth:
            label.append(char)
        depth -= char == "]" and depth > 0
    return "".join(label) or column


def difference(null: ModelSpec, alternative: ModelSpec) -> Difference | None:
    """What ``alternative`` adds to ``null``, or None where ``null`` is not a special case of it."""
    if not set(null.fixed) <= set(alternative.fixed):
        return None
    larger = {spec.level: spec for spec in alternative.random}
    if any(spec.level not in larger for spec in null.random if spec.blocks):
        return None
    smaller = {spec.level: spec for spec in null.random}
    terms: list[tuple[int, int]] = []
    covariances = 0
    for level, spec in larger.items():
        added = _added(smaller.get(level, LevelSpec(level, ())), spec)
        if added is None:
            return None
        terms += added[0]
        covariances += added[1]
    rho, other = "", []
    if null.errors != alternative.errors:
        if null.errors != "iid":
            return None
        rho = alternative.errors
    for name in ("variances", "crossed"):
        before, after = getattr(null, name), getattr(alternative, name)
        if before != after:
            if before is not None:
                return None
            other.append(name)
    fixed = len(set(alternative.fixed) - set(null.fixed))
    return Difference(fixed, tuple(terms), covariances, rho, tuple(other))


def _added(null: LevelSpec, alternative: LevelSpec) -> tuple[list[tuple[int, int]], int] | None:
    """Terms and correlations that one level gains; None where the null's columns do not fit into its blocks."""
    where = {column: i for i, block in enumerate(alternative.blocks) for column in block}
    if any(len({where.get(column) for column in block} | {None}) != 2 for block in null.blocks if block):
        return None
    if any(column not in where for column in null.terms):
        return None
    terms, covariances = [], 0
    for i, block in enumerate(alternative.blocks):
        old = [[c for c in b if where[c] == i] for b in null.blocks]
        kept = sum(map(len, old))
        covariances += (kept * kept - sum(len(b) ** 2 for b in old)) // 2
        sizes: dict[str, int] = {}
        for column in block:
            if column not in null.terms:
                sizes[term_label(column)] = sizes.get(term_label(column), 0) + 1
        terms += [(size, kept) for size in sizes.values()]
    return terms, covariances


def boundary(change: Difference, df: int, *, null_singular: bool = False) -> tuple[dict[int, float], bool, str]:
    """Weights of the mixture for a change, whether they are exact, and a note in words.

    Args:
        change: what is added.
        df: difference in the number of parameters.
        null_singular: whether the null sits on the boundary itself.
    """
    half = {df - 1: 0.5, df: 0.5}
    constrained = bool(change.terms) or change.rho == "car1" or "crossed" in change.other
    if not constrained:
        return {df: 1.0}, True, "No variance is tested: the usual chi-squared applies."
    if null_singular:
        return (
            {df: 1.0},
            False,
            "The null model is itself singular, so that no mixture is known; the naive p-value stands in "
            "and a simulated one is to be preferred.",
        )
    parts = len(change.terms) + bool(change.fixed) + bool(change.covariances) + bool(change.rho) + len(change.other)
    if parts == 1 and (not change.terms or change.terms[0][0] == 1):
        return half, True, ""
    if len(change.terms) > 1:
        why = f"{len(change.terms)} random terms are added at once"
    elif change.terms and change.terms[0][0] > 1:
        why = f"the term added has {change.terms[0][0]} columns"
    else:
        why = "a variance is added together with other parts"
    return half, False, f"Approximate, on the safe side: {why}; the true p-value is at most this one (Shapiro 1988)."


def test(
    null: tuple[str, ModelSpec, Mapping],
    alternative: tuple[str, ModelSpec, Mapping],
    *,
    consecutive: bool = False,
) -> Comparison:
    """Likelihood-ratio test of ``null`` within ``alternative``.

    Args:
        null, alternative: name, specification and the ML estimate (a record or its dictionary with ``loglik``,
            ``n_par``, ``singular`` and ``converged``).
        consecutive: whether the two are neighbours on the ladder.

    Returns:
        The comparison; statistic and p-values are None where ``null`` is not nested in ``alternative``.
    """
    (name0, spec0, ml0), (name1, spec1, ml1) = null, alternative
    change = difference(spec0, spec1)
    df = int(ml1["n_par"] - ml0["n_par"])
    if change is None or df <= 0:
        if change is None and spec1.crossed and set(spec1.fixed) < set(spec0.fixed):
            why = f"{name1} has a random effect of {spec1.crossed} in place of the fixed ones; compare AIC or BIC"
        elif change is None:
            why = f"{name0} is not a special case of {name1}"
        else:
            why = f"{name1} has no parameter more than {name0}"
        return Comparison(name0, name1, consecutive, None, None, None, None, "", {}, False, f"No test: {why}.")
    raw = 2.0 * (ml1["loglik"] - ml0["loglik"])
    rounding = _SAME * max(1.0, abs(ml0["loglik"]))
    statistic = 0.0 if abs(raw) <= rounding else raw
    weights, exact, note = boundary(change, df, null_singular=bool(ml0["singular"]))
    notes = [note] if note else []
    if exact and change.terms and spec0.errors == spec1.errors != "iid" and _first_intercept(spec0, spec1):
        exact = False
        notes.append(
            "Approximate: serial correlation near one is nearly the same thing as an intercept per group, so that the "
            "mixture holds in large samples only; a simulated p-value is to be preferred."
        )
    if raw < -max(rounding, 1e-6):
        notes.append("The larger model's likelihood is lower: its optimum was not found.")
    elif not (ml0["converged"] and ml1["converged"]):
        notes.append("One of the two fits did not converge.")
    return Comparison(
        name0,
        name1,
        consecutive,
        statistic if math.isfinite(statistic) else None,
        df,
        chi2_sf(statistic, df),
        mixture_tail(statistic, weights),
        mixture_text(weights),
        {str(k): v for k, v in sorted(weights.items())},
        exact,
        " ".join(notes),
    )


def _first_intercept(null: ModelSpec, alternative: ModelSpec) -> bool:
    """Whether the alternative has a random intercept at a level where the null has none."""
    before = {s.level for s in null.random if "(Intercept)" in s.terms}
    return any("(Intercept)" in s.terms and s.level not in before for s in alternative.random)


def describe_addition(null: ModelSpec, alternative: ModelSpec) -> str:
    """What the alternative adds, in a few words: ``slope of log(capital) by sector/firm``."""
    change = difference(null, alternative)
    if change is None:
        return "another structure"
    before = {(s.level, c) for s in null.random for c in s.terms}
    parts = []
    for level in alternative.random:
        new = [c for c in level.terms if (level.level, c) not in before]
        for label in dict.fromkeys(term_label(c) for c in new):
            parts.append(
                f"intercepts by {level.level}" if label == "(Intercept)" else f"slopes of {label} by {level.level}"
            )
    if change.covariances:
        parts.append("correlations")
    if change.rho:
        parts.append("serially correlated errors")
    if change.fixed:
        parts.append(f"{change.fixed} fixed effect{'s' if change.fixed > 1 else ''}")
    return " and ".join(parts) or "nothing"
