# The workflow itself is workflow/Snakefile; this lets `snakemake` find it, and profiles/default, from here.


include: "workflow/Snakefile"


rule reports:
    default_target: True
    input:
        rules.all.input,
    message:
        "all reports are up to date"
