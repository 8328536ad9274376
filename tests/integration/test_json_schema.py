"""Every --json output against reports/schema.json, with no key that the schema does not name.

Needs the Python package jsonschema (python3-jsonschema); without it the exit code is 77.
"""
import json
import os
import pathlib
import sys
import unittest

import tiny_project

try:
    import jsonschema
except ImportError:
    print("skipped: no jsonschema; apt-get install python3-jsonschema")
    sys.exit(77)

ROOT = pathlib.Path(os.environ.get("ISOBIT_SOURCE_DIR", pathlib.Path(__file__).parents[2]))
SCHEMA = json.loads((ROOT / "reports/schema.json").read_text())


def strict(node):
    """The schema with objects closed: a key of the program that it does not name is an error."""
    if isinstance(node, list):
        return [strict(item) for item in node]
    if not isinstance(node, dict):
        return node
    out = {key: strict(value) for key, value in node.items()}
    if "properties" in node and "additionalProperties" not in node:
        out["additionalProperties"] = False
    return out


class JsonSchema(tiny_project.Case):
    env = {"CUDA_VISIBLE_DEVICES": ""}

    def setUp(self):
        super().setUp()
        tiny_project.make(self.folder)
        (self.folder / "many.yaml").write_text(tiny_project.MANY + "observe: layers\ncost: true\n")

    def told(self, name, *words, code=0, **more):
        out = json.loads(self.isobit(*words, "--json", code=code, **more).stdout)
        self.fits(name, out)
        return out

    def fits(self, name, out):
        closed = {**strict({"$defs": SCHEMA["$defs"]}), "$ref": f"#/$defs/{name}"}
        jsonschema.Draft202012Validator(closed).validate(out)
        jsonschema.Draft202012Validator(SCHEMA).validate(out)

    def test_the_schema_is_one_and_says_no(self):
        jsonschema.Draft202012Validator.check_schema(SCHEMA)
        with self.assertRaises(jsonschema.ValidationError):
            self.fits("gc", {"format": 1, "runs_removed": "none", "dry_run": False})
        with self.assertRaises(jsonschema.ValidationError):
            self.fits("gc", {"format": 1, "runs_removed": 0, "dry_run": False, "more": 1})
        defined = {entry["$ref"].rsplit("/", 1)[1] for entry in SCHEMA["anyOf"]}
        self.assertLessEqual(defined, set(SCHEMA["$defs"]))

    def test_runs_and_reports(self):
        self.told("report", "check", "tiny.yaml", code=5)
        self.told("report", "run", "many.yaml", "--repeat", 2, "--update", "none", code=1)
        self.told("report", "check", "tiny.yaml", "-k", "batch=3 and cache=on", code=7)
        self.told("reports", "check", "tiny.yaml", "many.yaml", code=1)
        self.told("reports", "report", "last", "last~1", code=1)
        self.told("report", "check", "tiny.yaml", "-k", "batch=7", code=4)
        self.told("report", "check", "nosuch.yaml", code=2)
        self.told("report", "check", "tiny.yaml", "--set", "axes.device=[cuda]", code=77)
        self.told("dry_run", "run", "tiny.yaml", "--dry-run")
        self.isobit("check", "tiny.yaml", "--report", "json=r.json", code=5)
        self.fits("report", json.loads((self.folder / "r.json").read_text()))
        cell = self.told("list", "list", "tiny.yaml")["scenarios"][0]["cells"][0]
        self.told("report", "repro", "/" + cell["hash"], code=5)

    def test_pairs(self):
        """Metrics of pairs: with and without a value, with parts, layers and the control."""
        text = (self.folder / "tiny.yaml").read_text()
        values = "{level: layers, values: {sites: [h1, h2, k_seen]}}"
        metrics = "kl, flip_rate, margin_law, layer_drift, k_error, tokens_per_second"
        (self.folder / "pairs.yaml").write_text(
            text + f"observe: {values}\n"
            f"measure: [{{across: [precision, batch], metrics: [{metrics}, div_index]}}]\n")
        report = self.told("report", "run", "pairs.yaml", "--update", "none", code=5)
        pairs = [pair for group in report["measured"] for pair in group["pairs"]]
        self.assertEqual(len(pairs), 6)
        self.assertTrue(all(pair["layers"] for pair in pairs))

    def test_what_is_stored(self):
        self.isobit("check", "tiny.yaml", code=5)
        self.isobit("run", "many.yaml", "--repeat", 2, "--update", "none", code=1)
        self.told("history_runs", "history")
        shown = self.told("show", "show", "last")["cells"]
        self.assertEqual({cell["attempt"] for cell in shown}, {1, 2})
        red = [cell for cell in shown if cell["verdict"] == "DIFF"][0]
        self.told("history_cell", "history", "/" + red["hash"])
        self.isobit("check", "tiny.yaml", "--fresh", code=5)
        self.told("diff_runs", "diff", 1, "last")
        by_name = {cell["name"].split()[0]: cell["hash"] for cell in shown}
        a, b = (by_name[f"many%batch=1,device=cpu,precision={p}"] for p in ("fp32", "bf16"))
        self.told("diff_cells", "diff", "/" + a, "/" + b, code=1)
        self.told("diff_cells", "diff", "/" + a, "/" + b, "--bits-only", code=1)
        self.told("diff_cells", "diff", "1:/" + self.told("show", "show", 1)["cells"][0]["hash"],
                  "3:/" + self.told("show", "show", 3)["cells"][0]["hash"])
        self.told("gc", "gc", "--keep", 1, "--dry-run")

    def test_goldens(self):
        self.isobit("check", "tiny.yaml", code=5)
        self.told("pending", "pending")
        self.told("pending", "review", "tiny.yaml")
        self.told("reject", "reject", "--dry-run")
        self.isobit("bless", "tiny.yaml", "--reason", "one")
        tiny_project.write_model(self.folder / "model", seed=8)
        self.isobit("check", "tiny.yaml", "--fresh", code=5)
        self.told("pending", "review", "tiny.yaml")
        (self.folder / "many.yaml").unlink()
        (self.folder / "wrong.yaml").unlink()
        self.told("prune", "prune", ".")

    def test_the_machine_and_its_models(self):
        self.told("validate", "validate", "tiny.yaml", "nosuch.yaml", code=2)
        self.told("version", "version")
        self.told("env", "env")
        (self.folder / "other.json").write_text('{"environment": {"cpu": "another"}}')
        self.told("env_diff", "env", "diff", "other.json", "here", code=1)
        self.told("doctor", "doctor")
        self.told("model_info", "model", "info", "model")
        self.told("model_digest", "model", "digest", "model")
        tiny_project.write_model(self.folder / "foreign")
        config = tiny_project.CONFIG | {"architectures": ["FooForCausalLM"], "model_type": "foo"}
        (self.folder / "foreign/config.json").write_text(json.dumps(config))
        self.told("model_survey", "model", "info", "foreign", code=2)
        self.told("model_list", "model", "list")
        self.told("model_fetch", "model", "fetch", "nano-300k")
        self.told("tokenize_line", "model", "tokenize", "nano-300k", stdin='"one text"\n')
        self.told("study", "study", "flash-bias", "--rows", 2)
        self.told("study", "study", "flash-bias", "--model", "model", "--prompts", "prompts.jsonl")
        self.told("selftest", "selftest", "one-ulp")
        for name, order in (("a", "fma"), ("b", "fma+slice:32")):
            (self.folder / f"{name}.book").write_text(
                "isobit products 1\nkey engine cublas\nkey device cuda\n" +
                "".join(f"fp32 {shape} 1..4096 {order} forecast\n"
                        for shape in ("64 64", "128 64", "64 128")))
        self.told("migrate", "migrate", "--from", "a.book", "--to", "b.book", "tiny.yaml", "--set",
                  "axes.precision=[fp32]", code=1)
        capture = ROOT / "tests/unit/harness/probe/attention.txt"
        self.told("probe_attention", "probe", "attention", "--from", str(capture))
        (self.folder / "a.txt").write_text(capture.read_text().replace("NVIDIA H200", "another"))
        self.told("probe_attention", "probe", "attention", "--from", "a.txt", code=4)
        self.told("bench", "bench", "model", "--new-tokens", 200, "--prompt-tokens", 8)


if __name__ == "__main__":
    tiny_project.program()
    unittest.main()
