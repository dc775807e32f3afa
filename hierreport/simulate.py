"""A daily stock panel with a known truth: sectors, firms, trading days, missing days, chosen variances."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hierreport.errors import ConfigError

if TYPE_CHECKING:
    import pyarrow as pa

CHUNK_ROWS = 400_000
FORMULA = "ret ~ market + volume{extra} + (1 + market | sector/firm)"


@dataclass(frozen=True)
class Design:
    """What is simulated; the defaults are of the size seen in daily returns (per cent).

    ret = intercept + market·(1 + …) + volume·… + sector and firm intercepts and market slopes + error, with intercept
    and slope of one group correlated and the errors of a firm AR(1) over trading days (missing days count).

    Attributes:
        sectors, firms, days: number of sectors, firms per sector, trading days.
        missing: share of firm-days that are missing at random.
        seed: the same design and seed give the same rows.
        intercept, market, volume: fixed effects.
        sector_sd, sector_slope_sd, sector_corr: random intercepts and market slopes of sectors.
        firm_sd, firm_slope_sd, firm_corr: the same of firms within sectors.
        sigma, rho: standard deviation and AR(1) coefficient of the errors.
        predictors: further columns x1, x2 … without any effect, for benchmarks of wide models.
        order: "firm" (rows sorted by firm, then day) or "day".
    """

    sectors: int = 10
    firms: int = 20
    days: int = 250
    missing: float = 0.05
    seed: int = 1
    intercept: float = 0.05
    market: float = 1.0
    volume: float = 0.3
    sector_sd: float = 0.3
    sector_slope_sd: float = 0.2
    sector_corr: float = 0.3
    firm_sd: float = 0.4
    firm_slope_sd: float = 0.3
    firm_corr: float = -0.4
    sigma: float = 1.5
    rho: float = 0.0
    predictors: int = 0
    order: str = "firm"

    def __post_init__(self) -> None:
        for name in ("sectors", "firms", "days"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, not {getattr(self, name)}.", "simulate")
        for name in ("sector_sd", "sector_slope_sd", "firm_sd", "firm_slope_sd", "sigma", "predictors", "seed"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} must not be negative.", "simulate")
        for name in ("sector_corr", "firm_corr", "rho"):
            if not -1 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} must lie between -1 and 1.", "simulate")
        if not 0 <= self.missing < 1 or abs(self.rho) == 1:
            raise ConfigError("missing must lie in [0, 1) and rho strictly between -1 and 1.", "simulate")
        if self.order not in ("firm", "day"):
            raise ConfigError(f"order is 'firm' or 'day', not '{self.order}'.", "simulate")

    @classmethod
    def of(cls, options: Any) -> Design:
        """The design in any object that has some of its attributes (parsed arguments); None counts as not given."""
        given = {f.name: getattr(options, f.name, None) for f in fields(cls)}
        return cls(**{name: value for name, value in given.items() if value is not None})


def truth(design: Design, rows: int | None = None) -> dict[str, Any]:
    """The parameters behind the rows, in the layout of a rung's estimates."""
    extra = "".join(f" + x{k + 1}" for k in range(design.predictors))
    fixed = {"(Intercept)": design.intercept, "market": design.market, "volume": design.volume}
    terms = ["(Intercept)", "market"]
    return {
        "formula": FORMULA.format(extra=extra),
        "time": "day",
        "fixed": fixed | {f"x{k + 1}": 0.0 for k in range(design.predictors)},
        "random": [
            {"level": "sector", "terms": terms, "sd": [design.sector_sd, design.sector_slope_sd]}
            | {"corr": design.sector_corr},
            {"level": "sector/firm", "terms": terms, "sd": [design.firm_sd, design.firm_slope_sd]}
            | {"corr": design.firm_corr},
        ],
        "sigma": design.sigma,
        "rho": design.rho,
        "rows": rows,
        "design": asdict(design),
    }


def simulate(design: Design | None = None, **changes: Any) -> tuple[pa.Table, dict[str, Any]]:
    """Simulate a panel in memory.

    Args:
        design: the design; the default one if not given.
        changes: fields of the design to replace (``sectors=5``).

    Returns:
        An Arrow table with sector, firm, date, day (number of the trading day), market, volume, ret; and the truth.
    """
    import pyarrow as pa

    design = replace(design or Design(), **changes)
    table = pa.concat_tables(chunks(design))
    return table, truth(design, table.num_rows)


