"""The cases of the race, each with the target that was set for it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from field import COLUMNS, FORMULA, HERE, ROOT, RUNGS, Field, Row, times, turns
from timing import Run, run

MIXED = "four mixed rungs"


def in_memory(f: Field) -> list[Row]:
    """a) 50 thousand rows in memory: all mixed rungs."""
    case, path, text = "a", f.panel("50k"), f.panel("50k", "csv")
    simple = {k: RUNGS[k] for k in ("random_intercept", "random_slope")}
    task = {"mode": "memory", "panel": path, "formula": FORMULA, "columns": COLUMNS, "repeats": 9, "ml": True}
    found = turns(
        {
            "hierreport": (f.repeats, lambda: f.ours(**task)),
            "mixedlm": (f.repeats, lambda: f.peer("mixedlm", panel=path, warm=True, repeats=3)),
            "lme4": (min(f.repeats, 3), lambda: f.peer("lme4", panel=text, warm=True)),
            "statsmodels": (1, lambda: f.peer("statsmodels", panel=path, rungs=simple)),
        }
    )
    for name, runs in found.items():
        f.note("50k", name, runs)
    ml, whole, fits = (times(found["hierreport"], part) for part in ("ml", "all", "fits"))
    rows = [
        Row(case, f"{MIXED}, ML, from a table in memory (checks and moments included)", "hierreport", **ml),
        Row(case, f"{MIXED}, ML and REML, from a table in memory", "hierreport", **whole),
        Row(case, f"{MIXED}, ML and REML, the fits alone", "hierreport", **fits),
    ]
    for name, target in (("lme4", 100), ("mixedlm", 5), ("statsmodels", 0)):
        what = f"{MIXED}, ML" if target else "two of the rungs, ML (the others it cannot express)"
        row = Row(case, what, name, **times(found[name], "all"))
        if row.wall and "wall" in ml:
            row.ratio = row.wall / ml["wall"]
            row.note = (
                f"{row.wall / whole['wall']:.1f} times ML and REML, {row.wall / fits['wall']:.1f} times the fits alone"
            )
        if target and row.ratio:
            row.target, row.met = f"≥ {target} ×", row.ratio >= target
        if name == "statsmodels" and found[name][0].answer and found[name][0].answer.get("not_converged"):
            row.note += "; did not converge: " + ", ".join(found[name][0].answer["not_converged"])
        rows.append(row)
    return rows


def from_file(f: Field) -> list[Row]:
    """b) 5 million rows in a Parquet file: the whole ladder in a fresh process."""
    case, path, text = "b", f.panel("5m"), f.panel("5m", "csv")
    first = {"random_intercept": RUNGS["random_intercept"]}
    count = [sys.executable, str(HERE / "racers" / "count.py")]
    by_firm = f.panel("5m_by_firm")
    found = turns(
        {
            "DuckDB": (f.repeats, lambda: run([*count, path], 60)),
            "hierreport": (f.repeats, lambda: f.ours(mode="ladder", panel=path, formula=FORMULA)),
            "by firm": (f.repeats, lambda: f.ours(mode="ladder", panel=by_firm, formula=FORMULA)),
            "mixedlm": (min(f.repeats, 2), lambda: f.peer("mixedlm", panel=path)),
            "lme4": (1, lambda: f.peer("lme4", 200, panel=text, rungs=first)),
            "statsmodels": (1, lambda: f.peer("statsmodels", 200, panel=path, rungs=first)),
        }
    )
    for name in ("hierreport", "mixedlm", "lme4", "statsmodels"):
        f.note("5m", name, found[name])
    bare = Row(case, "bare GROUP BY count of the file", "DuckDB", **times(found["DuckDB"]))
    ladder = "whole ladder, pooled to three levels with slopes, ML and REML, tests and choice"
    rows = [bare]
    for name, order in (("hierreport", "day"), ("by firm", "firm")):
        row = Row(case, f"{ladder}; rows in {order} order", "hierreport", **times(found[name]))
        if row.wall and row.memory and bare.wall:
            row.target = "≤ 5 × the bare count, < 400 MB"
            row.met = row.wall <= 5 * bare.wall and row.memory < 400
            row.note = f"{row.wall / bare.wall:.2f} times the bare count"
        rows.append(row)
    ours = rows[1].wall
    for name in ("mixedlm", "lme4", "statsmodels"):
        what = f"{MIXED}, ML" if name == "mixedlm" else "random intercept alone, ML: less than its ladder takes"
        row = Row(case, what, name, **times(found[name]))
        if row.wall and ours:
            row.ratio = row.wall / ours
        if name == "mixedlm" and row.ratio:
            row.target, row.met = "≥ 25 ×", row.ratio >= 25
        rows.append(row)
    return rows


def tenfold(f: Field) -> list[Row]:
    """c) ten times the rows, the same groups."""
    case, paths = "c", {"5 million rows": f.panel("5m"), "50 million rows": f.panel("50m")}
    found = turns(
        {
            name: (2, lambda path=path: f.ours(mode="phases", panel=path, formula=FORMULA, repeats=5))
            for name, path in paths.items()
        }
    )
    rows, seconds = [], []
    for name, runs in found.items():
        good = [r for r in runs if not r.failed]
        again = sorted(a["wall"] for r in good for a in r.answer["again"])
        cpu = sorted(a["cpu"] for r in good for a in r.answer["again"])
        if not again:
            return [Row(case, f"fits from moments, {name}", "hierreport", note=runs[0].failed)]
        calls = sum(map(sum, good[0].answer["evaluations"]))
        seconds.append((again[len(again) // 2], calls))
        rows.append(
            Row(
                case,
                f"all fits from moments, {name}, 2,000 firms",
                "hierreport",
                again[len(again) // 2],
                cpu[len(cpu) // 2],
                runs=len(again),
                note=f"{calls} evaluations of the criterion, {1000 * seconds[-1][0] / calls:.2f} ms each",
            )
        )
    rows[1].target, rows[1].met = (
        "unchanged (≤ 1.25 × per evaluation)",
        (seconds[1][0] / seconds[1][1] <= 1.25 * seconds[0][0] / seconds[0][1]),
    )
    whole = turns({"x": (2, lambda: f.ours(mode="ladder", panel=paths["50 million rows"], formula=FORMULA))})["x"]
    row = Row(case, "whole ladder from a file, 50 million rows", "hierreport", **times(whole))
    row.target, row.met = "< 600 MB", row.memory is not None and row.memory < 600
    return [*rows, row]


def many_firms(f: Field) -> list[Row]:
    """d) 200 thousand firms of 5 rows: every rung against every peer."""
    case, path, text, rows = "d", f.panel("200k_firms"), f.panel("200k_firms", "csv"), []
    limit = 75.0
    for rung, formula in RUNGS.items():
        task = {"mode": "memory", "panel": path, "formula": formula, "columns": COLUMNS, "rungs": "last", "repeats": 1}
        one = {rung: formula}
        programs = {
            "hierreport": (2, lambda task=task: f.ours(**task)),
            "mixedlm": (1, lambda one=one: f.peer("mixedlm", 200, panel=path, rungs=one, warm=True)),
            "lme4": (1, lambda one=one: f.peer("lme4", limit, panel=text, rungs=one, warm=True)),
        }
        if rung in ("random_intercept", "random_slope"):
            programs["statsmodels"] = (1, lambda one=one: f.peer("statsmodels", limit, panel=path, rungs=one))
        found = turns(programs)
        what = rung.replace("_", " ")
        ours = Row(case, f"{what}, ML and REML, from a table in memory", "hierreport")
        ours = replace(ours, **times(found["hierreport"], "all"))
        rows.append(ours)
        for name, runs in found.items():
            f.note("200k_firms", name, runs)
            if name != "hierreport":
                row = Row(case, f"{what}, ML", name, **times(runs, "all"), target="> 1 ×")
                _compare(row, runs[0], ours)
                row.met = row.ratio > 1 if row.ratio else None
                rows.append(row)
    return rows


def imports(f: Field) -> list[Row]:
    """e) what a process that only fits imports."""
    whole = f.ours(mode="ladder", panel=f.panel("50k"), formula=FORMULA)
    rows = [("ladder from Python", whole)]
    for folder in sorted((f.folder / "workflow").glob("results/*/moments.parquet")):
        rows.append(("the workflow's stage fit", f.ours(mode="stage_fit", folder=str(folder.parent))))
    out = []
    for what, one in rows:
        row = Row("e", f"imports of a process that only fits: {what}", "hierreport", one.wall, one.cpu, one.memory, 1)
        heavy = one.answer["loaded"] if isinstance(one.answer, dict) else []
        row.target = "neither pandas, statsmodels nor matplotlib"
        row.met = not one.failed and not {"pandas", "statsmodels", "matplotlib"} & set(heavy)
        row.note = one.failed or "of the heavy packages it imports: " + (", ".join(heavy) or "none")
        out.append(row)
    return out


def workflow(f: Field) -> list[Row]:
    """f) from nothing to the finished report: the workflow against R Markdown."""
    rows = []
    wide = "market + volume + " + " + ".join(f"x{k}" for k in range(1, 9))
    firms = f.panel("45k", "csv")
    large = f"""analyses:
  firms:
    panel: {firms}
    formula: ret ~ {wide} + (1 + market | sector/firm)
    time: day
