"""The graph of a run: stories (papermill) -> results.json -> book. `make book` runs it through tools/run.py.

A run is a file in runs/:
- `stories:` holds each story's parameters;
- `scatter:` names list parameters whose elements are computed one by one, in parallel, before the
  story itself finds every stage and gathers;
- `first:` names the stories that take longest, which start first;
- `resources:` says what a story's jobs need, beyond NEEDS.

A page is made again when its story, its parameters, the lib modules it imports, the data or the lock
change, in their times or in their contents. On a cluster: add `--profile profiles/slurm` (or that of
another executor plug-in); the graph stays as it is.
"""

import base64
import hashlib
import re
from functools import cache
from itertools import product
from pathlib import Path

import yaml

from lib.book.parameters import read_run
from lib.runtime import stages
from lib.runtime.code import closure

RUN = config.get("run", "quick")
run = read_run(Path(config.get("parameters", f"runs/{RUN}.yml")))
OUT = f"{stages.root()}/{RUN}"
STORIES = run["stories"]
FIRST = run.get("first", [])
NEEDS = {"mem_mb": 4000, "runtime": 120, "gpu": 0}  # of a job, beside one core: MB, minutes, devices
PROSE = ["_config.yml", "_toc.yml"]
for pattern in ("*.*", "_static/*", "_templates/*"):
    PROSE += [str(path) for path in sorted(Path("book").glob(pattern)) if path.is_file()]
# with other corpora, the introduction quotes numbers that are not there
STRICT = "-n -W --keep-going" if RUN in ("quick", "report") else "-n"
# Huge pages and kept memory: a training step on 96 x 96 spectrograms meets fewer page faults and takes a
# tenth less time.
MALLOC = "glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=4294967296:glibc.malloc.trim_threshold=8589934592"
shell.prefix(
    "set -euo pipefail; export OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false "
    f"GLIBC_TUNABLES={MALLOC}; "
)

# papermill's bar names the story. The output moves into place when every cell has run, with a checksum
# beside it that tools/publish.py verifies.
PAPERMILL = """
mkdir -p {OUT:q}/tried && tried={OUT:q}/tried/{params.name}.ipynb
TQDM_NCOLS=100 TQDM_BAR_FORMAT='{params.name} cell {{n_fmt}}/{{total_fmt}} |{{bar}}| {{elapsed}} (to go {{remaining}})' \
papermill {params.notebook} "$tried" -k python3 --cwd notebooks -b {params.encoded} || {{
    echo "{params.name} did not end; its page so far: $tried." >&2
    if head -c 1000000 /dev/zero > "$tried.room" 2>/dev/null; then
        echo "If its kernel died and nobody stopped it, memory was short: lower batch_size or a number of clips in" \
            "runs/{RUN}.yml, or set JOBS=1" >&2
    else
        echo "Nothing more can be written there: free some space, or set the variable ARTIFACTS_DIR to another folder" >&2
    fi
    rm -f "$tried.room"
    exit 1
}}
python -c 'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())' < "$tried" > {output:q}.sha256
mv "$tried" {output:q}
"""


@cache  # every job asks
def points(story):
    """Parameters of each element of a scattered story: name of the element -> parameters."""
    names = run.get("scatter", {}).get(story, [])
    elements = {}
    for values in product(*(STORIES[story][name] for name in names)) if names else []:
        element = re.sub(r"[^\w.+-]", "_", "-".join(map(str, values)))[-150:]  # a file's name
        elements[element] = STORIES[story] | {n: [v] for n, v in zip(names, values)}
    return elements


def urgency(story):
    return len(FIRST) - FIRST.index(story) if story in FIRST else 0


def need(name):
    """How much of a resource a story's job may take; a job that died for too little may take more."""

    def most(wildcards, attempt):
        amount = run.get("resources", {}).get(wildcards.story, {}).get(name, NEEDS[name])
        return amount if name == "gpu" else amount * attempt

    return most


def encoded(parameters):
    return base64.b64encode(yaml.safe_dump(parameters).encode()).decode()


@cache
def code(story):
    """Files that a page depends on: its .py (outputs in the .ipynb do not count), lib, data, lock."""
    source = f"notebooks/{story}.py"
    files = [source, "data/manifest.csv", "requirements.txt"]
    return files + [str(path) for path in closure(Path(source).read_text(encoding="utf-8"))]


@cache
def contents(*files):
    """A hash of files. As a parameter of a rule it shows a change that times hide: clocks jump."""
    return hashlib.sha256(b"".join(Path(file).read_bytes() for file in files)).hexdigest()


localrules:
    book,
    results,


wildcard_constraints:
    story=r"\d\d_\w+",


# The file `building` stands while Sphinx writes. Sphinx starts anew
# - after a build that was cut, when it would take half a book for a whole one;
# - after a build whose clock was ahead, when it would take a new page for an old one;
# - after an edit of references.bib, because it does not know which pages cite.
rule book:
    input:
        pages=expand(f"{OUT}/pages/{{story}}.ipynb", story=STORIES),
        results=f"{OUT}/results.json",
        prose=PROSE,
    output:
        touch(f"{OUT}/book.done"),
    params:
        prose=contents(*PROSE),
    shell:
        """
        python tools/publish.py stage {OUT:q}
        [ ! -e {OUT:q}/building ] || rm -rf {OUT:q}/book/_build
        touch {OUT:q}/building
        [ ! {OUT:q}/book/_build/.doctrees/environment.pickle -nt {OUT:q}/building ] || rm -rf {OUT:q}/book/_build
        [ ! {OUT:q}/book/references.bib -nt {OUT:q}/book/_build/.doctrees/environment.pickle ] || rm -rf {OUT:q}/book/_build
        jupyter-book build {OUT:q}/book {STRICT}
        test -s {OUT:q}/book/_build/html/index.html
        rm {OUT:q}/building
        """


rule results:
    input:
        expand(f"{OUT}/pages/{{story}}.ipynb", story=STORIES),
    output:
        f"{OUT}/results.json",
    shell:
        "python tools/publish.py results {output:q} {input:q}"


rule story:
    input:
        lambda w: code(w.story),
        lambda w: expand(f"{OUT}/scatter/{w.story}/{{point}}.ipynb", point=points(w.story)),
    output:
        f"{OUT}/pages/{{story}}.ipynb",
    params:
        name="{story}",
        notebook="notebooks/{story}.ipynb",
        encoded=lambda w: encoded(STORIES[w.story]),
        code=lambda w: contents(*code(w.story)),
    priority: lambda w: urgency(w.story)
    resources:
        mem_mb=need("mem_mb"),
        runtime=need("runtime"),
        gpu=need("gpu"),
    shell:
        PAPERMILL


rule point:
    input:
        lambda w: code(w.story),
    output:
        f"{OUT}/scatter/{{story}}/{{point}}.ipynb",
    params:
        name="{story}.{point}",
        notebook="notebooks/{story}.ipynb",
        encoded=lambda w: encoded(points(w.story)[w.point]),
        code=lambda w: contents(*code(w.story)),
    priority: lambda w: urgency(w.story)
    resources:
        mem_mb=need("mem_mb"),
        runtime=need("runtime"),
        gpu=need("gpu"),
    shell:
        PAPERMILL

