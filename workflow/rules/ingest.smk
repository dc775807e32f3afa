rule ingest_panel:
    input:
        data_files,
    output:
        panel="results/{analysis}/panel.parquet",
        structure="results/{analysis}/panel.json",
        moments="results/{analysis}/moments.parquet",
    log:
        "results/{analysis}/logs/ingest.log",
    benchmark:
        "results/{analysis}/logs/ingest.tsv"
    wildcard_constraints:
        analysis=ANALYSES,
    conda:
        "../envs/hierreport.yaml"
    resources:
        mem_mb=1000,
        runtime=30,
    params:
        folder=folder,
        options=options("ingest"),
        code=code("ingest"),
    message:
        "{wildcards.analysis}: reading and checking the panel"
    shell:
        'exec "$HIERREPORT_PYTHON" -m hierreport stage ingest {params.folder:q}'
        " --options {params.options:q} >{log:q} 2>&1"
