# Helpers of the rules. All logic is in the package; here it is only found and asked.

import os
import re
import sys
from pathlib import Path

_root = Path(str(workflow.current_basedir)).resolve().parent.parent
if (_root / "hierreport" / "__init__.py").is_file():
    sys.path.insert(0, str(_root))  # the package of this checkout, whether or not it is installed

try:
    from hierreport import config as hierreport_config
    from hierreport import digest, running, signoff, source, stages
    from hierreport.errors import DataError, HierreportError
    from hierreport.history.identity import COMPUTING
    from hierreport.report import captions
except ImportError as error:
    from snakemake.exceptions import WorkflowError

    raise WorkflowError(f"hierreport is not installed beside Snakemake ({error}). Install it: pip install hierreport")

running.prepare_commands(conda="conda" in map(str, workflow.deployment_settings.deployment_method))
_DIGESTS = digest.stage_digests((*stages.STAGES, "index"))


def read_config(config):
    """The checked configuration; a fault ends the run with a sentence that names the key, and nothing else."""
    try:
        for file in workflow.configfiles:
            running.read_yaml(file)  # sees a key that stands twice, which Snakemake does not
        found = hierreport_config.load(config, ", ".join(map(os.path.relpath, workflow.configfiles)) or "config")
    except HierreportError as error:
        sys.exit(f"hierreport: error: {error}")
    config.pop("notify", None)  # its addresses may hold passwords: nothing that Snakemake writes may show them
    return found


def options(stage):
    """The params function of a stage: the options that it reads, as JSON."""
    return lambda wildcards: hierreport_config.options(CONFIG.analyses[wildcards.analysis], stages.STAGES[stage])


def folder(wildcards, output):
    """The folder of an analysis' results, also where another workflow put a prefix before it."""
    return os.path.dirname(output[0])


def code(stage):
    """Digest of the source that a stage runs, so that a change in the code reruns what depends on it."""
    return _DIGESTS[stage]


def figure_labels(wildcards, output):
    """A figure's label in Snakemake's report; its caption, which needs the finished results, goes along with it."""
    title, wildcards.caption = captions.figure(output.summary, wildcards.figure)
    return {"figure": title}


def report_labels(wildcards, output):
    """The same for a whole report: its caption is the verdict."""
    wildcards.caption = captions.verdict(output.summary)
    return {"analysis": wildcards.analysis}


def data_files(wildcards):
    """The files of a panel. A missing one is left to the stage to report: it stops one analysis, not all of them."""
    try:
        return [str(f) for f in source.list_files(hierreport_config.panel_path(CONFIG.analyses[wildcards.analysis]))]
    except DataError:
        return []


def sign_off_files(wildcards):
    """The form of an analysis and its confirmations, as far as they are there; the stage reports a missing form."""
    form = CONFIG.analyses[wildcards.analysis].sign_off
    return [str(f) for f in signoff.files(form) if f.is_file()] if form else []


def start_run():
    """One run at a time in a folder."""
    try:
        running.start()
    except HierreportError as error:
        sys.exit(f"hierreport: error: {error}")


def end_run():
    """The last lines on the screen: what went wrong, and where the reports are."""
    running.end(list(CONFIG.analyses))
