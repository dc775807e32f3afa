"""Moments against sums made row by row with NumPy: plain, weighted, wide, unbalanced, and with factors."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import duckdb
import numpy as np
import pytest

from hierreport import moments, reduce, reduce_stream
from hierreport.errors import DataError
from hierreport.frame import Column, Frame
from hierreport.spec import LevelSpec

ONE = "(Intercept)"


def make_frame(
    rows: dict[str, np.ndarray],
    *,
    numeric: tuple[str, ...] = ("x", "z"),
    factor: str | None = None,
    groups: tuple[str, ...] = ("sector", "firm"),
    random: tuple[str, ...] = (ONE, "x"),
    fixed_intercept: bool = True,
    weights: str | None = None,
    time: str | None = None,
    info: dict | None = None,
    means: dict | None = None,
    sds: dict | None = None,
) -> Frame:
    """A model frame over NumPy columns; group columns are text."""
    con = duckdb.connect()
    con.register("given", {k: (v if v.dtype != object else v.astype(str)) for k, v in rows.items()})
    con.execute("CREATE TABLE panel AS SELECT * FROM given")
    columns = [Column(name, f'"{name}"') for name in numeric]
    if factor:
        levels = sorted(set(rows[factor].tolist()))[1:]
        columns += [Column(f"{factor}[{v}]", f"CAST(\"{factor}\" = '{v}' AS DOUBLE)", factor, str(v)) for v in levels]
    names = tuple(c.name for c in columns)
    paths = tuple("/".join(groups[: k + 1]) for k in range(len(groups)))
    fixed = ((ONE,) if fixed_intercept else ()) + names
    return Frame(
        con, "panel", Column("y", '"y"'), tuple(columns), fixed,
        tuple(LevelSpec(path, (random,)) for path in paths), groups, paths,
        time, weights, means or {}, sds or {}, info or {},
    )  # fmt: skip


def make_rows(seed: int = 1, n: int = 400, firms: int = 23, extra: int = 0) -> dict[str, np.ndarray]:
    """An unbalanced panel in no order; firm ids are reused across sectors."""
    rng = np.random.default_rng(seed)
    rows = {
        "firm": np.array([f"f{k}" for k in rng.integers(0, firms, n) ** 2 % firms], dtype=object),
        "sector": np.array([f"s{k}" for k in rng.integers(0, 3, n)], dtype=object),
        "x": 1980 + 3 * rng.normal(size=n),
        "z": 1e4 * rng.normal(size=n),
        "y": 5 + rng.normal(size=n),
        "w": rng.uniform(0.2, 4, n),
        "year": np.array([str(1970 + k) for k in rng.integers(0, 12, n)], dtype=object),
    }
    for k in range(extra):
        rows[f"e{k}"] = rng.normal(k, 1 + k, n)
    return rows


def design(rows: dict[str, np.ndarray], frame: Frame, m: moments.Moments) -> np.ndarray:
    """W as the moments define it, row by row."""
    columns = [np.ones(len(rows["y"]))]
    for c in (*frame.columns, frame.outcome):
        columns.append((rows[c.factor] == c.level).astype(float) if c.factor else rows[c.name])
    return (np.stack(columns, axis=1) - m.shift) / m.scale


def brute(rows: dict[str, np.ndarray], w: np.ndarray, groups: tuple[str, ...]) -> dict[tuple, np.ndarray]:
    keys = list(zip(*(rows[g].tolist() for g in groups), strict=True))
    return {key: w[(index := [i for i, k in enumerate(keys) if k == key])].T @ w[index] for key in sorted(set(keys))}


def close(a: np.ndarray, b: np.ndarray) -> None:
    np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-10)


@pytest.mark.parametrize("sql_columns", [99, 0], ids=["sql", "streamed"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("groups", [("sector", "firm"), ("firm",), ()])
def test_products_are_sums_over_rows(monkeypatch, sql_columns, weighted, groups):
    monkeypatch.setattr(reduce, "SQL_COLUMNS", sql_columns)
    rows = make_rows()
    frame = make_frame(rows, factor="year", groups=groups, weights="w" if weighted else None)
    m = moments.reduce(frame)
    w = design(rows, frame, m)
    assert m.columns[0] == ONE and m.columns[-1] == "y" and m.columns[3] == "year[1971]"
    if weighted:
        assert m.sum_log_weight == pytest.approx(np.log(rows["w"]).sum(), rel=1e-13)
        close(m.unweighted, w.T @ w)
        w = w * np.sqrt(rows["w"])[:, None]
    else:
        assert m.sum_log_weight == 0 and m.unweighted is None
    expected = brute(rows, w, groups) if groups else {(): w.T @ w}
    found = list(zip(*(ids.tolist() for ids in m.labels), strict=True)) if groups else [()]
    assert found == list(expected)
    assert m.n_obs == len(rows["y"]) and m.products.shape == (w.shape[1], w.shape[1], len(expected))
    for k, product in enumerate(expected.values()):
        close(m.products[:, :, k], product)
    assert np.array_equal(m.products, m.products.transpose(1, 0, 2))
    if len(groups) == 2:
        for k, product in enumerate(brute(rows, w, ("sector",)).values()):
            close(m.parent_products[:, :, k], product)
    else:
        close(m.parent_products[:, :, 0], w.T @ w)


@pytest.mark.parametrize("weighted", [False, True])
def test_wide_design_keeps_rows_of_random_terms_only(monkeypatch, weighted):
    monkeypatch.setattr(reduce, "SQL_COLUMNS", 0)
    monkeypatch.setattr(reduce_stream, "FULL_BYTES", 1000)
    rows = make_rows(extra=5)
    numeric = ("z", "e0", "x", *(f"e{k}" for k in range(1, 5)))
    frame = make_frame(rows, numeric=numeric, factor="year", weights="w" if weighted else None)
    m = moments.reduce(frame)
    assert [m.columns[k] for k in m.z_index] == [ONE, "x"]
    w = design(rows, frame, m) * (np.sqrt(rows["w"])[:, None] if weighted else 1)
    for k, product in enumerate(brute(rows, w, ("sector", "firm")).values()):
        close(m.products[:, :, k], product[m.z_index])
    for k, product in enumerate(brute(rows, w, ("sector",)).values()):
        close(m.parent_products[:, :, k], product)


def test_two_factors_and_small_batches(monkeypatch):
    monkeypatch.setattr(reduce, "SQL_COLUMNS", 0)
    monkeypatch.setattr(reduce_stream, "BATCH_BYTES", 1)
    rows = make_rows(n=9000)  # more than the least batch of 4096 rows, twice
    rows["kind"] = np.array([f"k{k}" for k in np.random.default_rng(5).integers(0, 10, 9000)], dtype=object)
    first = make_frame(rows, factor="year")
    second = make_frame(rows, numeric=(), factor="kind")
    frame = Frame(**{**first.__dict__, "columns": (*first.columns, *second.columns)})
    m = moments.reduce(frame)
    w = design(rows, frame, m)
    for k, product in enumerate(brute(rows, w, ("sector", "firm")).values()):
        np.testing.assert_allclose(m.products[:, :, k], product, rtol=1e-11, atol=1e-9)


def test_runs_of_every_length(monkeypatch):
    """Long groups are multiplied one by one, short ones in stacks; both must be there."""
    monkeypatch.setattr(reduce, "SQL_COLUMNS", 0)
    rows = make_rows(n=700)
    rows["firm"] = np.array([f"f{min(k, 30)}" for k in np.random.default_rng(3).geometric(0.08, 700)], dtype=object)
    frame = make_frame(rows, groups=("firm",))
    m = moments.reduce(frame)
    assert m.n.min() < 10 and m.n.max() >= 50
    for k, product in enumerate(brute(rows, design(rows, frame, m), ("firm",)).values()):
        close(m.products[:, :, k], product)


@pytest.mark.parametrize("sql_columns", [99, 0], ids=["sql", "streamed"])
def test_columns_may_have_the_names_that_are_used_inside(monkeypatch, sql_columns):
    monkeypatch.setattr(reduce, "SQL_COLUMNS", sql_columns)
    rows = make_rows()
    plain = make_frame(rows | {"t": np.arange(400.0)}, factor="year", weights="w", time="t")
    renamed = {"x": "c2", "z": "code", "firm": "g0", "sector": "n", "w": "s1"}
    tricky = {renamed.get(k, k): v for k, v in rows.items()} | {"time": np.arange(400.0), "k": rows["x"]}
    odd = make_frame(
        tricky, numeric=("c2", "code"), factor="year", groups=("n", "g0"), random=(ONE, "c2"), weights="s1", time="time"
    )
    a, b = moments.reduce_all(plain), moments.reduce_all(odd)
    assert np.array_equal(a.moments.products, b.moments.products)
    assert np.array_equal(a.lags.cross, b.lags.cross) and np.array_equal(a.periods.cell, b.periods.cell)


def test_starts_follow_the_labels():
    m = moments.reduce(make_frame(make_rows()))
    assert m.starts(1).tolist() == list(range(len(m.n)))
    assert m.starts(0).tolist() == [m.labels[0].tolist().index(s) for s in ("s0", "s1", "s2")]


def test_shift_and_scale_are_few_bit_numbers_that_ignore_rounding_of_the_means():
    rows = make_rows()
    noisy = [
        moments.reduce(
            make_frame(
                rows,
                means={"x": 1980.1 * (1 + e), "z": 3.0, "y": 5.0},
                sds={"x": 3.0, "z": 1e4 * (1 - e), "y": 1.0},
            )
        )
        for e in (0.0, 2e-16, -2e-15)
    ]
    assert all(np.array_equal(noisy[0].products, m.products) for m in noisy[1:])
    assert np.all(np.log2(noisy[0].scale) % 1 == 0)
    assert abs(noisy[0].shift[1] - 1980.1) <= noisy[0].scale[1] / 8


def test_without_any_intercept_nothing_is_shifted():
    bare = make_frame(make_rows(), random=("x",), fixed_intercept=False)
    assert np.all(moments.reduce(bare).shift == 0)
    with_random = make_frame(make_rows(), fixed_intercept=False)
    assert moments.reduce(with_random).shift[1] != 0


def test_constant_and_huge_columns_are_finite():
    rows = make_rows()
    rows["x"], rows["z"] = np.full(400, 7.0), rows["z"] * 1e140
    m = moments.reduce(make_frame(rows))
    assert np.isfinite(m.products).all()
    assert m.products[1, 1].sum() == pytest.approx(0, abs=400 * (m.scale[1] / 8) ** 2)


@pytest.mark.parametrize("bad", [np.inf, 0.0])
def test_infinite_values_and_zero_weights_are_refused(bad):
    rows = make_rows()
    rows["z" if bad else "w"][3] = bad
    frame = make_frame(rows, weights="w", means={"x": 1, "z": 0, "y": 0}, sds={"x": 1, "z": 1, "y": 1})
    with pytest.raises(DataError, match="reached the moments"):
        moments.reduce(frame)


def test_too_many_columns_are_refused_before_memory_is_gone(monkeypatch):
    monkeypatch.setattr(reduce, "SQL_COLUMNS", 0)
    monkeypatch.setattr(reduce_stream, "FULL_BYTES", 1000)
    monkeypatch.setattr(reduce, "PARENT_BYTES", 2000)
    with pytest.raises(DataError, match="model columns need"):
        moments.reduce(make_frame(make_rows(), factor="year"))


# --- lags ------------------------------------------------------------------------------------------------------------


def lag_rows(seed: int = 2, unit: float = 1.0) -> dict[str, np.ndarray]:
    """Groups with gaps, of one row, and shuffled rows."""
    rows = make_rows(seed, n=120, firms=11)
    rng = np.random.default_rng(seed)
    taken: dict[tuple, list] = {}
    times = np.zeros(120)
    for i in range(120):
        free = taken.setdefault((rows["sector"][i], rows["firm"][i]), rng.permutation(200).tolist())
        times[i] = free.pop()
    rows["t"] = times * unit
    return rows


def brute_lags(rows, w, groups, step):
    keys = list(zip(*(rows[g].tolist() for g in groups), strict=True))
    sums: dict[tuple, list] = {}
    first = []
    for g, key in enumerate(sorted(set(keys))):
        index = sorted((i for i, k in enumerate(keys) if k == key), key=lambda i: rows["t"][i])
        first.append(np.outer(w[index[0]], w[index[0]]))
        for a, b in itertools.pairwise(index):
            gap = round((rows["t"][b] - rows["t"][a]) / step, 6)
            entry = sums.setdefault((g, gap), [0, 0.0, 0.0, 0.0])
            entry[0] += 1
            entry[1] = entry[1] + np.outer(w[b], w[b])
            entry[2] = entry[2] + np.outer(w[b], w[a]) + np.outer(w[a], w[b])
            entry[3] = entry[3] + np.outer(w[a], w[a])
    return dict(sorted(sums.items())), np.stack(first, axis=2)


@pytest.mark.parametrize("unit", [1.0, 0.1, 0.25, 7.0])
@pytest.mark.parametrize("weighted", [False, True])
def test_lags_match_a_loop_over_rows(unit, weighted):
    rows = lag_rows(unit=unit)
    frame = make_frame(rows, time="t", weights="w" if weighted else None, info={"time_axis": {"unit": "number"}})
    m = moments.reduce(frame)
    lag = moments.reduce_lags(frame, m)
    w = design(rows, frame, m) * (np.sqrt(rows["w"])[:, None] if weighted else 1)
    expected, first = brute_lags(rows, w, ("sector", "firm"), lag.step)
    assert lag.unit == "number" and lag.gap.min() == 1
    assert lag.group.tolist() == [g for g, _ in expected]
    assert lag.gap.tolist() == [gap for _, gap in expected]
    assert lag.count.tolist() == [e[0] for e in expected.values()]
    for k, (_, now, cross, before) in enumerate(expected.values()):
        close(lag.now[:, :, k], now)
        close(lag.cross[:, :, k], cross)
        close(lag.before[:, :, k], before)
    close(lag.first, first)


def test_lags_do_not_depend_on_the_order_of_rows_nor_on_batches(monkeypatch):
    rows = lag_rows()
    order = np.lexsort((rows["t"], rows["firm"].astype(str), rows["sector"].astype(str)))
    shuffled = make_frame(rows, time="t")
    ordered = make_frame({k: v[order] for k, v in rows.items()}, time="t")
    m = moments.reduce(ordered)
    a, b = moments.reduce_lags(shuffled, m), moments.reduce_lags(ordered, m)
    for name in ("group", "gap", "count", "now", "cross", "before", "first"):
        assert np.array_equal(getattr(a, name), getattr(b, name)), name


def test_lags_over_several_batches(monkeypatch):
    from hierreport import reduce_lags

    monkeypatch.setattr(reduce_lags, "BATCH_BYTES", 1)  # 4096 rows
    rng = np.random.default_rng(0)
    n = 12_000
    rows = make_rows(n=n, firms=2)
    rows["firm"] = np.array(["a"] * 9000 + ["b"] * 3000, dtype=object)
    rows["sector"] = np.array(["s"] * n, dtype=object)
    rows["t"] = np.concatenate([np.cumsum(rng.integers(1, 4, 9000)), np.cumsum(rng.integers(1, 4, 3000))]).astype(float)
    frame = make_frame(rows, time="t")
    m = moments.reduce(frame)
    lag = moments.reduce_lags(frame, m)
    expected, first = brute_lags(rows, design(rows, frame, m), ("sector", "firm"), 1.0)
    assert lag.count.tolist() == [e[0] for e in expected.values()] and lag.count.sum() == n - 2
    for k, (_, now, cross, before) in enumerate(expected.values()):
        np.testing.assert_allclose(lag.now[:, :, k], now, rtol=1e-10, atol=1e-7)
        np.testing.assert_allclose(lag.cross[:, :, k], cross, rtol=1e-10, atol=1e-7)
        np.testing.assert_allclose(lag.before[:, :, k], before, rtol=1e-10, atol=1e-7)
    close(lag.first, first)


def test_lags_use_the_given_step():
    frame = make_frame(lag_rows(), time="t", info={"time_axis": {"unit": "day", "step": 2.0}})
    m = moments.reduce(frame)
    assert moments.reduce_lags(frame, m).step == 2.0
    half = moments.reduce_lags(frame, m, 0.5)
    assert half.step == 0.5 and half.gap.min() == 2.0


def test_duplicate_times_are_refused_with_the_key():
    rows = lag_rows()
    rows["t"][:] = np.arange(120)
    same = [i for i in range(120) if (rows["sector"][i], rows["firm"][i]) == (rows["sector"][0], rows["firm"][0])]
    rows["t"][same[1]] = rows["t"][same[0]]
    with pytest.raises(DataError) as caught:
        moments.reduce_lags(frame := make_frame(rows, time="t"), moments.reduce(frame))
    assert f"{rows['sector'][0]}/{rows['firm'][0]} has 2 rows at time 0:" in str(caught.value)


@pytest.mark.parametrize("shuffled", [False, True])
def test_a_scan_that_stops_early_leaves_the_connection_free(shuffled):
    """Duplicates and disorder in the first of many batches."""
    rows = make_rows(n=400_000, firms=3)
    rows["t"] = np.arange(400_000.0)
    rows["sector"][:2], rows["firm"][:2], rows["t"][:2] = "s0", "f0", 0.0
    if shuffled:
        order = np.random.default_rng(0).permutation(400_000)
        rows = {k: v[order] for k, v in rows.items()}
    frame = make_frame(rows, time="t")
    m = moments.reduce(frame)
    with pytest.raises(DataError, match="s0/f0 has 2 rows at time 0:"):
        moments.reduce_lags(frame, m)
    assert frame.con.execute("SELECT count(*) FROM panel").fetchall() == [(400_000,)]
    assert moments.reduce_all(frame).lags is None


def test_singletons_have_no_steps():
    rows = make_rows(n=5)
    rows["firm"] = np.array(list("abcde"), dtype=object)
    rows["t"] = np.arange(5.0)
    frame = make_frame(rows, groups=("firm",), time="t")
    lag = moments.reduce_lags(frame, moments.reduce(frame))
    assert len(lag.group) == 0 and lag.now.shape == (4, 4, 0) and lag.first.shape == (4, 4, 5)


def test_lags_need_a_time_column():
    frame = make_frame(make_rows())
    with pytest.raises(DataError, match="no time column"):
        moments.reduce_lags(frame, moments.reduce(frame))


# --- periods and strata ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weighted", [False, True])
def test_periods(weighted):
    rows = make_rows()
    rows["t"] = np.array([float(v) for v in rows["year"]])
    frame = make_frame(rows, time="t", weights="w" if weighted else None)
    m = moments.reduce(frame)
    per = moments.reduce_periods(frame, m)
    assert per.periods.tolist() == sorted(set(rows["year"]))
    w = design(rows, frame, m) * (rows["w"][:, None] if weighted else 1)
    firms = list(zip(rows["sector"].tolist(), rows["firm"].tolist(), strict=True))
    names = list(zip(*(ids.tolist() for ids in m.labels), strict=True))
    for t, year in enumerate(per.periods):
        here = rows["year"] == year
        assert per.count[t] == here.sum()
        close(per.total[:, t], w[here].sum(axis=0))
    seen = set()
    for k in range(len(per.group)):
        key = names[per.group[k]], per.periods[per.period[k]]
        seen.add(key)
        here = np.array([f == key[0] for f in firms]) & (rows["year"] == key[1])
        assert per.cell_count[k] == here.sum() > 0
        close(per.cell[:, k], w[here].sum(axis=0))
    assert len(seen) == len(per.group) == len(set(zip(firms, rows["year"], strict=True)))


@pytest.mark.parametrize("sql_columns", [99, 0], ids=["sql", "streamed"])
@pytest.mark.parametrize("as_number", [False, True])
def test_strata(monkeypatch, sql_columns, as_number):
    from hierreport import reduce_cells

    monkeypatch.setattr(reduce_cells, "SQL_COLUMNS", sql_columns)
    rows = make_rows()
    years = rows["year"]
    if as_number:
        rows["year"] = np.array([float(v) for v in years])
    frame = make_frame(rows)
    m = moments.reduce(frame)
    st = moments.reduce_strata(frame, m, "year")
    assert st.strata.tolist() == sorted(set(years))
    names = list(zip(*(ids.tolist() for ids in m.labels), strict=True))
    w = design(rows, frame, m)
    firms = list(zip(rows["sector"].tolist(), rows["firm"].tolist(), strict=True))
    assert st.n.sum() == 400
    for k in range(len(st.n)):
        here = np.array([f == names[st.group[k]] for f in firms]) & (years == st.strata[st.stratum[k]])
        assert st.n[k] == here.sum() > 0
        close(st.products[:, :, k], w[here].T @ w[here])
    with pytest.raises(DataError, match="no column 'nothing'"):
        moments.reduce_strata(frame, m, "nothing")


# --- files -----------------------------------------------------------------------------------------------------------


def everything(weighted: bool = False) -> moments.PanelMoments:
    frame = make_frame(lag_rows(), time="t", weights="w" if weighted else None)
    m = moments.reduce(frame)
    return moments.PanelMoments(
        m,
        moments.reduce_lags(frame, m),
        moments.reduce_periods(frame, m),
        {"year": moments.reduce_strata(frame, m, "year"), "sector": moments.reduce_strata(frame, m, "sector")},
    )


def assert_same(a: object, b: object) -> None:
    """Equal to the last bit, field by field."""
    assert type(a) is type(b)
    for name, value in vars(a).items():
        other = getattr(b, name)
        if isinstance(value, np.ndarray):
            assert value.dtype == other.dtype and np.array_equal(value, other), name
        elif isinstance(value, tuple) and value and isinstance(value[0], np.ndarray):
            assert all(np.array_equal(x, y) for x, y in zip(value, other, strict=True)), name
        elif isinstance(value, dict):
            assert sorted(value) == sorted(other)
            for key in value:
                assert_same(value[key], other[key])
        elif hasattr(value, "__dataclass_fields__"):
            assert_same(value, other)
        else:
            assert value == other, name


@pytest.mark.parametrize("weighted", [False, True])
def test_files_hold_every_bit(tmp_path, weighted):
    panel = everything(weighted)
    moments.write(tmp_path, panel)
    assert_same(panel, moments.read(tmp_path))


def test_wide_files(tmp_path, monkeypatch):
    monkeypatch.setattr(reduce, "SQL_COLUMNS", 0)
    monkeypatch.setattr(reduce_stream, "FULL_BYTES", 1000)
    panel = moments.PanelMoments(moments.reduce(make_frame(make_rows(), factor="year")))
    moments.write(tmp_path, panel)
    assert_same(panel, moments.read(tmp_path))


def test_files_are_the_same_bytes_and_old_parts_go(tmp_path):
    panel = everything()
    files = {p.name: p.read_bytes() for p in moments.write(tmp_path, panel)}
    again = {p.name: p.read_bytes() for p in moments.write(tmp_path, everything())}
    assert files == again and len(files) == 7
    moments.write(tmp_path, moments.PanelMoments(panel.moments))
    assert [p.name for p in tmp_path.iterdir()] == ["moments.parquet"]


def test_files_can_be_read_by_people(tmp_path):
    frame = make_frame(make_rows())
    moments.write(tmp_path, moments.PanelMoments(m := moments.reduce(frame)))
    query = f'SELECT "group 1", "group 2", n, "x × y" FROM \'{tmp_path}/moments.parquet\' LIMIT 1'
    assert duckdb.connect().execute(query).fetchone() == (m.labels[0][0], m.labels[1][0], m.n[0], m.products[1, 3, 0])


def test_missing_and_damaged_files(tmp_path):
    with pytest.raises(DataError, match="there are no moments"):
        moments.read(tmp_path)
    (tmp_path / "moments.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(DataError, match="cannot be read"):
        moments.read(tmp_path)


def test_reading_is_light(tmp_path):
    """A process that only fits imports neither pandas nor DuckDB."""
    moments.write(tmp_path, everything())
    code = (
        "import sys; from hierreport import moments; moments.read(sys.argv[1]);"
        "print([m for m in ('pandas', 'duckdb', 'matplotlib', 'statsmodels', 'scipy.stats') if m in sys.modules])"
    )
    root = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code, tmp_path], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_reduce_all_takes_what_the_panel_allows():
    panel = moments.reduce_all(make_frame(make_rows()))
    assert panel.lags is None and panel.periods is None
    panel = moments.reduce_all(make_frame(lag_rows(), time="t"))
    assert panel.lags is not None and panel.periods is not None
    rows = lag_rows()
    rows["t"] = np.round(rows["t"] / 50)
    panel = moments.reduce_all(make_frame(rows, time="t"))
    assert panel.lags is None and panel.periods is not None
