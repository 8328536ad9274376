"""default-7m-outlier keeps every logits bit of default-7m in bf16 and fp32, and not in fp8."""
import json
import pathlib
import shutil
import sys
import tempfile

import tiny_project

SOURCE = pathlib.Path(__file__).resolve().parents[2]
SCENARIO = """version: 1
name: outlier
model: {model}
prompts: {{file: {prompts}, take: 2}}
decode: {{max_new_tokens: 8, ignore_eos: true}}
axes: {{precision: [fp32, bf16, fp8-e4m3]}}
"""


def digests(model, folder):
    """Digest of every generated row, by precision."""
    path = folder / f"{model}.yaml"
    path.write_text(SCENARIO.format(model=model, prompts=SOURCE / "scenarios/prompts/smoke.jsonl"))
    done = tiny_project.run(["run", str(path), "--update", "none", "-q"], folder)
    assert done.returncode == 5, done.stdout + done.stderr
    shown = tiny_project.run(["show", "last", "--json"], folder)
    assert shown.returncode == 0, shown.stderr
    return {cell["name"].split()[0].partition("%")[2]:
            [token["digest"] for prompt in cell["prompts"] for token in prompt["tokens"]]
            for cell in json.loads(shown.stdout)["cells"]}


def main():
    tiny_project.program()
    if not (SOURCE / "scenarios/models/default-7m.json").exists():
        print("skipped: default-7m is not here")
        return 77
    folder = pathlib.Path(tempfile.mkdtemp(prefix="isobit-outlier-"))
    try:
        plain, outlier = digests("default-7m", folder), digests("default-7m-outlier", folder)
    finally:
        shutil.rmtree(folder)
    wrong = []
    for cell, rows in plain.items():
        equal, expected = rows == outlier[cell], "fp8" not in cell
        print(f"{cell}: {len(rows)} rows {'equal' if equal else 'differ'}")
        if equal != expected or len(rows) != 16:
            wrong.append(cell)
    return 1 if wrong or len(plain) != 3 else 0


if __name__ == "__main__":
    sys.exit(main())
