"""The shape of a large run: one job for each shard of the corpus, one that gathers them. For benchmarks/graph.py."""

rule gather:
    input:
        expand("shards/{shard}.done", shard=range(int(config["shards"]))),
    output:
        touch("gathered.done"),


rule shard:
    output:
        touch("shards/{shard}.done"),
    shell:
        ":"
