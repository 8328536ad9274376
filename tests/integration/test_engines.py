"""transformers and llama.cpp behind their adapters, spoken to directly, and compared with the
library called without the adapter. Needs a Python that has them, named by ISOBIT_ENGINES_PYTHON
(default python3; ci/engines makes one); 77 without any. llama.cpp needs SmolLM2's file too
(`isobit model fetch smollm2-135m`).
"""
import hashlib
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

from exec_driver import ADAPTERS, ROOT, Engine

PYTHON = os.environ.get("ISOBIT_ENGINES_PYTHON", "python3")
MODEL, VOCAB = ROOT / "scenarios/models/default-7m", 4096
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "isobit"
GGUF, GGUF_VOCAB = next((CACHE / "models/smollm2-135m").glob("*.gguf"), None), 49152
PROMPTS = [list(range(5, 25)), list(range(100, 111)), list(range(50, 80))]
STEPS = 10

# Greedy decoding as a user writes it, with the library alone: prints the rows' bytes.
DIRECT_TRANSFORMERS = """
import sys, torch
from transformers import AutoModelForCausalLM, DynamicCache
path, dtype, prompt, steps = sys.argv[1], sys.argv[2], eval(sys.argv[3]), int(sys.argv[4])
torch.set_num_threads(1)
model = AutoModelForCausalLM.from_pretrained(path, dtype=getattr(torch, dtype)).eval()
ids, kept = torch.tensor([prompt]), None
with torch.no_grad():
    for _ in range(steps):
        out = model(input_ids=ids, past_key_values=kept, use_cache=True, logits_to_keep=1)
        kept = out.past_key_values
        row = out.logits[0, -1].float()
        sys.stdout.buffer.write(row.numpy().tobytes())
        ids = row.argmax().reshape(1, 1)
"""
DIRECT_LLAMA = """
import ctypes, sys, numpy
import llama_cpp
path, flash, prompt, steps = sys.argv[1], sys.argv[2] == "on", eval(sys.argv[3]), int(sys.argv[4])
llm = llama_cpp.Llama(path, n_ctx=256, n_batch=2048, n_ubatch=512, n_threads=1, n_threads_batch=1,
                      flash_attn=flash, verbose=False)
tokens = prompt
for _ in range(steps):
    llm.eval(tokens)
    place = llama_cpp.llama_get_logits_ith(llm.ctx, -1)
    row = ctypes.string_at(place, 4 * llm.n_vocab())
    sys.stdout.buffer.write(row)
    tokens = [int(numpy.frombuffer(row, "<f4").argmax())]
"""


def has(*packages):
    code = f"import importlib.metadata as m; [m.version(name) for name in {packages!r}]"
    return subprocess.run([PYTHON, "-c", code], capture_output=True, check=False).returncode == 0


HAS_TRANSFORMERS, HAS_LLAMA = has("transformers", "torch"), has("llama-cpp-python")


def digests(rows):
    return [hashlib.sha256(row).hexdigest()[:16] for row in rows]


def direct(code, *arguments, vocab):
    """Digests of rows that were made without the adapter."""
    done = subprocess.run([PYTHON, "-c", code, *map(str, arguments)], check=True,
                          capture_output=True, env=os.environ | {"HF_HUB_OFFLINE": "1"})
    return digests(done.stdout[at:at + 4 * vocab] for at in range(0, len(done.stdout), 4 * vocab))


class Real(unittest.TestCase):
    """What holds for every engine with logits, and helpers. A subclass says how to start one."""

    def start(self, **options):
        raise NotImplementedError

    def check_whole(self, answer, prompts, steps, vocab):
        """Every row is there once, in order, and its token is its first largest value."""
        for number, prompt in enumerate(prompts):
            self.assertEqual(answer.positions(number),
                             list(range(len(prompt) - 1, len(prompt) - 1 + steps)))
            for token, row in zip(answer.tokens(number), answer.values(number), strict=True):
                self.assertEqual(len(row), vocab)
                self.assertEqual(token, row.index(max(row)))

    def distance(self, one, other, prompts):
        """The largest difference of two answers' logits."""
        return max(abs(a - b) for number in range(len(prompts))
                   for x, y in zip(one.values(number), other.values(number), strict=True)
                   for a, b in zip(x, y, strict=True))

    def generate(self, engine, prompts=None, steps=STEPS, **more):
        return engine.generate([{"prompt": prompt} for prompt in prompts or PROMPTS], steps, **more)


