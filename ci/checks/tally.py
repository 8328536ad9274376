"""Prints "passed failed skipped" of a JUnit file that ctest wrote.

Fails when the file is missing, broken, or has no test: a run of nothing is no success.
"""
import sys
import xml.etree.ElementTree as ET


def tally(path):
    passed = failed = skipped = 0
    for case in ET.parse(path).getroot().iter("testcase"):
        if case.find("failure") is not None or case.get("status") == "fail":
            failed += 1
        elif case.find("skipped") is not None or case.get("status") in ("notrun", "disabled"):
            skipped += 1
        else:
            passed += 1
    return passed, failed, skipped


def main():
    try:
        counts = tally(sys.argv[1])
    except (OSError, ET.ParseError) as error:
        print(f"{sys.argv[1]}: {error}", file=sys.stderr)
        return 1
    if sum(counts) == 0:
        print(f"{sys.argv[1]}: no test ran", file=sys.stderr)
        return 1
    print(*counts)
    return 0


if __name__ == "__main__":
    sys.exit(main())
