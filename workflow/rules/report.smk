rule render_report:
    input:
        panel="results/{analysis}/panel.parquet",
        structure="results/{analysis}/panel.json",
        rungs="results/{analysis}/rungs",
        ladder="results/{analysis}/ladder.json",
        checks="results/{analysis}/checks.json",
        residuals="results/{analysis}/residuals.json",
        verify="results/{analysis}/verify.json",
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
    conda:
        "../envs/hierreport.yaml"
    resources:
        mem_mb=1000,
        runtime=30,
    params:
        options=options("report"),
        code=code("report"),
    message:
        "{wildcards.analysis}: writing the report"
    shell:
        'exec "$HIERREPORT_PYTHON" -m hierreport stage report results/{wildcards.analysis}'
        " --options {params.options:q} >{log} 2>&1"
