"""Does FORMAT.md name all that a run directory holds: columns, attributes, keys of JSON?
Usage: format_names.py FORMAT.md RUNDIR"""
import glob, json, os, re, sys
import h5py

page, run = open(sys.argv[1]).read(), sys.argv[2]
OF_HDF5 = {"CLASS", "NAME", "DIMENSION_LIST", "REFERENCE_LIST", "DIMENSION_LABELS"}
# Names that follow from others: metric_NAME, reward_NAME, a variable's own name.
FREE = re.compile(r"metric_\w+|reward_(?!mean|std|min|max)\w+|(SLURM|OMP|OMPI)_\w+")
absent = set()


def want(name, where):
    if not FREE.fullmatch(name) and not re.search(r"(?<!\w)" + re.escape(name) + r"(?!\w)", page):
        absent.add(f"{where}: {name}")


def keys(value, where):
    if isinstance(value, dict):
        for name, below in value.items():
            want(name, where)
            keys(below, where)
    elif isinstance(value, list):
        for below in value:
            keys(below, where)


files = glob.glob(f"{run}/**/*.h5", recursive=True)
assert files, run
for path in files:
    where = os.path.relpath(path, run)
    with h5py.File(path) as f:
        def visit(name, o):
            want(name.split("/")[-1], where)
            for a in set(o.attrs) - OF_HDF5:
                want(a, f"{where}:{name}")
        for a in f.attrs:
            want(a, where)
        f.visititems(visit)
for name in ("status.json", "provenance.json", "accounting.json"):
    keys(json.load(open(f"{run}/{name}")), name)
for line in open(f"{run}/metrics.jsonl"):
    keys(json.loads(line), "metrics.jsonl")
print("\n".join(sorted(absent)))
sys.exit(bool(absent))
