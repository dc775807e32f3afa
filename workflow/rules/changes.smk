# The runs kept in history/ are no input: a run is compared with the newest other one at the time its numbers changed.
# Only the checks and the fits are compared, so that this need not wait for inference; but a run is told from others by
# the code of every stage that computes.
rule compare_runs:
    input:
        panel="results/{analysis}/panel.parquet",
        structure="results/{analysis}/panel.json",
        moments="results/{analysis}/moments.parquet",
        rungs="results/{analysis}/rungs",
        ladder="results/{analysis}/ladder.json",
        checks="results/{analysis}/checks.json",
    output:
        "results/{analysis}/changes.json",
    log:
        "results/{analysis}/logs/changes.log",
    wildcard_constraints:
        analysis=ANALYSES,
    conda:
        "../envs/hierreport.yaml"
    resources:
        mem_mb=1000,
        runtime=30,
    params:
        folder=folder,
        options=options("changes"),
        code=code("changes"),
        computed_by=[code(stage) for stage in COMPUTING],
    message:
        "{wildcards.analysis}: comparing with the last run"
    shell:
        'exec "$HIERREPORT_PYTHON" -m hierreport stage changes {params.folder:q}'
        " --options {params.options:q} >{log:q} 2>&1"
