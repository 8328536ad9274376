"""Reads the machine code of the runtime's objects: what the promise of equal bits forbids.

Usage: machine_code.py BUILD_FOLDER
In numerics, model, schedule, parallel and the CPU backends, for x86-64 and AArch64: no call into
libm (its bits are the distribution's), no x87 or quad precision, no bf16 dot product or conversion
(they flush and round their own way), no estimate of a reciprocal, and no write of the control word
(rounding, flushing) but in probes.cc, which guards it.
In *_avx512 objects: no AVX-512 in a function that the linker may choose for the whole program.
Exit: 0 clean, 1 something forbidden, or nothing was looked at.
"""
import functools
import os
import re
import subprocess
import sys

LOOKED_AT = re.compile(
    r"/runtime/(numerics|checkpoint|tokenizer|model|cache|schedule|parallel|run|backends)/")
FOREIGN = re.compile(r"/backends/(cuda/|openblas)")
GUARDED = "runtime/numerics/probes.cc.o"
CONTROL_WORD = "control word written outside probes.cc"
# By ELF machine: the instructions (mnemonic, operands) that are forbidden.
FORBIDDEN = {
    "x86_64": {
        "bf16 hardware": re.compile(r"^(vdpbf16ps|vcvtne2?ps2?bf16)"),
        "x87": re.compile(r"^f(?!nstcw|ldcw|nstsw|xsave|xrstor|emms)[a-z]"),
        "approximation": re.compile(r"^v?(rcp|rsqrt)(14|28)?[ps]s"),
        CONTROL_WORD: re.compile(r"^v?ldmxcsr\b"),
    },
    "aarch64": {
        "bf16 hardware": re.compile(r"^bf(dot|mmla|mlal[bt]?|cvtn?2?|cvtnt|mopa)\b"),
        "approximation": re.compile(r"^[fu](recp|rsqrt)[esx]\b"),
        CONTROL_WORD: re.compile(r"^msr\s+(fpcr|s3_3_c4_c4_0)\b"),
    },
}
# What the compiler calls for a long double of 128 bits.
QUAD = re.compile(r"^__[a-z]+(?<!prin)tf[a-z]*\d?$")
MACHINES = {62: "x86_64", 183: "aarch64"}
WIDE = re.compile(r"%zmm|%[xy]mm(1[6-9]|2\d|3[01])|\{%k[0-7]\}")
INSTRUCTION = re.compile(
    r"^\s+[0-9a-f]+:\s+(?:(?:rep[a-z]*|lock|bnd|notrack|data16)\s+)*(\S+)(.*)$")
SYMBOL = re.compile(r"^[0-9a-f]+ <(.+)>:$")


def output(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def machine_of(path):
    """Of an ELF file: a key of FORBIDDEN."""
    with open(path, "rb") as file:
        header = file.read(20)
    machine = MACHINES.get(int.from_bytes(header[18:20], "little"))
    if header[:4] != b"\x7fELF" or machine is None:
        raise RuntimeError(f"{path}: no object of {' or '.join(FORBIDDEN)}")
    return machine


def tool(name, machine):
    """The machine's own tool, or the one for another machine's objects."""
    return name if os.uname().machine == machine else f"{machine}-linux-gnu-{name}"


@functools.lru_cache
def libm_names(machine):
    """Every function that the machine's libm exports."""
    path = output(tool("gcc", machine), "-print-file-name=libm.so.6").strip()
    names = set()
    for line in output(tool("nm", machine), "-D", "--defined-only", path).splitlines():
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
            ours = "/isobit_runtime.dir/" in path and path.endswith(".cc.o")
            if ours and LOOKED_AT.search(path) and not FOREIGN.search(path):
                yield path


def weak_functions(path, machine):
    lines = output(tool("nm", machine), "--defined-only", path).splitlines()
    return {line.split()[-1] for line in lines if line.split()[-2] in "WVu"}


def wrong_calls(path, machine):
    for line in output(tool("nm", machine), "-u", path).splitlines():
        name = line.split()[-1].split("@")[0]
        if name in libm_names(machine):
            yield f"calls {name} of libm"
        elif QUAD.match(name):
            yield f"quad precision: calls {name}"


def inspect(path, machine):
    """(number of instructions, findings)."""
    short = path.split("/isobit_runtime.dir/")[1]
    findings = [f"{short}: {what}" for what in wrong_calls(path, machine)]
    shared = weak_functions(path, machine) if "_avx512" in path else set()
    count, symbol, told = 0, "?", set()
    listing = output(tool("objdump", machine), "-d", "--no-show-raw-insn", path)
    for line in listing.splitlines():
        match = INSTRUCTION.match(line)
        if not match:
            named = SYMBOL.match(line)
            symbol = named.group(1) if named else symbol
            continue
        count += 1
        mnemonic = match.group(1)
        kinds = [kind for kind, pattern in FORBIDDEN[machine].items()
                 if pattern.match(mnemonic + match.group(2))]
        if short == GUARDED:
            kinds = [kind for kind in kinds if kind != CONTROL_WORD]
        if symbol in shared and WIDE.search(match.group(2)):
            kinds.append("AVX-512 in a function shared with other objects")
        for kind in kinds:
            if (kind, symbol) not in told:
                told.add((kind, symbol))
                findings.append(f"{short}: {kind}: {mnemonic} in {symbol}")
    return count, findings


def main():
    total, looked, wrong, folders, machines = 0, 0, [], {}, set()
    for path in objects(sys.argv[1]):
        machine = machine_of(path)
        machines.add(machine)
        count, findings = inspect(path, machine)
        total, looked, wrong = total + count, looked + 1, wrong + findings
        folder = os.path.dirname(path.split("/isobit_runtime.dir/")[1])
        folders[folder] = folders.get(folder, 0) + count
    for folder, count in sorted(folders.items()):
        print(f"  {folder}: {count} instructions")
    libm = ", ".join(f"{len(libm_names(machine))} names of libm" for machine in sorted(machines))
    print("\n".join(wrong + [f"machine code: {' and '.join(sorted(machines))}: {looked} objects, "
                             f"{total} instructions, {libm}, {len(wrong)} forbidden"]))
    seen_numerics = folders.get("runtime/numerics", 0) > 0
    if not seen_numerics:
        print("machine code: nothing of runtime/numerics was looked at")
    return 1 if wrong or not seen_numerics else 0


if __name__ == "__main__":
    sys.exit(main())