@unittest.skipUnless(HAS_TRANSFORMERS, f"{PYTHON} has no transformers with torch")
class Transformers(Real):
    near = 1e-3  # of logits around 20, in fp32; a wrong mask or position is off by more than 1

    def start(self, model=MODEL, kind="safetensors", vocab=VOCAB, precision="fp32", **options):
        engine = Engine([PYTHON, ADAPTERS / "transformers.py"], seconds=300)
        self.addCleanup(engine.__exit__)
        self.hello = engine.hello(**options)
        self.assertEqual(self.hello["reply"], "hello", self.hello)
        loaded = engine.load(model, kind, vocab, precision)
        self.assertEqual(loaded["reply"], "loaded", loaded)
        return engine

    def test_rows_are_the_library_s_own(self):
        for precision, dtype in (("fp32", "float32"), ("bf16", "bfloat16")):
            answer = self.generate(self.start(precision=precision), PROMPTS[:1])
            self.assertEqual(answer.observed["precision"], precision)
            rows = direct(DIRECT_TRANSFORMERS, MODEL, dtype, PROMPTS[0], STEPS, vocab=VOCAB)
            self.assertEqual(digests(answer.bytes()), rows, precision)

    def test_caches_paddings_and_attentions_are_the_same_mathematics(self):
        reference = None
        for options in ({}, {"padding": "right"}, {"kv_cache": "static"}, {"attention": "eager"},
                        {"kv_cache": "static", "padding": "right", "pad_to": "64"}):
            engine = self.start(**options)
            for cache in ("on", "off", "prefix"):
                with self.subTest(options=options, cache=cache):
                    answer = self.generate(engine, cache=cache)
                    self.check_whole(answer, PROMPTS, STEPS, VOCAB)
                    reference = reference or answer
                    self.assertLess(self.distance(answer, reference, PROMPTS), self.near)
                    ran = answer.observed
                    self.assertEqual((ran["live_rows"], ran["steps"], ran["chunks"]), (3, STEPS, 1))
                    self.assertEqual(ran["cached_reads"] > 0, cache != "off")
                    self.assertEqual(ran["prefix_hits"], 10 + 5 + 15 if cache == "prefix" else 0)
                    for word in options.values():
                        self.assertTrue(word.isdigit() or word in ran["kernels"], ran)
            self.assertEqual(engine.end(), 0)

    def test_alone_and_in_a_batch(self):
        engine = self.start()
        together = self.generate(engine)
        for number, prompt in enumerate(PROMPTS):
            alone = self.generate(engine, [prompt])
            self.assertEqual(alone.observed["live_rows"], 1)
            self.assertEqual(alone.tokens(), together.tokens(number))

    def test_a_teacher_is_followed_and_one_pass_gives_the_same_rows(self):
        taught = [{"prompt": PROMPTS[0], "teacher": [7, 8, 9, 10]},
                  {"prompt": PROMPTS[1], "teacher": [11, 12, 13, 14, 15, 16]}]
        steps = self.start().generate(taught, 2)
        engine = self.start(score="one_pass")
        self.assertEqual(self.hello["axes"]["cache"], ["off"])
        once = engine.generate(taught, 2, cache="off")
        self.assertEqual((once.observed["steps"], steps.observed["steps"]), (1, 6))
        for answer in (steps, once):
            for number, count in ((0, 4), (1, 6)):
                self.assertEqual(len(answer.tokens(number)), count)
                self.assertEqual(answer.positions(number)[0], len(taught[number]["prompt"]) - 1)
                self.assertEqual([row["fed"] for row in answer.rows if row["sequence"] == number],
                                 taught[number]["teacher"])
        self.assertLess(self.distance(once, steps, taught), self.near)
        # A row belongs to the teacher before it: its prompt continued by hand gives the same.
        engine = self.start()
        by_hand = self.generate(engine, [PROMPTS[0] + [7, 8]], 1)
        self.assertLess(max(abs(a - b) for a, b in zip(by_hand.values()[0], steps.values()[2])),
                        self.near)
        refused = self.start(score="one_pass").generate([{"prompt": [1]}], 2, cache="off")
        self.assertIn("needs a teacher", refused.end["message"])

    def test_a_sequence_ends_with_a_token_of_eos(self):
        engine = self.start()
        free = self.generate(engine)
        stop = next(t for t in free.tokens(1) if t not in free.tokens(0) + free.tokens(2))
        answer = self.generate(engine, eos=[stop])
        self.assertEqual(answer.tokens(1), free.tokens(1)[:free.tokens(1).index(stop) + 1])
        self.assertEqual((answer.tokens(0), answer.tokens(2)), (free.tokens(0), free.tokens(2)))

    def test_mistakes(self):
        with Engine([PYTHON, ADAPTERS / "transformers.py"]) as engine:
            self.assertEqual(engine.hello(padding="lfet")["message"],
                             'option padding is left or right, not "lfet"')
            engine.hello()
            self.assertEqual(engine.load("/no/such/folder")["reply"], "error")

    @unittest.skipUnless(GGUF and has("gguf", "accelerate"),
                         "no SmolLM2, or no package gguf or accelerate")
    def test_a_gguf_file(self):
        answer = self.generate(self.start(GGUF, "gguf", GGUF_VOCAB), PROMPTS[:2], 3)
        self.check_whole(answer, PROMPTS[:2], 3, GGUF_VOCAB)


