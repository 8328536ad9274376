"""Reads the machine code of the runtime's objects: what the promise of equal bits forbids.

Usage: machine_code.py BUILD_FOLDER
In numerics, model, schedule, parallel and the CPU backends: no call into libm (its bits are the
distribution's), no x87, no bf16 dot product or conversion (they flush and round their own way).
In *_avx512 objects: no AVX-512 in a function that the linker may choose for the whole program.
Exit: 0 clean, 1 something forbidden, or nothing was looked at.
"""
import os
import re
import subprocess
import sys

LOOKED_AT = re.compile(r"/runtime/(numerics|model|schedule|parallel|backends)/")
FOREIGN = re.compile(r"/backends/(cuda/|openblas|cublas|plugin|exec)")
FORBIDDEN = {
    "bf16 hardware": re.compile(r"^(vdpbf16ps|vcvtne2?ps2?bf16)"),
    "x87": re.compile(r"^f(?!nstcw|ldcw|nstsw|xsave|xrstor|emms)[a-z]"),
    "approximation": re.compile(r"^v?(rcp|rsqrt)(14|28)?[ps]s"),
}
WIDE = re.compile(r"%zmm|%[xy]mm(1[6-9]|2\d|3[01])|\{%k[0-7]\}")
INSTRUCTION = re.compile(
    r"^\s+[0-9a-f]+:\s+(?:(?:rep[a-z]*|lock|bnd|notrack|data16)\s+)*(\S+)(.*)$")
SYMBOL = re.compile(r"^[0-9a-f]+ <(.+)>:$")


def output(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def libm_names():
    """Every function that the system's libm exports."""
    path = output("cc", "-print-file-name=libm.so.6").strip()
    names = set()
    for line in output("nm", "-D", "--defined-only", path).splitlines():
        fields = line.split()
        if len(fields) == 3 and fields[1] in "TWi":
            names.add(fields[2].split("@")[0])
    if not {"exp", "expf", "fma", "sqrt"} <= names:
        raise RuntimeError(f"{path}: this is no libm")
    return names


def objects(build):
    for folder, _, names in os.walk(build):
        for name in sorted(names):
            path = os.path.join(folder, name)
            if "/invar_runtime.dir/" in path and path.endswith(".cc.o") and LOOKED_AT.search(path) \
                    and not FOREIGN.search(path):
                yield path


def weak_functions(path):
    return {line.split()[-1] for line in output("nm", "--defined-only", path).splitlines()
            if line.split()[-2] in "WVu"}


def inspect(path, libm):
    """(number of instructions, findings)."""
    short = path.split("/invar_runtime.dir/")[1]
    findings = []
    for line in output("nm", "-u", path).splitlines():
        name = line.split()[-1].split("@")[0]
        if name in libm:
            findings.append(f"{short}: calls {name} of libm")
    shared = weak_functions(path) if "_avx512" in path else set()
    count, symbol, told = 0, "?", set()
    for line in output("objdump", "-d", "--no-show-raw-insn", path).splitlines():
        match = INSTRUCTION.match(line)
        if not match:
            named = SYMBOL.match(line)
            symbol = named.group(1) if named else symbol
            continue
        count += 1
        mnemonic = match.group(1)
        kinds = [kind for kind, pattern in FORBIDDEN.items() if pattern.match(mnemonic)]
        if symbol in shared and WIDE.search(match.group(2)):
            kinds.append("AVX-512 in a function shared with other objects")
        for kind in kinds:
            if (kind, symbol) not in told:
                told.add((kind, symbol))
                findings.append(f"{short}: {kind}: {mnemonic} in {symbol}")
    return count, findings


def main():
    libm = libm_names()
    total, looked, wrong, folders = 0, 0, [], {}
    for path in objects(sys.argv[1]):
        count, findings = inspect(path, libm)
        total, looked, wrong = total + count, looked + 1, wrong + findings
        folder = os.path.dirname(path.split("/invar_runtime.dir/")[1])
        folders[folder] = folders.get(folder, 0) + count
    for folder, count in sorted(folders.items()):
        print(f"  {folder}: {count} instructions")
    print("\n".join(wrong + [f"machine code: {looked} objects, {total} instructions, "
                             f"{len(libm)} names of libm, {len(wrong)} forbidden"]))
    seen_numerics = folders.get("runtime/numerics", 0) > 0
    if not seen_numerics:
        print("machine code: nothing of runtime/numerics was looked at")
    return 1 if wrong or not seen_numerics else 0


if __name__ == "__main__":
    sys.exit(main())
