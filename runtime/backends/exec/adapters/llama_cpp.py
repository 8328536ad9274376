"""llama.cpp, by the package llama-cpp-python, as an external engine.

Set-up: pip install llama-cpp-python   (compiles llama.cpp). Options and limits: README.md.

Uses llama.cpp's C interface: prompts are token ids, rows are all logits, and the sequences of a
request are decoded together, one call of llama_decode a step. A sequence that has ended leaves the
batch. Every request gets a context of its own, so that nothing is left from the one before.
"""
import collections
import ctypes
import dataclasses
import importlib.metadata
import os

import isobit_exec
from isobit_exec import Refused, Unavailable

isobit_exec.leave_folder(__file__)  # this file is not the package llama_cpp

TYPES = ["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0"]
FLASH = {"auto": -1, "off": 0, "on": 1}
OPTIONS = ("n_batch", "n_ubatch", "cache_type_k", "cache_type_v", "flash_attention", "kv_unified")
CONTEXT_STEP = 256  # a sequence's part of the cache is a multiple of this
MOST_LOG_LINES = 500


@dataclasses.dataclass
class Counters:
    live_rows: int = 0
    steps: int = 0
    chunks: int = 0
    cached_reads: int = 0
    prefix_hits: int = 0


class LlamaCpp(isobit_exec.Adapter):
    engine = "llama.cpp"

    def hello(self, options):
        isobit_exec.known(options, OPTIONS)
        self.n_batch = isobit_exec.whole(options, "n_batch", 2048, 1)
        self.n_ubatch = isobit_exec.whole(options, "n_ubatch", 512, 1)
        self.type_k = isobit_exec.choice(options, "cache_type_k", TYPES, "f16")
        self.type_v = isobit_exec.choice(options, "cache_type_v", TYPES, "f16")
        self.flash = isobit_exec.choice(options, "flash_attention", list(FLASH), "auto")
        self.unified = isobit_exec.choice(options, "kv_unified", ["on", "off"], "off") == "on"
        try:
            version = importlib.metadata.version("llama-cpp-python")
        except importlib.metadata.PackageNotFoundError:
            raise Unavailable("the package llama-cpp-python is not installed: "
                              "pip install llama-cpp-python") from None
        devices = ["cpu", "cuda"] if os.path.exists("/dev/nvidiactl") else ["cpu"]
        return {"version": "llama-cpp-python " + version,
                "axes": {"precision": ["fp32"], "device": devices, "cache": ["on", "off", "prefix"],
                         "batch": True, "threads": True, "teacher_forced": True}}

    def load(self, request):
        if request["model"]["kind"] != "gguf":
            raise Refused("llama.cpp reads GGUF files only")
        import llama_cpp
        self.lib = llama_cpp
        self.log: list[str] = []
        self.on_log = llama_cpp.llama_log_callback(self._keep_log)  # lives as long as the library
        llama_cpp.llama_log_set(self.on_log, None)
        llama_cpp.llama_backend_init()
        self.device = request["device"]
        if self.device == "cuda" and not llama_cpp.llama_supports_gpu_offload():
            raise Refused("this llama.cpp was built without CUDA")
        options = llama_cpp.llama_model_default_params()
        options.n_gpu_layers = 9999 if self.device == "cuda" else 0
        path = request["model"]["path"]
        self.model = llama_cpp.llama_model_load_from_file(path.encode(), options)
        if not self.model:
            raise Refused(f"llama.cpp cannot load {path}: {self._last_log()}")
        vocab = llama_cpp.llama_model_get_vocab(self.model)
        self.vocab_size = llama_cpp.llama_vocab_n_tokens(vocab)
        about = ctypes.create_string_buffer(128)
        llama_cpp.llama_model_desc(self.model, about, len(about))
        self.about = about.value.decode(errors="replace")

    def generate(self, request, answer):
        if request.get("sampling"):
            raise Refused("llama.cpp is driven greedily here: sampling is not understood")
        sequences = isobit_exec.sequences(request)
        # A prefix is computed under an id of its own, whose cache is copied to the sequence's.
        ids = len(sequences) * (2 if request["cache"] == "prefix" else 1)
        longest = max(len(s.prompt) + s.rows_wanted for s in sequences)
        context = self._new_context(ids, longest, request.get("threads"))
        try:
            run = Run(self.lib, context, self.n_ubatch)
            self._decode(run, sequences, request["cache"], answer)
            return dataclasses.asdict(run.counters) | self._what_ran(context)
        finally:
            self.lib.llama_free(context)

    def _decode(self, run, sequences, cache, answer):
        if cache == "prefix":
            run.share_prefixes(sequences)
        while live := [s for s in sequences if not s.ended]:
            if cache == "off":
                run.forget()
            for s, row in run.step(live, self.vocab_size):
                s.tell(answer, int(row.argmax()), logits=row)  # the first of equal ones

    def _new_context(self, ids: int, longest: int, threads: int | None):
        lib = self.lib
        if ids > lib.llama_max_parallel_sequences():
            raise Refused(f"{ids} sequences at once are more than the "
                          f"{lib.llama_max_parallel_sequences()} of this llama.cpp")
        options = lib.llama_context_default_params()
        options.n_ctx = ids * -(-longest // CONTEXT_STEP) * CONTEXT_STEP
        options.n_batch, options.n_ubatch, options.n_seq_max = self.n_batch, self.n_ubatch, ids
        options.type_k = getattr(lib, "GGML_TYPE_" + self.type_k.upper())
        options.type_v = getattr(lib, "GGML_TYPE_" + self.type_v.upper())
        options.flash_attn_type = FLASH[self.flash]
        options.kv_unified = self.unified
        if threads:
            options.n_threads = options.n_threads_batch = threads
        context = lib.llama_init_from_model(self.model, options)
        if not context:
            raise Refused(f"llama.cpp makes no context with these options: {self._last_log()}")
        return context

    def _what_ran(self, context) -> dict:
        lib = self.lib
        kernels = [self.about, f"n_batch {lib.llama_n_batch(context)}",
                   f"n_ubatch {lib.llama_n_ubatch(context)}", f"cache {self.type_k}/{self.type_v}",
                   f"flash attention {self.flash}", "unified" if self.unified else "not unified",
                   lib.llama_print_system_info().decode(errors="replace").strip(" |\n")]
        library = "libggml-cuda" if self.device == "cuda" else "libggml-cpu"
        return {"threads": lib.llama_n_threads(context), "device": self.device, "precision": "fp32",
                "kv": "exact", "kernels": ", ".join(kernels),
                "library": isobit_exec.loaded_library(library)}

    def _keep_log(self, _level, text, _data):
        self.log.append(text.decode(errors="replace"))
        del self.log[:-MOST_LOG_LINES]

    def _last_log(self) -> str:
        lines = "".join(self.log).strip().splitlines()
        return lines[-1] if lines else "it does not say why"


class Run:
    """One request in a context."""

    def __init__(self, lib, context, n_ubatch: int):
        import numpy
        self._lib, self._context, self._numpy = lib, context, numpy
        self._memory = lib.llama_get_memory(context)
        self._n_batch = lib.llama_n_batch(context)
        self._n_ubatch = n_ubatch
        self._held = collections.Counter()  # by sequence: positions that the cache holds
        self.counters = Counters()

    def share_prefixes(self, sequences):
        """Computes the first half of each prompt under an id of its own and copies its cache."""
        lib = self._lib
        for s in sequences:
            spare, half = len(sequences) + s.number, len(s.prompt) // 2
            for part in self._calls([(spare, place, s.prompt[place], False)
                                     for place in range(half)]):
                self._put(part)
            lib.llama_memory_seq_cp(self._memory, spare, s.number, -1, -1)
            lib.llama_memory_seq_rm(self._memory, spare, -1, -1)
            self._held[s.number] = lib.llama_memory_seq_pos_max(self._memory, s.number) + 1
            self.counters.prefix_hits += self._held[s.number]

    def forget(self):
        self._lib.llama_memory_clear(self._memory, True)
        self._held.clear()

    def step(self, sequences, vocab_size: int):
        """Computes what is not held yet; yields (sequence, row) for the last token of each."""
        counters, held = self.counters, self._held
        counters.cached_reads += sum(held[s.number] for s in sequences)
        places = [(s.number, place, s.tokens[place], place == len(s.tokens) - 1)
                  for s in sequences for place in range(held[s.number], len(s.tokens))]
        held.update({s.number: len(s.tokens) - held[s.number] for s in sequences})
        by_number = {s.number: s for s in sequences}
        calls = collections.Counter()
        for part in self._calls(places):
            self._put(part)
            calls.update({number for number, *_ in part})
            for at, (number, _, _, wanted) in enumerate(part):
                if wanted:
                    place = self._lib.llama_get_logits_ith(self._context, at)
                    row = self._numpy.frombuffer(ctypes.string_at(place, 4 * vocab_size), "<f4")
                    yield by_number[number], row
        counters.steps += 1
        counters.chunks = max(counters.chunks, *calls.values())

    def _calls(self, places):
        """In parts that one llama_decode takes."""
        for begin in range(0, len(places), self._n_batch):
            yield places[begin:begin + self._n_batch]

    def _put(self, places):
        """One llama_decode of (sequence id, position, token, whether its row is wanted)."""
        lib = self._lib
        batch = lib.llama_batch_init(len(places), 0, 1)
        try:
            batch.n_tokens = len(places)
            for at, (number, place, token, wanted) in enumerate(places):
                batch.token[at], batch.pos[at] = token, place
                batch.n_seq_id[at], batch.seq_id[at][0] = 1, number
                batch.logits[at] = wanted
            code = lib.llama_decode(self._context, batch)
        finally:
            lib.llama_batch_free(batch)
        if code != 0:
            raise Refused(f"llama_decode of {len(places)} tokens gave {code}")
        together = min(len({number for number, *_ in places}), self._n_ubatch)
        self.counters.live_rows = max(self.counters.live_rows, together)


if __name__ == "__main__":
    isobit_exec.serve(LlamaCpp())
