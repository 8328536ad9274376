"""Reads the machine code of the CUDA kernels: what the promise of equal bits forbids.

Usage: machine_code_cuda.py FILE...      objects, libraries or programs with device code
In PTX (what the sources ask for): nothing flushes (.ftz) or approximates (.approx, ex2, lg2, sin,
cos, tanh), no tensor core (mma, wgmma), no atomic on floats, every fma/add/mul/div/sqrt rounds to
nearest even. In SASS (what the assembler made of it, every architecture in the file): no MUFU but
RCP and RSQ, no tensor core, no float atomic; .FTZ only where the compiler's own division and square
root use it (comparisons with infinity, functions that start from MUFU.RCP or RSQ) and in integer
division.
One exception, by name: the kernels mma_rows and mma_tile of gemm_tensor.cu may use
mma.sync m16n8k16, for they are a tensor core's own order; all else is forbidden to them too.
Exit: 0 clean, 1 something forbidden, or nothing was looked at; 77 without cuobjdump.
"""
import re
import shutil
import subprocess
import sys

TENSOR_CORE = "tensor core"
# The compiler writes the source file's name into the name of a kernel of an unnamed namespace.
NATIVE = re.compile(r"^_Z\w*_14_gemm_tensor_cu_[0-9a-f]{8}\d+mma_(rows|tile)_kernel")
NATIVE_CODE = re.compile(r"(HMMA\.16816\.F32(\.BF16)? |mma\.sync\.aligned\.m16n8k16\.)")
SASS = [
    ("approximation", re.compile(r"MUFU\.(?!RCP\b|RSQ\b|RCP64H\b|RSQ64H\b)")),
    (TENSOR_CORE, re.compile(r"(HMMA|HGMMA|IMMA|IGMMA|QGMMA|QMMA|DMMA|OMMA|UTC\w*MMA)\b")),
    ("float atomic", re.compile(r"(RED|REDG|REDAS|ATOM|ATOMG|ATOMS)\b.*\.(F16|F32|F64|BF16)")),
]
HARMLESS_FTZ = re.compile(r"F2I\.FTZ\.U32\.TRUNC\.NTZ\b|FSETP\.[A-Z]+\.FTZ\b")
DIVISION_FTZ = re.compile(r"(FADD|FMUL)\.FTZ\b")  # allowed beside MUFU.RCP or RSQ
SASS_FUNCTION = re.compile(r"^\s*Function : (\S+)")
SASS_LINE = re.compile(r"^\s*/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P[T0-9]+\s+)?([A-Z][A-Z0-9_.]*[^;]*);")
PTX = [
    ("flushes subnormals", re.compile(r"^[a-z0-9.]*\.ftz\b")),
    ("approximation", re.compile(r"^[a-z0-9.]*\.approx\b|^(ex2|lg2|sin|cos|tanh|rsqrt)\.")),
    (TENSOR_CORE, re.compile(r"^(w?mma|wgmma|tcgen05)\b")),
    ("float atomic", re.compile(r"^(atom|red)\b[a-z0-9.]*\.(f|bf)\d")),
    ("rounding", re.compile(r"^(fma|add|sub|mul|div|sqrt)\.(rz|rm|rp)\.f\d")),
    ("may be fused", re.compile(r"^(add|sub|mul|mad)\.f(32|64)\b")),
]
PTX_FUNCTION = re.compile(r"^\s*(?:\.\w+\s+)*\.(?:entry|func)\s+(?:\([^)]*\)\s*)?(\w+)")
PTX_LINE = re.compile(r"^\s*(?:@!?%p\d+\s+)?([a-z][a-z0-9_.:]*)\s+[^;]*;")


def dump(option, path):
    return subprocess.run(["cuobjdump", option, path], check=True, capture_output=True,
                          text=True).stdout


def allowed(kind, function, text):
    return kind == TENSOR_CORE and NATIVE.match(function) and NATIVE_CODE.match(text)


def inspect_sass(path):
    """(instructions, functions, findings, MUFU seen)."""
    count, bodies, mufu, findings = 0, {}, {}, []
    function = "?"
    for line in dump("--dump-sass", path).splitlines():
        named = SASS_FUNCTION.match(line)
        if named:
            function = named.group(1)
            continue
        match = SASS_LINE.match(line)
        if match:
            count += 1
            bodies.setdefault(function, []).append(" ".join(match.group(1).split()))
    for function, body in bodies.items():
        divides = any(re.match(r"MUFU\.(RCP|RSQ)", text) for text in body)
        kinds = {}
        for text in body:
            if text.startswith("MUFU"):
                name = text.split()[0]
                mufu[name] = mufu.get(name, 0) + 1
            for kind, pattern in SASS:
                if pattern.match(text) and not allowed(kind, function, text):
                    kinds.setdefault(kind, text)
            if ".FTZ" in text and not HARMLESS_FTZ.match(text) and \
                    not (divides and DIVISION_FTZ.match(text)):
                kinds.setdefault("flushes subnormals", text)
        findings += [f"{path}: {function}: {kind}: {text}" for kind, text in kinds.items()]
    return count, len(bodies), findings, mufu


def inspect_ptx(path):
    count, findings, told, function = 0, [], set(), "?"
    for line in dump("--dump-ptx", path).splitlines():
        named = PTX_FUNCTION.match(line)
        if named:
            function = named.group(1)
        match = PTX_LINE.match(line)
        if not match:
            continue
        count += 1
        for kind, pattern in PTX:
            found = pattern.match(match.group(1)) and not allowed(kind, function, match.group(1))
            if found and (kind, match.group(1)) not in told:
                told.add((kind, match.group(1)))
                findings.append(f"{path}: PTX: {kind}: {line.strip()}")
    return count, findings


def main():
    if shutil.which("cuobjdump") is None:
        print("skipped: no cuobjdump (a part of the CUDA toolkit)")
        return 77
    total, kernels, ptx, wrong, seen = 0, 0, 0, [], {}
    for path in sys.argv[1:]:
        count, functions, findings, mufu = inspect_sass(path)
        total += count
        kernels += functions
        wrong += findings
        for name, n in mufu.items():
            seen[name] = seen.get(name, 0) + n
        count, findings = inspect_ptx(path)
        ptx += count
        wrong += findings
    starts = ", ".join(f"{name} {n}" for name, n in sorted(seen.items()))
    print("\n".join(wrong + [
        f"machine_code_cuda: {total} instructions of {kernels} kernels, {ptx} of PTX, "
        f"{len(wrong)} wrong; division and square root start from: {starts or 'nothing'}"]))
    return 1 if wrong or total == 0 or ptx == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
