"""Fits and ladders as plain text, for the console and for notebooks."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .absorbed import AbsorbedEstimate
    from .api import Fit, Ladder
    from .records import FixedEffect

# Strata whose residual standard deviation is shown.
MOST_STRATA = 12


def fit_text(fit: Fit) -> str:
    """A fit: formula, sizes, fixed effects, variance components, shares of variance, criteria, warnings."""
    reml, ml = fit.reml, fit.ml
    sizes = "".join(f"; {count:,} {level}" for level, count in fit.groups.items())
    errors = "" if fit.spec.errors == "iid" else f", {fit.spec.errors} errors (rho = {reml.rho:.4f})"
    lines = [f"{fit.rung}: {fit.formula}", f"{reml.method} estimates{errors}; {fit.n_obs:,} rows{sizes}", ""]
    lines += _effects(reml.fixed)
    parts = []
    for level in reml.random:
        for i, term in enumerate(level.terms):
            corr = " ".join("." if c is None else f"{c:+.2f}" for c in level.corr[i][:i])
            parts.append((level.level if i == 0 else "", term, number(level.sd[i]), corr))
    parts += residual_parts(fit)
    lines += ["", *table(("level", "random effect", "sd", "correlations"), parts, text=2)]
    shares = ", ".join(f"{name} {100 * share:.1f} %" for name, share in reml.icc.items())
    lines += [
        "",
        f"variance by level: {shares}",
        f"R2: marginal {reml.r2['marginal']:.3f}, conditional {reml.r2['conditional']:.3f}",
        f"log-likelihood (ML) {ml.loglik:.4f}, AIC {ml.aic:.2f}, BIC {ml.bic:.2f}; REML criterion {reml.deviance:.4f}",
    ]
    return "\n".join(lines + [f"! {text}" for text in fit.warnings])


def residual_parts(fit: Fit) -> list[tuple[str, str, str, str]]:
    """Rows of the residual standard deviation; with unequal variances one per stratum, of many the first."""
    if fit.spec.variances is None:
        return [("residual", "", number(fit.reml.sigma), "")]
    sigmas = list(fit.engine.reml_state.stratum_sigmas.items())
    out = [("residual", f"{fit.spec.variances} {name}", number(sd), "") for name, sd in sigmas[:MOST_STRATA]]
    left = len(sigmas) - MOST_STRATA
    return out + ([("residual", f"and {left} more", "", "")] if left > 0 else [])


def _effects(fixed: Sequence[FixedEffect]) -> list[str]:
    rows = [
        (
            f.term,
            number(f.estimate),
            number(f.se),
            "" if f.df is None else f"{f.df:.1f}",
            f"{f.statistic:.2f}",
            p_value(f.p),
            f"[{number(f.ci_low)}, {number(f.ci_high)}]",
        )
        for f in fixed
    ]
    return table(("fixed effect", "estimate", "se", "df", "t", "p", "95 % interval"), rows)


def absorbed_text(found: AbsorbedEstimate) -> str:
    """Least squares with absorbed effects: what was absorbed, sizes, coefficients with clustered errors."""
    clusters = ", ".join(f"{count:,} {level}" for level, count in found.clusters.items())
    lines = [
        f"fixed effects absorbed: {', '.join(found.absorbed)}",
        f"least squares, errors clustered by {clusters} (CR1); {found.n_obs:,} rows",
        "",
        *_effects(found.fixed),
        "",
        f"R2 within {found.r2_within:.3f}, sigma {number(found.sigma)}, residual df {found.df:,}",
    ]
    if found.dropped:
        lines.append(f"! explained by the absorbed effects and left out: {', '.join(found.dropped)}")
    return "\n".join(lines + [f"! {text}" for text in found.notes])


def ladder_text(ladder: Ladder) -> str:
    """A ladder: a line per rung with its test against the one before, the choice and its reasons."""
    before = {c.alternative: c for c in ladder.comparisons if c.consecutive}
    rows = []
    for name, fit in ladder.rungs.items():
        test = before.get(name)
        mark = "→ " if name == ladder.choice.rung else "  "
        rows.append(
            (
                mark + name,
                f"{fit.ml.loglik:.2f}",
                str(fit.ml.n_par),
                f"{fit.ml.aic:.1f}",
                f"{fit.ml.bic:.1f}",
                "" if test is None or test.statistic is None else f"{test.statistic:.2f}",
                "" if test is None or test.p_boundary is None else p_value(test.p_boundary),
                "singular" if fit.ml.singular or fit.reml.singular else "",
            )
        )
    lines = table(("  rung", "logLik", "par", "AIC", "BIC", "LR", "p", ""), rows)
    refused = [r for r in ladder.register if r["rung"] not in ladder.rungs]
    lines += [f"  {r['rung']}: {r['fate']}" for r in refused]
    return "\n".join([*lines, "", ladder.choice.reason, ladder.choice.sentence])


def table(header: Sequence[str], rows: Sequence[Sequence[str]], text: int = 1) -> list[str]:
    """Columns aligned: the first ``text`` to the left, the others to the right."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    return [
        "  ".join(
            c.ljust(w) if i < text else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in [header, *rows]
    ]


def number(value: float) -> str:
    """Five significant digits, no exponent for ordinary sizes."""
    return f"{value:.5g}"


def p_value(p: float) -> str:
    """Three decimals, with a floor."""
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def as_html(text: str) -> str:
    """Text for a notebook."""
    return f'<pre style="line-height:1.25;overflow-x:auto">{escape(text)}</pre>'
