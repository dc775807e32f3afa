"""The command line. Nothing heavy is imported before the command that needs it is known."""

from __future__ import annotations

import argparse
import errno
import gc
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import __version__
from .errors import HierreportError

if TYPE_CHECKING:
    from .api import Fit

DESCRIPTION = """\
Mixed models for nested panels: reads a panel once, fits a ladder of models from pooled OLS to the richest formula,
chooses a rung and says why, checks it, and writes one self-contained report."""

EXAMPLES = """\
examples:
  hierreport run --config mine.yaml
      reports for the analyses described in mine.yaml -> results/<analysis>/report.html
  hierreport fit firms.csv --formula "log(emp) ~ log(wage) + (1 + log(wage) | sector/firm)" --out out/
      one model; prints its estimates and writes out/rungs/*.json
  hierreport ladder firms.csv --formula "log(emp) ~ log(wage) + (1 | sector/firm)" --time year --out out/
      every rung from pooled OLS up, with the tests between them and the choice
  hierreport simulate stocks.parquet --sectors 20 --firms 30 --days 250
      a panel with a known truth, to try things on

The formula is lme4's: (1 + x | a/b) gives intercepts and slopes of x by a, and by b within a; (x || a) independent
ones; C(year) one effect per year; log, exp, sqrt, lag(x, 1), diff(x), scale(x), poly(x, 2), mean(x, by=a) and within(x)
work. "hierreport COMMAND --help" explains a command. In Python: hierreport.fit(data, formula) and hierreport.ladder."""

