rule fit_ladder:
    input:
        structure="results/{analysis}/panel.json",
        moments="results/{analysis}/moments.parquet",
    output:
        rungs=directory("results/{analysis}/rungs"),
        ladder="results/{analysis}/ladder.json",
    log:
        "results/{analysis}/logs/fit.log",
    benchmark:
        "results/{analysis}/logs/fit.tsv"
    wildcard_constraints:
        analysis=ANALYSES,
    conda:
        "../envs/hierreport.yaml"
    resources:
        mem_mb=1000,
        runtime=60,
    params:
        folder=folder,
        options=options("fit"),
        code=code("fit"),
    message:
        "{wildcards.analysis}: fitting the ladder"
    shell:
        'exec "$HIERREPORT_PYTHON" -m hierreport stage fit {params.folder:q}'
        " --options {params.options:q} >{log:q} 2>&1"
