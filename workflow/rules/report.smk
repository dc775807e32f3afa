rule render_report:
    input:
        sign_off_files,
        panel="results/{analysis}/panel.parquet",
        structure="results/{analysis}/panel.json",
        rungs="results/{analysis}/rungs",
        ladder="results/{analysis}/ladder.json",
        checks="results/{analysis}/checks.json",
        residuals="results/{analysis}/residuals.json",
        verify="results/{analysis}/verify.json",
        inference="results/{analysis}/inference.json",
        sensitivity="results/{analysis}/sensitivity.json",
        changes="results/{analysis}/changes.json",
    output:
        html=report(
            "results/{analysis}/report.html",
            caption="../report/report.rst",
            category="Reports",
            labels=report_labels,
        ),
        document="results/{analysis}/model_document.html",
        document_text="results/{analysis}/model_document.md",
        summary="results/{analysis}/summary.json",
        text="results/{analysis}/summary.md",
        figures=report(
            directory("results/{analysis}/figures"),
            patterns=["{figure}.svg"],
            caption="../report/figure.rst",
            category="{analysis}",
            labels=figure_labels,
        ),
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


rule index:
    input:
        expand("results/{analysis}/summary.json", analysis=DUE),
    output:
        report("results/index.html", caption="../report/index.rst", category="Reports", labels={"analysis": "all"}),
    log:
        "results/index.log",
    conda:
        "../envs/hierreport.yaml"
    resources:
        mem_mb=500,
        runtime=10,
    params:
        folder=lambda wildcards, output: os.path.dirname(output[0]),
        analyses=",".join(CONFIG.analyses),
        code=code("index"),
    message:
        "all analyses on one page"
    shell:
        'exec "$HIERREPORT_PYTHON" -m hierreport index {params.folder:q}'
        " --analyses {params.analyses:q} >{log:q} 2>&1"