"""
    render = "rmarkdown::render('report.Rmd', output_dir = 'r', intermediates_dir = 'r', knit_root_dir = getwd()"
    of_firms = f"file = '{firms}', outcome = 'ret', fixed = '{wide}', slope = 'market', time = 'day'"
    cases = (
        ("uk_firms (1,031 rows, 140 firms)", _only_uk_firms(), "", min(f.repeats, 3), 1.0),
        ("45 thousand rows, 5,000 firms", large, f"{of_firms}, ", 1, 20.0),
    )
    for what, config, given, repeats, factor in cases:
        less, more = (f"{render}, params = list({given}more = {m}))" for m in ("FALSE", "TRUE"))
        found = turns(
            {
                "hierreport": (max(repeats, 2), lambda config=config: _snakemake(f, config)),
                "R Markdown": (repeats, lambda less=less: run(["Rscript", "-e", less], 400, _project(f))),
                "R, more": (1, lambda more=more: run(["Rscript", "-e", more], 400, _project(f))),
            }
        )
        ours = Row("f", f"report from nothing, {what}", "hierreport", **times(found["hierreport"]))
        theirs = Row("f", f"report from nothing, {what}", "R Markdown", **times(found["R Markdown"]))
        if ours.wall and theirs.wall:
            theirs.ratio = theirs.wall / ours.wall
            theirs.target, theirs.met = f"> {factor:g} ×", theirs.ratio > factor
        rows += [ours, theirs]
        name = "the same with AR(1) twins (nlme) and every group's influence (refits), which hierreport's has"
        more = Row("f", name, "R Markdown", **times(found["R, more"]))
        _compare(more, found["R, more"][0], ours)
        rows.append(more)
    return rows


def bootstrap(f: Field) -> list[Row]:
    """g) parametric bootstrap of the three-level rung with slopes."""
    refits, few = 1000, 4
    ours = f.ours(mode="bootstrap", panel=f.panel("5m"), formula=FORMULA, refits=refits)
    task = {"mode": "bootstrap", "panel": f.panel("50k", "csv"), "refits": few}
    theirs = f.peer("lme4", 200, **task, rungs={"multilevel_slopes": RUNGS["multilevel_slopes"]})
    row = Row("g", f"{refits} refits by REML, three levels with slopes, 5 million rows", "hierreport", runs=1)
    other = Row("g", f"bootMer per refit, the same rung on 50 thousand rows (mean of {few})", "lme4", runs=1)
    if ours.failed:
        row.note = ours.failed
    else:
        row.wall, row.cpu, row.memory = ours.answer["wall"], ours.answer["cpu"], ours.memory
        row.target, row.met = "< 10 s", ours.answer["wall"] < 10 and not ours.answer["failures"]
        row.note = f"{1000 * ours.answer['wall'] / refits:.1f} ms per refit, {ours.answer['failures']} failed"
    if theirs.failed:
        other.note = theirs.failed
    else:
        other.wall, other.cpu, other.memory = theirs.answer["wall"] / few, theirs.answer["cpu"] / few, theirs.memory
        if row.wall:
            other.ratio = other.wall / (row.wall / refits)
            other.note = "per refit, on a hundredth of the rows: the largest panel that it refits in seconds"
    return [row, other]


CASES = {
    "a": in_memory,
    "b": from_file,
    "c": tenfold,
    "d": many_firms,
    "f": workflow,
    "e": imports,
    "g": bootstrap,
}


def _compare(row: Row, only: Run, ours: Row) -> None:
    """A program's time as a multiple of ours; a lower bound where its only run was stopped."""
    late = only.failed.startswith("stopped") and only.wall
    if ours.wall and (row.wall or late):
        row.ratio = (row.wall or late) / ours.wall
        row.note += ": the ratio is a lower bound" if late else ""


def _project(f: Field) -> Path:
    """A fresh copy of what runs, compiled, without results."""
    copy = f.folder / "workflow"
    shutil.rmtree(copy, ignore_errors=True)
    for name in ("hierreport", "workflow", "profiles", "config"):
        shutil.copytree(ROOT / name, copy / name)
    for path in (ROOT / "Snakefile", ROOT / "pyproject.toml", HERE / "report.Rmd"):
        shutil.copy2(path, copy)
    subprocess.run([sys.executable, "-m", "compileall", "-q", "hierreport"], cwd=copy, check=True)
    return copy


def _snakemake(f: Field, config: str):
    copy = _project(f)
    (copy / "race.yaml").write_text(config, encoding="utf-8")
    return run([f.bin("snakemake"), "--configfile", "race.yaml"], 300, copy)


def _only_uk_firms() -> str:
    """The shipped configuration without its other analyses."""
    import yaml

    shipped = yaml.safe_load((ROOT / "config" / "config.yaml").read_text(encoding="utf-8"))
    return yaml.safe_dump({"analyses": {"uk_firms": shipped["analyses"]["uk_firms"]}}, allow_unicode=True)
