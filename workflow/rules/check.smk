rule diagnose_rung:
    input:
        panel="results/{analysis}/panel.parquet",
        structure="results/{analysis}/panel.json",
        rungs="results/{analysis}/rungs",
        ladder="results/{analysis}/ladder.json",
    output:
        checks="results/{analysis}/checks.json",
        residuals="results/{analysis}/residuals.json",
    log:
        "results/{analysis}/logs/diagnose.log",
    conda:
        "../envs/hierreport.yaml"
    resources:
        mem_mb=1000,
        runtime=30,
    params:
        options=options("diagnose"),
        code=code("diagnose"),
    message:
        "{wildcards.analysis}: checking the assumptions on the rows"
    shell:
        'exec "$HIERREPORT_PYTHON" -m hierreport stage diagnose results/{wildcards.analysis}'
        " --options {params.options:q} >{log} 2>&1"


rule verify_rungs:
    input:
        panel="results/{analysis}/panel.parquet",
        structure="results/{analysis}/panel.json",
        rungs="results/{analysis}/rungs",
        ladder="results/{analysis}/ladder.json",
    output:
        "results/{analysis}/verify.json",
    log:
        "results/{analysis}/logs/verify.log",
    conda:
        "../envs/hierreport.yaml"
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        options=options("verify"),
        code=code("verify"),
    message:
        "{wildcards.analysis}: asking a second engine"
    shell:
        'exec "$HIERREPORT_PYTHON" -m hierreport stage verify results/{wildcards.analysis}'
        " --options {params.options:q} >{log} 2>&1"
