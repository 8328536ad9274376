#!/usr/bin/env python3
"""Prompts, tokenizers and the files beside them: what is needed, and what never stops a run."""
import json
import shutil
import unittest

import tiny_project

PLAIN = """version: 1
name: plain
model: model
prompts: prompts.jsonl
decode: {strategy: greedy, max_new_tokens: 10, ignore_eos: true}
axes: {batch: [1, 2]}
min_tokens: 1
expect: [{same_bits: {across: [batch]}}]
"""
RAN = 5  # every cell, and there is no golden yet
LETTERS = [chr(code) for code in range(33, 93)]


def tokenizer(**changes):
    """60 bytes, BOS, EOS, and one token that the model of 64 ids has no row for."""
    texts = ["<s>", "</s>"] + LETTERS + ["\u0120", "\u010a"]
    vocab = {text: at for at, text in enumerate(texts)}
    added = [{"id": at, "content": text, "special": True}
             for at, text in ((0, "<s>"), (1, "</s>"), (64, "<BIG>"))]
    return {"added_tokens": added, "decoder": {"type": "ByteLevel"},
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False},
            "model": {"type": "BPE", "vocab": vocab, "merges": []}, **changes}


class Tokens(tiny_project.Case):
    def setUp(self):
        super().setUp()
        for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json",
                     "chat_template.jinja", "added_tokens.json"):
            (self.folder / "model" / name).unlink(missing_ok=True)
        (self.folder / "plain.yaml").write_text(PLAIN)

    def put(self, name, value):
        text = value if isinstance(value, str) else json.dumps(value)
        (self.folder / "model" / name).write_text(text)

    def prompts(self, *prompts):
        lines = [json.dumps({"id": f"p{at}", **prompt}) for at, prompt in enumerate(prompts)]
        (self.folder / "prompts.jsonl").write_text("\n".join(lines) + "\n")

    def test_token_ids_need_no_tokenizer(self):
        self.prompts({"tokens": [1, 5, 9]})
        for text in ("{", "{}", json.dumps(tokenizer(decoder={"type": "CTC"}))):
            self.put("tokenizer.json", text)
            done = self.isobit("run", "plain.yaml", code=RAN)
            self.assertIn("tokens are shown as ids", done.stdout + done.stderr)
        self.prompts({"tokens": [1, 5, 9]}, {"text": "AB"})
        done = self.isobit("run", "plain.yaml", code=2)
        self.assertIn("model/tokenizer.json: decoder: a decoder of type \"CTC\"", done.stderr)

    def test_only_a_token_that_is_used_must_have_a_row(self):
        self.put("tokenizer.json", tokenizer(truncation={"max_length": 2}, padding={}))
        self.prompts({"text": "ABCDEF"})
        self.isobit("run", "plain.yaml", code=RAN)
        self.prompts({"text": "AB<BIG>"})
        done = self.isobit("run", "plain.yaml", code=2)
        self.assertIn("token id 64 (\"<BIG>\") is outside the vocabulary of 64", done.stderr)

    def test_files_beside_the_tokenizer(self):
        self.put("tokenizer.json", tokenizer())
        self.put("added_tokens.json", {"<AB>": 65})
        done = self.isobit("model", "tokenize", "model", "--json", stdin='"A<AB>B"\n')
        self.assertEqual(json.loads(done.stdout), [34, 65, 35])
        info = self.isobit("model", "info", "model").stdout
        self.assertIn("also from added_tokens.json", info)

    def test_the_template_file_wins(self):
        self.put("tokenizer.json", tokenizer())
        self.put("tokenizer_config.json", {"chat_template": "{{ messages | tojson }}"})
        self.prompts({"messages": [{"role": "user", "content": "AB"}]})
        done = self.isobit("run", "plain.yaml", code=2)
        self.assertIn("the filter tojson is not supported; give the prompt as text, or --raw",
                      done.stderr)
        self.put("chat_template.jinja", "{% for m in messages %}{{ m.content }}!{% endfor %}\n")
        self.isobit("run", "plain.yaml", code=RAN)
        self.assertIn("prompt p0, 3 tokens", self.isobit("show", "1").stdout)

    def test_raw_is_the_way_around_a_template(self):
        """The content of one user message, as if it were given as text."""
        self.put("tokenizer.json", tokenizer())
        self.put("chat_template.jinja", "{{ messages | tojson }}")

        def digest(*words):
            shutil.rmtree(self.folder / ".isobit", ignore_errors=True)
            self.isobit("run", "plain.yaml", *words, code=RAN)
            cell = json.loads(self.isobit("show", "1", "--json").stdout)["cells"][0]
            return [t["digest"] for t in cell["prompts"][0]["tokens"]]

        self.prompts({"text": "AB"})
        text = digest()
        self.prompts({"messages": [{"role": "user", "content": "AB"}]})
        self.assertEqual(digest("--raw"), text)
        self.assertEqual(digest("--set", "prompts.raw=true"), text)
        cell = json.loads(self.isobit("show", "1", "--json").stdout)["cells"][0]["hash"]
        again = self.isobit("repro", "/" + cell, "--dry-run")
        self.assertIn("prompts.raw=true", again.stdout + again.stderr)
        self.prompts({"messages": [{"role": "user", "content": "AB"},
                                   {"role": "assistant", "content": "C"}]})
        done = self.isobit("run", "plain.yaml", "--raw", code=2)
        self.assertIn("raw is for one message of role user; this prompt has 2", done.stderr)
        self.prompts({"messages": [{"role": "system", "content": "AB"}]})
        done = self.isobit("run", "plain.yaml", "--raw", code=2)
        self.assertIn("this prompt has 1 of another role", done.stderr)

    def test_the_stop_set_and_its_origins(self):
        self.prompts({"tokens": [1, 5, 9]})
        plain = json.loads(self.isobit("model", "info", "model", "--json").stdout)
        self.put("generation_config.json", {"eos_token_id": 2})
        same = json.loads(self.isobit("model", "info", "model", "--json").stdout)
        self.assertEqual(same["digest"], plain["digest"])
        self.put("generation_config.json", {"eos_token_id": [2, 14]})
        info = json.loads(self.isobit("model", "info", "model", "--json").stdout)
        self.assertNotEqual(info["digest"], plain["digest"])
        self.assertEqual(info["config"]["eos_origins"], ["config.json", "generation_config.json"])
        self.assertIn("2 (config.json), 14 (generation_config.json)",
                      self.isobit("model", "info", "model").stdout)

    def test_temperatures_that_overflow(self):
        self.prompts({"tokens": [1, 5, 9]})
        for value, code in (("1e-39", 2), ("1e-31", 2), ("1e-30", RAN), ("0", RAN),
                            ("1000", RAN)):
            text = PLAIN.replace("strategy: greedy", f"strategy: sample, temperature: {value}")
            (self.folder / "plain.yaml").write_text(text)
            done = self.isobit("run", "plain.yaml", code=code)
            if code == 2:
                self.assertIn("below 1e-30, where logits divided by it overflow", done.stderr)
            shutil.rmtree(self.folder / ".isobit", ignore_errors=True)


if __name__ == "__main__":
    unittest.main()
