"""The project's own source files, and what they include. Used by the other checks."""
import os
import re

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TOP = ("harness", "runtime", "golden", "reports", "tests", "ci", "scenarios")
INCLUDE = re.compile(r'^\s*#\s*include\s+([<"])([^>"]+)[>"]')


def files(*suffixes, tops=TOP):
    """Paths relative to the root, sorted."""
    found = []
    for top in tops:
        for folder, folders, names in os.walk(os.path.join(ROOT, top)):
            folders[:] = [f for f in folders if f not in ("__pycache__", "corpus")]
            for name in names:
                if name.endswith(suffixes):
                    found.append(os.path.relpath(os.path.join(folder, name), ROOT))
    return sorted(found)


def lines(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return file.read().split("\n")


def is_generated(path):
    return any("enerated by" in line for line in lines(path)[:10])


def includes(path):
    """(line number, "<" or '"', name) of each include."""
    for number, line in enumerate(lines(path), 1):
        match = INCLUDE.match(line)
        if match:
            yield number, match.group(1), match.group(2)