def write(path: str | Path, options: Any = None, **changes: Any) -> dict[str, Any]:
    """Simulate straight into a Parquet or CSV file, in chunks, with ``<name>.truth.json`` beside it.

    Args:
        path: a .parquet, .csv or .csv.gz file.
        options: a design, or an object with its attributes (parsed arguments).
        changes: fields of the design to replace.

    Returns:
        The truth.

    Raises:
        ConfigError: another kind of file, or an impossible design.
    """
    import pyarrow as pa

    path = Path(path)
    design = replace(options if isinstance(options, Design) else Design.of(options), **changes)
    name = path.name.lower()
    if not name.endswith((".parquet", ".csv", ".csv.gz")):
        raise ConfigError(f"'{path.name}' is neither .parquet nor .csv.", "simulate", "Change the file's name.")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    rows, writer, stream = 0, None, None
    try:
        for table in chunks(design):
            if name.endswith(".parquet"):
                import pyarrow.parquet as pq

                # Doubles drawn at random have no repeated values to look up.
                once = {"volume", "ret", *(f"x{k + 1}" for k in range(design.predictors))}
                repeated = [c for c in table.column_names if c not in once]
                writer = writer or pq.ParquetWriter(temporary, table.schema, use_dictionary=repeated)
                writer.write_table(table, row_group_size=122_880)
            else:
                from pyarrow import csv

                plain = pa.table(
                    {c: table[c].cast(pa.string()) if c in ("sector", "firm") else table[c] for c in table.column_names}
                )
                if writer is None:
                    stream = pa.output_stream(str(temporary), compression="gzip" if name.endswith(".gz") else None)
                    writer = csv.CSVWriter(stream, plain.schema)
                writer.write_table(plain)
            rows += table.num_rows
        assert writer is not None
        writer.close()
        if stream is not None:
            stream.close()
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    known = truth(design, rows)
    stem = path.name[: name.rindex(".csv" if ".csv" in name else ".parquet")]
    path.with_name(f"{stem}.truth.json").write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8")
    return known


def pairs(rng: np.random.Generator, count: int, sd: float, slope_sd: float, corr: float) -> np.ndarray:
    """Correlated intercepts and slopes. (count, 2)"""
    z = rng.standard_normal((count, 2))
    slope = corr * z[:, 0] + np.sqrt(1 - corr**2) * z[:, 1]
    return np.stack([sd * z[:, 0], slope_sd * slope], axis=1)


def chunks(design: Design) -> Iterator[pa.Table]:
    """The rows in tables of about ``CHUNK_ROWS``; every chunk has random numbers of its own."""
    rng = np.random.default_rng([design.seed, 0])
    total = design.sectors * design.firms
    of_sector = pairs(rng, design.sectors, design.sector_sd, design.sector_slope_sd, design.sector_corr)
    of_firm = pairs(rng, total, design.firm_sd, design.firm_slope_sd, design.firm_corr)
    effects = of_firm + np.repeat(of_sector, design.firms, axis=0)
    market = 0.03 + rng.standard_normal(design.days)
    if design.order == "firm":
        width = max(1, CHUNK_ROWS // design.days)
        for number, first in enumerate(range(0, total, width), start=1):
            chosen = np.arange(first, min(first + width, total))
            chunk, _ = block(design, number, chosen, np.arange(design.days), effects, market, None)
            yield chunk
    else:
        width, state = max(1, CHUNK_ROWS // total), None
        for number, first in enumerate(range(0, design.days, width), start=1):
            days = np.arange(first, min(first + width, design.days))
            chunk, state = block(design, number, np.arange(total), days, effects, market, state)
            yield chunk


def block(
    design: Design,
    number: int,
    firms: np.ndarray,
    days: np.ndarray,
    effects: np.ndarray,
    market: np.ndarray,
    state: np.ndarray | None,
) -> tuple[pa.Table, np.ndarray]:
    """All rows of some firms on some days.

    Args:
        state: the firms' errors on the day before, None on the first day.

    Returns:
        The rows that are not missing, and the errors on the last day.
    """
    rng = np.random.default_rng([design.seed, number])
    shape = (len(days), len(firms))
    error = rng.standard_normal(shape)
    error *= design.sigma
    if design.rho:
        fresh, last = np.sqrt(1 - design.rho**2), state
        for t in range(len(days)):
            if last is not None:
                error[t] = error[t] * fresh + design.rho * last
            last = error[t]
    volume = rng.standard_normal(shape)
    today = market[days][:, None]
    ret = effects[firms, 1] * today
    ret += error
    ret += effects[firms, 0]
    ret += design.intercept + design.market * today + design.volume * volume
    keep = rng.random(shape) >= design.missing if design.missing else np.ones(shape, dtype=bool)
    if design.order == "firm":
        keep, ret, volume = keep.T, ret.T, volume.T
        firm, day = np.nonzero(keep)
    else:
        day, firm = np.nonzero(keep)
    extra = {f"x{k + 1}": rng.standard_normal(len(firm)) for k in range(design.predictors)}
    table = arrow_rows(design, firms[firm], days[day], market[days[day]], volume[keep], ret[keep], extra)
    return table, error[-1]


def arrow_rows(
    design: Design,
    firm: np.ndarray,
    day: np.ndarray,
    market: np.ndarray,
    volume: np.ndarray,
    ret: np.ndarray,
    extra: dict[str, np.ndarray],
) -> pa.Table:
    """Rows as an Arrow table; ids as dictionary columns.."""
    import pyarrow as pa

    def ids(code: np.ndarray, letter: str, count: int) -> pa.Array:
        names = pa.array([f"{letter}{k + 1:0{len(str(count))}d}" for k in range(count)])
        return pa.DictionaryArray.from_arrays(pa.array(code.astype(np.int32)), names)

    dates = np.busday_offset(np.datetime64("1990-01-02"), day).astype("datetime64[D]").astype(np.int32)
    return pa.table(
        {
            "sector": ids(firm // design.firms, "S", design.sectors),
            "firm": ids(firm, "F", design.sectors * design.firms),
            "date": pa.array(dates).cast(pa.date32()),
            "day": pa.array((day + 1).astype(np.int32)),
            "market": pa.array(market),
            "volume": pa.array(volume),
            "ret": pa.array(ret),
        }
        | {name: pa.array(values) for name, values in extra.items()}
    )
