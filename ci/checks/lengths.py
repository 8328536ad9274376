"""Checks sizes: 70 lines a function, 100 columns, 500 lines a file (400 is the aim).

Roughly: relies on clang-format's layout, where a function at namespace level opens at column 0
and one in a class at column 2. Generated files may be long. Exit: 0 clean, 1 too long.
"""
import re
import sys

import sources

FUNCTION, COLUMNS, FILE, AIM = 70, 100, 500, 400
NO_FUNCTION = re.compile(
    r"^\s*(namespace|struct|class|enum|union|extern|template|#|//|}|case)\b|=\s*{$")


def long_functions(lines):
    """(first line, length) of each block at indent 0 or 2 that is too long."""
    for indent in ("", "  "):
        start = None
        for number, line in enumerate(lines, 1):
            at_indent = line.startswith(indent) and not line.startswith(indent + " ")
            if start is None:
                if line.endswith("{") and at_indent and not NO_FUNCTION.search(line):
                    start = number
                elif line.endswith(") {") or line.endswith(") const {"):
                    # The last line of a signature that was broken: its indent is the parameters'.
                    if indent == "" and not at_indent and "if (" not in line \
                            and number > 1 and lines[number - 2][:1] not in (" ", "", "}"):
                        start = number - 1
            elif line.startswith(indent + "}"):
                if number - start + 1 > FUNCTION:
                    yield start, number - start + 1
                start = None


def main():
    wrong, notes, looked = [], [], 0
    for path in sources.files(".h", ".cc", ".cu", ".cuh", ".py", ".sh"):
        if sources.is_generated(path):
            continue
        looked += 1
        lines = sources.lines(path)
        count = len(lines) - (lines[-1] == "")
        if count > FILE:
            wrong.append(f"{path}: {count} lines, at most {FILE}")
        elif count > AIM:
            notes.append(f"note: {path}: {count} lines, {AIM} is the aim")
        raw = False  # in a raw string, which nothing can break
        for number, line in enumerate(lines, 1):
            raw = (raw or 'R"(' in line) and ')"' not in line.split('R"(')[-1]
            if len(line) > COLUMNS and not raw:
                wrong.append(f"{path}:{number}: {len(line)} columns")
        if not path.endswith((".py", ".sh")):
            for first, length in sorted(set(long_functions(lines))):
                wrong.append(f"{path}:{first}: a function of {length} lines, at most {FUNCTION}")
    print("\n".join(wrong + notes + [f"lengths: {looked} files, {len(wrong)} too long"]))
    return 1 if wrong or looked == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