@unittest.skipUnless(HAS_LLAMA, f"{PYTHON} has no llama-cpp-python")
@unittest.skipUnless(GGUF, "SmolLM2's file is not there: isobit model fetch smollm2-135m")
class LlamaCpp(Real):
    near = 1.0  # llama.cpp codes activations to eight bits: rows differ in the second digit

    def start(self, **options):
        engine = Engine([PYTHON, ADAPTERS / "llama_cpp.py"], seconds=300)
        self.addCleanup(engine.__exit__)
        hello = engine.hello(**options)
        self.assertEqual(hello["reply"], "hello", hello)
        loaded = engine.load(GGUF, "gguf", GGUF_VOCAB)
        self.assertEqual(loaded["reply"], "loaded", loaded)
        return engine

    def test_rows_are_the_library_s_own(self):
        for flash in ("on", "off"):
            answer = self.generate(self.start(flash_attention=flash), PROMPTS[:1])
            rows = direct(DIRECT_LLAMA, GGUF, flash, PROMPTS[0], STEPS, vocab=GGUF_VOCAB)
            self.assertEqual(digests(answer.bytes()), rows, flash)

    def test_caches_and_options_are_the_same_mathematics(self):
        reference = None
        taught = [{"prompt": prompt, "teacher": [40, 41, 42, 43]} for prompt in PROMPTS]
        for options in ({}, {"n_ubatch": "8"}, {"flash_attention": "off", "cache_type_k": "f32"},
                        {"kv_unified": "on"}, {"n_batch": "16", "n_ubatch": "16"}):
            engine = self.start(**options)
            for cache in ("on", "off", "prefix"):
                with self.subTest(options=options, cache=cache):
                    answer = engine.generate(taught, cache=cache)
                    self.check_whole(answer, PROMPTS, 4, GGUF_VOCAB)
                    reference = reference or answer
                    self.assertLess(self.distance(answer, reference, PROMPTS), self.near)
                    ran = answer.observed
                    self.assertEqual((ran["live_rows"], ran["steps"]), (3, 4))
                    self.assertEqual(ran["cached_reads"] > 0, cache != "off")
                    self.assertEqual(ran["prefix_hits"], 10 + 5 + 15 if cache == "prefix" else 0)
                    if cache == "on":
                        self.assertEqual(ran["chunks"], 3 if options.get("n_batch") else 1)

    def test_a_teacher_is_followed(self):
        engine = self.start()
        answer = engine.generate([{"prompt": PROMPTS[0], "teacher": [7, 8, 9]}], 9)
        self.assertEqual(answer.positions(), [19, 20, 21])
        again = engine.generate([{"prompt": PROMPTS[0], "teacher": [7, 8, 10]}], 9)
        other = engine.generate([{"prompt": PROMPTS[0], "teacher": [8, 8, 9]}], 9)
        one, two = digests(answer.bytes()), digests(other.bytes())
        self.assertEqual(one, digests(again.bytes()))  # the last of a teacher gives no row
        self.assertEqual(one[0], two[0])
        self.assertNotEqual(one[1], two[1])

    def test_a_cache_that_needs_flash_attention(self):
        refused = self.generate(self.start(cache_type_v="q8_0", flash_attention="off"))
        self.assertIn("no context with these options", refused.end["message"])
        answer = self.generate(self.start(cache_type_v="q8_0", cache_type_k="q8_0"), steps=2)
        self.assertIn("cache q8_0/q8_0", answer.observed["kernels"])

    def test_mistakes(self):
        with Engine([PYTHON, ADAPTERS / "llama_cpp.py"]) as engine:
            self.assertIn("whole number from 1 on", engine.hello(n_batch="0")["message"])
            engine.hello()
            self.assertIn("GGUF files only", engine.load(MODEL)["message"])
            with tempfile.NamedTemporaryFile(suffix=".gguf") as file:
                self.assertIn("cannot load", engine.load(file.name, "gguf")["message"])


if __name__ == "__main__":
    if not (HAS_TRANSFORMERS or (HAS_LLAMA and GGUF)):
        print(f"skipped: {PYTHON} has neither transformers with torch nor llama-cpp-python with "
              "SmolLM2's file; ci/engines makes a Python that has")
        sys.exit(77)
    unittest.main(verbosity=2)