# The options of `simulate`: fields of simulate.Design, repeated here so that --help loads nothing.
DESIGN: tuple[tuple[str, int | float, str], ...] = (
    ("sectors", 10, "number of sectors"),
    ("firms", 20, "firms per sector"),
    ("days", 250, "trading days"),
    ("missing", 0.05, "share of firm-days missing at random"),
    ("seed", 1, "same design and seed, same rows"),
    ("intercept", 0.05, "mean daily return, %%"),
    ("market", 1.0, "effect of the market's return"),
    ("volume", 0.3, "effect of the traded volume"),
    ("sector_sd", 0.3, "sd of the sectors' intercepts"),
    ("sector_slope_sd", 0.2, "sd of the sectors' market slopes"),
    ("sector_corr", 0.3, "correlation of the two"),
    ("firm_sd", 0.4, "sd of the firms' intercepts within sectors"),
    ("firm_slope_sd", 0.3, "sd of the firms' market slopes"),
    ("firm_corr", -0.4, "correlation of the two"),
    ("sigma", 1.5, "sd of the errors"),
    ("rho", 0.0, "AR(1) coefficient of the errors"),
    ("predictors", 0, "further columns without effect, for benchmarks"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: the command line without the program's name; ``sys.argv`` where not given.

    Returns:
        0; 2 for a refusal that the user can mend, 1 for anything else. ``run --unattended`` has codes of its own.
    """
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    one_blas_thread(always=options.command == "stage")
    if rest and options.command != "run":
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    options.rest = rest
    try:
        return options.function(options) or 0
    except HierreportError as error:
        print(f"hierreport: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("hierreport: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output has gone: `hierreport fit … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        if (refusal := of_the_disk(error)) is None:
            raise
        print(f"hierreport: error: {refusal}", file=sys.stderr)
        return 2


def of_the_disk(error: Exception) -> HierreportError | None:
    """The refusal to show where an error is no fault of ours: a full disk, a folder that cannot be written."""
    if "No space left on device" in str(error) or getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
        return HierreportError("The disk is full.", do="Free some space and start again; nothing is lost.")
    if isinstance(error, OSError) and error.strerror and error.filename:
        return HierreportError(f"{error.strerror}.", str(error.filename))
    return None


def one_blas_thread(always: bool = True) -> None:
    """Let BLAS work on one thread; must be called before NumPy is loaded.

    Groups' matrices are tiny, so that threads cost more than they bring, and the last digits of a sum depend on their
    number: a stage's artifacts must not.

    Args:
        always: also where the environment asks for another number.
    """
    for name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"):
        if always or (name == "OPENBLAS_NUM_THREADS" and name not in os.environ):
            os.environ[name] = "1"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="hierreport",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"hierreport {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    run = _command(commands, "run", _run, "run the whole workflow: a report for every analysis of a configuration")
    run.add_argument("--config", metavar="FILE", help="your configuration (default: config/config.yaml here)")
    run.add_argument("--cores", default="all", metavar="N", help="how many jobs at a time (default: all cores)")
    run.add_argument("--unattended", action="store_true", help="for schedulers: exit codes, one paragraph, alerts")
    run.add_argument("--json", action="store_true", help="with --unattended: print results/run.json, no paragraph")
    run.add_argument("--silent", action="store_true", help="with --unattended: print nothing on exit codes 0 and 10")
    settle = "with --unattended: look again at files changed just now after so many seconds (default: 5)"
    run.add_argument("--settle", type=float, default=5.0, metavar="SECONDS", help=settle)
    run.epilog = "Anything else goes to snakemake: --dry-run, --forceall, --until, a file to make, …"

    for name, function, text in (
        ("fit", _fit, "fit one mixed model by ML and REML"),
        ("ladder", _ladder, "fit and compare every rung from pooled OLS to the formula"),
    ):
        command = _command(commands, name, function, text)
        command.add_argument(
            "data", metavar="DATA", help="CSV, Parquet, Arrow, JSON lines, Stata, SAS, Excel; folder or 'glob'"
        )
        command.add_argument("--formula", required=True, help='lme4 notation: "y ~ x + (1 + x | school/class)"')
        command.add_argument("--time", metavar="COLUMN", help="orders the rows of a group")
        command.add_argument("--weights", metavar="COLUMN", help="as lmer(weights = )")
        command.add_argument("--sheet", help="sheet of an Excel workbook")
        command.add_argument(
            "--df",
            choices=("satterthwaite", "kenward-roger", "normal"),
            default="satterthwaite",
            help="degrees of freedom",
        )
        command.add_argument("--errors", choices=("iid", "ar1", "car1"), help="serial correlation (needs --time)")
        command.add_argument("--variances", metavar="COLUMN", help="residual variances by a column of the data")
        command.add_argument("--crossed", metavar="COLUMN", help="the time column: shocks shared by all groups")
        command.add_argument(
            "--absorb",
            metavar="NAMES",
            type=_names,
            help="firm,year: least squares with a fixed effect for every group and period, too",
        )
        command.add_argument(
            "--time-step", type=_number_or_text, metavar="STEP", help="a number, or day, week, month, …"
        )
        command.add_argument(
            "--out", metavar="DIR", type=Path, help="write rungs/*.json and their random effects there"
        )
    command.add_argument("--inference", action="store_true", help="write inference.json to --out, too")

    simulate = _command(commands, "simulate", _simulate, "write a daily stock panel with a known truth")
    simulate.add_argument("out", metavar="FILE", type=Path, help="a .parquet, .csv or .csv.gz file")
    for name, default, text in DESIGN:
        simulate.add_argument(
            f"--{name.replace('_', '-')}", type=type(default), metavar="N", help=f"{text} (default: {default})"
        )
    simulate.add_argument("--order", choices=("firm", "day"), help="how the rows are sorted (default: firm)")
    simulate.epilog = "The truth goes to FILE's name with .truth.json; its formula is the one to fit."

    schedule = _command(commands, "schedule", _schedule, "ready files that run the workflow every day")
    schedule.add_argument("--systemd", action="store_true", help="a service and a timer")
    schedule.add_argument("--cron", action="store_true", help="a line for crontab -e")
    schedule.add_argument("--github", action="store_true", help="a workflow for GitHub Actions")
    schedule.add_argument("--config", metavar="FILE", help="your configuration (default: config/config.yaml here)")
    schedule.add_argument("--at", default="06:00", metavar="HH:MM", help="time of day (default: 06:00)")
    schedule.add_argument("--out", metavar="DIR", type=Path, help="write the files there (default: print them)")
    schedule.epilog = "They run `hierreport run --unattended` in this folder, with this Python. See docs/scheduling.md."

    config = _command(commands, "config", _config, "check a configuration, or write one to start from")
    config.add_argument(
        "file", nargs="?", default="config/config.yaml", help="what to check (default: config/config.yaml)"
    )
    config.add_argument("--example", action="store_true", help="print a commented configuration to start from")
    config.add_argument("--write", action="store_true", help="(developers) write schema, example and key table again")

    export = _command(commands, "export", _export, "a finished report's tables, figures or pages in further formats")
    export.add_argument("folder", metavar="DIR", type=Path, help="results/<analysis>")
    export.add_argument("--tables", metavar="FORMATS", help="of md, tex, xlsx, separated by commas")
    export.add_argument("--figures", metavar="FORMATS", help="of pdf, png, for papers and slides")
    export.add_argument("--pdf", action="store_true", help="the report as a PDF with bookmarks and page numbers")
    export.add_argument("--out", metavar="DIR", type=Path, help="where to write (default: DIR/export)")
    export.epilog = "Titles, labels and number format are those that the report was written with."

    index = _command(commands, "index", _index, "one page over the reports of several analyses")
    index.add_argument("folder", metavar="DIR", type=Path, help="the folder that holds the analyses: results")
    index.add_argument("--analyses", metavar="NAMES", help="in this order, separated by commas (default: all)")

    verify = _command(commands, "verify", _verify, "check that a finished analysis is still what its manifest says")
    verify.add_argument("folder", metavar="DIR", type=Path, help="results/<analysis>")
    verify.add_argument("--hashes-only", action="store_true", help="compare digests, recompute nothing")
    verify.add_argument("--signers", metavar="FILE", type=Path, help="who may sign (OpenSSH's allowed_signers file)")
    verify.epilog = (
        "Hashes every artifact and data file, computes the moments from the panel and the log-likelihoods from the "
        "moments again, and follows the address of every number in report.html. Exit code 0: all as recorded; 1: not."
    )

    reproduce = _command(commands, "reproduce", _reproduce, "run a past run again and compare every file with it")
    reproduce.add_argument("folder", metavar="DIR", type=Path, help="results/<analysis> or history/<analysis>/<run_id>")
    reproduce.add_argument("--keep", metavar="DIR", type=Path, help="leave the new results there (default: nothing)")
    reproduce.epilog = (
        "Takes configuration and data from the manifest, runs in a temporary folder, and compares byte for byte; what "
        "differs is named with the likely reason. Exit code 0: all the same; 1: not; 2: the data are others."
    )

    sign = _command(commands, "sign", _sign, "sign a finished analysis with an SSH key")
    sign.add_argument("folder", metavar="DIR", type=Path, help="results/<analysis>")
    sign.add_argument("--key", metavar="FILE", type=Path, help="private SSH key (default: yours in ~/.ssh)")
    sign.epilog = "Checked by `hierreport verify DIR --signers FILE`, or by `ssh-keygen -Y verify -n hierreport`."

    diff = _command(commands, "diff", _diff, "what changed from one run of an analysis to another")
    runs = "results/<analysis>, history/<analysis>/<run_id>, or a run's id or number (uk_firms/3)"
    diff.add_argument("before", metavar="RUN", help=runs)
    diff.add_argument("now", metavar="RUN", help="the same")
    diff.add_argument("--json", action="store_true", help="as JSON, with full precision")
    diff.add_argument(
        "--history",
        metavar="DIR",
        type=Path,
        default=Path("history"),
        help="where the runs are kept (default: history)",
    )
    diff.epilog = (
        "Rows and groups that came and went, revised values, changes of estimates, choice and checks, with causes."
    )

    signoff = _command(commands, "signoff", _signoff, "what people enter into the model document: list, start, confirm")
    signoff.add_argument("analyses", nargs="*", metavar="ANALYSIS", help="names from the configuration (default: all)")
    signoff.add_argument("--config", metavar="FILE", default="config/config.yaml", help="your configuration")
    signoff.add_argument("--results", metavar="DIR", type=Path, default=Path("results"), help="where the results are")
    signoff.add_argument("--init", action="store_true", help="write a form with empty places where there is none")
    signoff.add_argument("--confirm", action="store_true", help="record that the entries hold for the present results")
    signoff.add_argument("--entries", metavar="KEYS", help="confirm these alone, separated by commas")
    signoff.add_argument("--by", metavar="NAME", default="", help="who confirms")
    signoff.epilog = (
        "The form is the file that the key sign_off of the configuration names. Without --init or --confirm the "
        "entries are listed, and the exit code is 1 where one is empty or not confirmed. Run the workflow again "
        "afterwards: the model document shows what is new."
    )

    stage = _command(commands, "stage", _stage, "one stage of the workflow, as the Snakemake rules call it")
    stage.add_argument("name", metavar="NAME")
    stage.add_argument("folder", metavar="DIR", type=Path, help="results/<analysis>")
    stage.add_argument("--options", default="{}", metavar="JSON", help="the options that the stage reads")
    return parser


def _command(commands: Any, name: str, function: Any, text: str) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    command.set_defaults(function=function)
    return command


def _names(text: str) -> list[str]:
    return [name for part in text.split(",") if (name := part.strip())]


def _number_or_text(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _run(options: argparse.Namespace) -> int:
    if options.unattended:
        from .unattended import runner

        manner = runner.Manner(
            options.config, options.cores, options.rest, options.json, options.silent, options.settle
        )
        return runner.run(manner)
    from .running import run

    return run(options.config, options.cores, options.rest)


def _schedule(options: argparse.Namespace) -> int:
    from .unattended import schedule

    kinds = [kind for kind in schedule.KINDS if getattr(options, kind)]
    if not kinds:
        raise HierreportError("for which scheduler?", "hierreport schedule", "Add --systemd, --cron or --github.")
    job = schedule.job(options.config, options.at)
    for kind in kinds:
        for name, text in schedule.KINDS[kind](job).items():
            if options.out:
                options.out.mkdir(parents=True, exist_ok=True)
                (options.out / name).write_text(text, encoding="utf-8")
                print(f"wrote {options.out / name}")
            else:
                print(f"# {name}\n{text}")
    return 0


def _stage(options: argparse.Namespace) -> int:
    from . import stages
    from .provenance.accounting import measured
    from .running import die_with_parent

    if options.name not in stages.STAGES:
        raise HierreportError(
            f"there is no stage '{options.name}'.", "hierreport stage", f"Stages: {', '.join(stages.STAGES)}."
        )
    die_with_parent()
    start = time.perf_counter()
    options.folder.mkdir(parents=True, exist_ok=True)
    given = json.loads(options.options)
    gc.set_threshold(100_000)  # a stage is a short life: looking for cycles in what it imports frees nothing
    try:
        with measured(options.name, options.folder, given):
            getattr(stages, options.name)(options.folder, given)
    except HierreportError:
        raise
    except Exception as error:
        if (refusal := of_the_disk(error)) is not None:
            raise refusal from error
        import traceback

        traceback.print_exc()
        message = str(error).strip() or "(no message)"
        print(f"hierreport: error: unexpected {type(error).__name__}: {message}", file=sys.stderr)
        return 1
    print(f"hierreport: {options.name} done in {time.perf_counter() - start:.2f} s")
    return 0


def _export(options: argparse.Namespace) -> int:
    from . import report

    formats = {kind: tuple(filter(None, (getattr(options, kind) or "").split(","))) for kind in ("tables", "figures")}
    if not options.pdf and not any(formats.values()):
        raise HierreportError("nothing to export.", "hierreport export", "Add --tables, --figures or --pdf.")
    written: list[Path] = []
    if formats["tables"]:
        written += report.export_tables(options.folder, formats=formats["tables"], out=options.out)
    if formats["figures"]:
        written += report.export_figures(options.folder, formats=formats["figures"], out=options.out)
    if options.pdf:
        written.append(report.export_pdf(options.folder, out=options.out))
    for path in written:
        print(f"wrote {path}")
    return 0


def _index(options: argparse.Namespace) -> int:
    from . import stages

    names = options.analyses.split(",") if options.analyses else None
    stages.index(options.folder, {"analyses": names} if names else {})
    return 0


def _signoff(options: argparse.Namespace) -> int:
    from .running import read_config
    from .signoff import commands

    known = read_config(options.config).analyses
    names = options.analyses or list(known)
    for name in names:
        if name not in known:
            raise HierreportError(f"there is no analysis '{name}'.", options.config, f"Analyses: {', '.join(known)}.")
    forms = {name: known[name].sign_off for name in names}
    if options.init:
        return commands.init(forms, options.results)
    if options.confirm:
        keys = options.entries.split(",") if options.entries else None
        return commands.confirm(forms, options.results, keys, options.by)
    return commands.show(forms, options.results)


def _verify(options: argparse.Namespace) -> int:
    from .provenance import verify_folder

    outcome = verify_folder(options.folder, recompute=not options.hashes_only, signers=options.signers)
    print(outcome.text)
    return 0 if outcome.ok else 1


def _reproduce(options: argparse.Namespace) -> int:
    from .provenance.again import reproduce

    outcome = reproduce(options.folder, options.keep)
    print(outcome.text)
    return 0 if outcome.ok else 1


def _sign(options: argparse.Namespace) -> int:
    from .provenance.signing import sign

    print(f"wrote {sign(options.folder, options.key)}")
    return 0


def _diff(options: argparse.Namespace) -> int:
    from .history.compare import compare
    from .history.find import find
    from .history.text import comparison

    before = find(options.before, options.history)
    now = find(options.now, options.history, analysis=before.analysis)
    found = compare(before, now)
    if options.json:
        from .records import plain

        ends = {name: {"run_id": run.run_id, "digest": run.digest} for name, run in (("before", before), ("now", now))}
        print(json.dumps(plain({**ends, **found}), ensure_ascii=False, indent=1, allow_nan=False))
    else:
        print(comparison(before, now, found))
    return 0


def _config(options: argparse.Namespace) -> int:
    from . import config_files

    if options.example:
        print(config_files.example_yaml(), end="")
    elif options.write:
        for path, text in config_files.generated(Path.cwd()).items():
            if not path.exists() or path.read_text(encoding="utf-8") != text:
                path.write_text(text, encoding="utf-8")
                print(f"wrote {path.relative_to(Path.cwd())}")
    else:
        from .running import read_config

        analyses = read_config(options.file).analyses
        count = "1 analysis" if len(analyses) == 1 else f"{len(analyses)} analyses"
        print(f"{options.file}: {count}, no fault found: {', '.join(analyses)}")
    return 0


def _fit(options: argparse.Namespace) -> int:
    from . import api

    fitted = api.fit(options.data, options.formula, errors=options.errors or "iid", **_model_options(options))
    if options.out:
        _save(options.out, [fitted])
    print(fitted.summary)
    _absorbed(options, fitted)
    return 0


def _ladder(options: argparse.Namespace) -> int:
    from . import api
    from .rungs_io import write_json

    errors = None if options.errors is None else tuple(dict.fromkeys(("iid", options.errors)))
    ladder = api.ladder(options.data, options.formula, errors=errors, **_model_options(options))
    if options.out:
        _save(options.out, list(ladder.rungs.values()))
        record = ladder.to_dict()
        if options.inference:
            record["register"] += ladder.registered(options.absorb)
        write_json(options.out / "ladder.json", record)
        if options.inference:
            write_json(options.out / "inference.json", ladder.inference(absorb=options.absorb))
    print(ladder.summary)
    _absorbed(options, ladder.chosen)
    return 0


def _absorbed(options: argparse.Namespace, fitted: Fit) -> None:
    """Print, and with ``--out`` write, the estimates with the effects absorbed that ``--absorb`` names."""
    if not options.absorb:
        return
    from .api_text import absorbed_text
    from .rungs_io import write_json

    found = fitted.absorbed(*options.absorb)
    if options.out:
        write_json(options.out / "absorbed.json", found.to_dict())
    print(f"\n{absorbed_text(found)}")


MODEL_OPTIONS = ("time", "weights", "df", "time_step", "sheet", "variances", "crossed")


def _model_options(options: argparse.Namespace) -> dict[str, Any]:
    return {key: getattr(options, key) for key in MODEL_OPTIONS}


def _save(folder: Path, fits: Sequence[Fit]) -> None:
    """Write rungs/<rung>.json and rungs/<rung>.effects.parquet, as the workflow does."""
    from .rungs_io import write_effects, write_json

    rungs = folder / "rungs"
    rungs.mkdir(parents=True, exist_ok=True)
    for fit in fits:
        write_json(rungs / f"{fit.rung}.json", fit.to_dict())
        if fit.spec.random:
            write_effects(rungs / f"{fit.rung}.effects.parquet", fit.engine, fit.frame.groups)


def _simulate(options: argparse.Namespace) -> int:
    from . import simulate

    known = simulate.write(options.out, options)
    print(f"wrote {options.out}; the truth is beside it. Its model:")
    print(f'  hierreport fit {options.out} --time {known["time"]} --formula "{known["formula"]}"')
    return 0
