rule audit_run:
    input:
        data_files,
        panel="results/{analysis}/panel.parquet",
        structure="results/{analysis}/panel.json",
        moments="results/{analysis}/moments.parquet",
        rungs="results/{analysis}/rungs",
        ladder="results/{analysis}/ladder.json",
        inference="results/{analysis}/inference.json",
        sensitivity="results/{analysis}/sensitivity.json",
        checks="results/{analysis}/checks.json",
        residuals="results/{analysis}/residuals.json",
        verify="results/{analysis}/verify.json",
        changes="results/{analysis}/changes.json",
        html="results/{analysis}/report.html",
        summary="results/{analysis}/summary.json",
        figures="results/{analysis}/figures",
        tables="results/{analysis}/tables",
    output:
        manifest="results/{analysis}/manifest.json",
        digest="results/{analysis}/manifest.json.sha256",
        crate="results/{analysis}/ro-crate-metadata.json",
        replicate=directory("results/{analysis}/replicate"),
        workflow=directory("results/{analysis}/workflow"),
    log:
        "results/{analysis}/logs/audit.log",
    wildcard_constraints:
        analysis=ANALYSES,
    conda:
        "../envs/hierreport.yaml"
    resources:
        mem_mb=1000,
        runtime=30,
    params:
        folder=folder,
        options=options("audit"),
        code=code("audit"),
    message:
        "{wildcards.analysis}: recording where every file came from"
    shell:
        'exec "$HIERREPORT_PYTHON" -m hierreport stage audit {params.folder:q}'
        " --options {params.options:q} >{log:q} 2>&1"
