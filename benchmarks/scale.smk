"""Jobs that do nothing and depend on nothing, for benchmarks/graph.py."""

rule all:
    input:
        expand("jobs/{job}", job=range(int(config["jobs"]))),


rule job:
    output:
        touch("jobs/{job}"),
    shell:
        ":"
