rule render_report:
    input:
        panel="results/{analysis}/panel.parquet",
        structure="results/{analysis}/panel.json",
        rungs="results/{analysis}/rungs",
        ladder="results/{analysis}/ladder.json",
        checks="results/{analysis}/checks.json",
        residuals="results/{analysis}/residuals.json",
        verify="results/{analysis}/verify.json",
        inference="results/{analysis}/inference.json",
        sensitivity="results/{analysis}/sensitivity.json",
    output:
        html=report(
            "results/{analysis}/report.html",
            caption="../report/report.rst",
            category="Reports",
            labels={"analysis": "{analysis}"},
        ),
        summary="results/{analysis}/summary.json",
        figures=directory("results/{analysis}/figures"),
        tables=directory("results/{analysis}/tables"),
    log:
        "results/{analysis}/logs/report.log",
    wildcard_constraints:
        analysis=ANALYSES,
    conda:
        "../envs/hierreport.yaml"
    resources:
        mem_mb=1000,
        runtime=30,
    params:
        folder=folder,
        options=options("report"),
        code=code("report"),
    message:
        "{wildcards.analysis}: writing the report"
    shell:
        'exec "$HIERREPORT_PYTHON" -m hierreport stage report {params.folder:q}'
        " --options {params.options:q} >{log:q} 2>&1"
