rule diagnose_rung:
    input:
        panel="results/{analysis}/panel.parquet",
        structure="results/{analysis}/panel.json",
        rungs="results/{analysis}/rungs",
        ladder="results/{analysis}/ladder.json",
        sensitivity="results/{analysis}/sensitivity.json",
        verify="results/{analysis}/verify.json",
    output:
        checks="results/{analysis}/checks.json",
        residuals="results/{analysis}/residuals.json",
    log:
        "results/{analysis}/logs/diagnose.log",
    wildcard_constraints:
        analysis=ANALYSES,
    priority: 3
    conda:
        "../envs/hierreport.yaml"
    resources:
        mem_mb=1000,
        runtime=30,
    params:
        folder=folder,
        options=options("diagnose"),
        code=code("diagnose"),
    message:
        "{wildcards.analysis}: checking the assumptions on the rows"
    shell:
        'exec "$HIERREPORT_PYTHON" -m hierreport stage diagnose {params.folder:q}'
        " --options {params.options:q} >{log:q} 2>&1"


rule infer_rungs:
    input:
        structure="results/{analysis}/panel.json",
        moments="results/{analysis}/moments.parquet",
        rungs="results/{analysis}/rungs",
        ladder="results/{analysis}/ladder.json",
    output:
        "results/{analysis}/inference.json",
    log:
        "results/{analysis}/logs/infer.log",
    wildcard_constraints:
        analysis=ANALYSES,
    priority: 2
    conda:
        "../envs/hierreport.yaml"
    resources:
        mem_mb=1000,
        runtime=60,
    params:
        folder=folder,
        options=options("infer"),
        code=code("infer"),
    message:
        "{wildcards.analysis}: intervals, simulated tests, robust errors"
    shell:
        'exec "$HIERREPORT_PYTHON" -m hierreport stage infer {params.folder:q}'
        " --options {params.options:q} >{log:q} 2>&1"


# On two processors: this one and the sensitivity analysis first, then inference, the longest, beside the diagnostics.
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
    wildcard_constraints:
        analysis=ANALYSES,
    priority: 3
    conda:
        "../envs/hierreport.yaml"
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        folder=folder,
        options=options("verify"),
        code=code("verify"),
    message:
        "{wildcards.analysis}: asking a second engine"
    shell:
        'exec "$HIERREPORT_PYTHON" -m hierreport stage verify {params.folder:q}'
        " --options {params.options:q} >{log:q} 2>&1"


rule sensitivity_of_choice:
    input:
        panel="results/{analysis}/panel.parquet",
        structure="results/{analysis}/panel.json",
        moments="results/{analysis}/moments.parquet",
        rungs="results/{analysis}/rungs",
        ladder="results/{analysis}/ladder.json",
    output:
        "results/{analysis}/sensitivity.json",
    log:
        "results/{analysis}/logs/sensitivity.log",
    wildcard_constraints:
        analysis=ANALYSES,
    priority: 3
    conda:
        "../envs/hierreport.yaml"
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        folder=folder,
        options=options("sensitivity"),
        code=code("sensitivity"),
    message:
        "{wildcards.analysis}: trying other models, rows and groups"
    shell:
        'exec "$HIERREPORT_PYTHON" -m hierreport stage sensitivity {params.folder:q}'
        " --options {params.options:q} >{log:q} 2>&1"
