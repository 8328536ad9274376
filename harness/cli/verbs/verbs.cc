// The table of verbs: what the overview, the help, the parser and the completion scripts know.
#include "harness/cli/verbs/verbs.h"

#include <algorithm>

#include "harness/cli/verbs/common.h"
#include "runtime/numerics/precision.h"
#include "runtime/tokenizer/tokenizer.h"

#ifndef ISOBIT_VERSION
#define ISOBIT_VERSION "unknown"
#endif

namespace isobit {
namespace {

using Names = std::vector<std::string>;

Names operator+(Names a, const Names& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

const Names kSelect = {"filter", "cell", "failed",      "partition",
                       "set",    "raw",  "allow-large", "allow-external"};
const Names kExecute = {"jobs",    "max-time", "repeat", "until-fail", "shuffle",
                        "maxfail", "isolate",  "fresh",  "dry-run"};
const Names kPlaces = {"db", "golden"};
const Names kGate = {"golden-from", "baseline", "update", "require", "max-skip", "require-env"};
const Names kTell = {"report", "json", "quiet", "verbose", "color"};

const Names kRunning = kSelect + kExecute + kGate + kPlaces + Names{"offline"};

const std::vector<Verb> kRunningVerbs = {
    {"run",
     "SCENARIO…",
     "execute scenarios, compare, report",
     "Executes the cells of each scenario, compares them with the contract and the goldens, "
     "stores\n"
     "everything, and reports. Unchanged cells come from the database. Goldens are never edited.",
     "isobit run scenarios/cache.yaml -k 'precision=bf16' -j 2",
     {},
     kRunning + Names{"lenient"} + kTell,
     1,
     -1,
     commands::run},
    {"check",
     "SCENARIO…",
     "the same for CI: MISTRUSTED always fails",
     "Like run, for a gate: nothing is lenient. --golden-from main judges by the goldens of the "
     "base\n"
     "branch, so that a change cannot bless itself.",
     "isobit check scenarios/smoke.yaml --report junit=results.xml",
     {},
     kRunning + kTell,
     1,
     -1,
     commands::run},
    {"import",
     "SCENARIO TRACE…",
     "traces recorded elsewhere, judged as a run",
     "Takes each TRACE (JSON lines; harness/import/FORMAT.md) in the place of the execution of "
     "one\n"
     "cell, judges as check does, and stores the run, marked as imported. Which cell it is, the\n"
     "trace's header says, or --as. Other cells are not run. Nothing is executed, nothing becomes "
     "a\n"
     "golden, and no later run reuses what was imported; --baseline RUN judges by it.",
     "isobit import scenarios/smoke.yaml cluster.jsonl --as /3fa91c0d",
     {},
     Names{"as", "filter", "set", "raw", "allow-large", "baseline", "golden-from", "lenient",
           "dry-run", "offline"} +
         kPlaces + kTell,
     2,
     -1,
     commands::import_traces},
    {"repro",
     "CELL | SCENARIO --cell CELL",
     "execute one failing cell again",
     "Executes a cell afresh, together with the cells that its contract compares it with. CELL "
     "is\n"
     "looked up in the database. --dry-run only prints the line that repeats it anywhere.",
     "isobit repro /3fa91c0d",
     {},
     Names{"cell", "set", "dry-run", "jobs", "isolate", "repeat", "offline", "allow-external"} +
         kPlaces + kTell,
     1,
     1,
     commands::repro},
};

const std::vector<Verb> kReadingVerbs = {
    {"list",
     "SCENARIO…",
     "the cells, why some are skipped, which are stored",
     "Expands scenarios and shows every cell with the reason why it cannot run here, or the date "
     "of\n"
     "its stored result. Executes nothing.",
     "isobit list scenarios/batch.yaml -k 'batch>1' --json",
     {},
     kSelect + Names{"db", "json", "quiet"},
     1,
     -1,
     commands::list},
    {"validate",
     "SCENARIO…",
     "check scenario files and their prompts",
     "Reads scenario files strictly, expands the matrix, reads the prompts, and holds them "
     "against\n"
     "the model where it is there. Errors have file, line and column.",
     "isobit validate scenarios/*.yaml",
     {},
     {"set", "allow-large", "json", "quiet"},
     1,
     -1,
     commands::validate},
    {"diff",
     "A B",
     "first divergence of two runs or two cells",
     "Two runs (12, last, last~1) are compared cell by cell. Two cells (name, hash, RUN:CELL) "
     "are\n"
     "compared down to the first row, its values, and the layer and operation where they part.\n"
     "Exit code 0: equal, 1: different, 4: nothing compared.",
     "isobit diff last~1 last",
     {},
     {"bits-only", "allow-external", "db", "json", "verbose"},
     2,
     2,
     commands::diff},
    {"show",
     "CELL | RUN",
     "tokens, text, digests, top logits",
     "Shows what a cell (name, hash or start of a hash), or every cell of a run, recorded. "
     "--logits\n"
     "executes it again and writes each logits row as raw little-endian numbers:\n"
     "DIR/PROMPT-POSITION.f32 (or .f64); bytes of an id that a file name cannot hold are %41.",
     "isobit show /3fa91c0d --json",
     {},
     {"logits", "allow-external", "db", "json", "verbose"},
     1,
     1,
     commands::show},
    {"history",
     "[CELL]",
     "executions of a cell, or all runs",
     "Lists the executions of a cell, newest first, and where its bits changed. Without a cell:\n"
     "the runs of the database.",
     "isobit history /3fa91c0d",
     {},
     {"db", "json"},
     0,
     1,
     commands::history},
    {"report",
     "[RUN…]",
     "reports of stored runs: HTML, JUnit, Markdown, JSON",
     "Tells a stored run again (default: the last one) as text, or writes files. html=PATH is one\n"
     "page that asks for nothing: verdict, what broke and where, matrix, charts, tables.",
     "isobit report last --report html=run.html",
     {},
     Names{"db"} + kTell,
     0,
     -1,
     commands::report},
};

const std::vector<Verb> kGoldenVerbs = {
    {"pending",
     "",
     "golden blocks that wait for a decision",
     "Lists the pending goldens, one line a block: new, changed, or equal to the golden.",
     "isobit pending",
     {},
     {"db", "golden", "json"},
     0,
     0,
     commands::pending},
    {"review",
     "[SCENARIO…]",
     "show what pending goldens would change",
     "Shows every pending block beside the golden that it would stand for: the first row that "
     "differs,\n"
     "its tokens, their distance, and what changed. The last line blesses exactly what was shown.\n"
     "SCENARIO is a file or a name.",
     "isobit review smoke",
     {},
     {"db", "golden", "json", "verbose"},
     0,
     -1,
     commands::review},
    {"bless",
     "SCENARIO…",
     "make the present bits the goldens, with a reason",
     "Executes the scenarios twice; when both agree, writes the goldens and keeps who and why "
     "in\n"
     "their ledger. Only this verb makes goldens; prune retires them.",
     "isobit bless scenarios/smoke.yaml --reason 'first goldens'",
     {},
     Names{"reason", "by", "reviewed", "dry-run"} + kSelect + Names{"jobs", "isolate", "offline"} +
         kPlaces + Names{"quiet", "verbose", "color"},
     1,
     -1,
     commands::bless},
    {"reject",
     "[SCENARIO…]",
     "throw pending goldens away",
     "Removes pending blocks (of these scenarios, or all) and records the decision.",
     "isobit reject smoke --reason 'a bug, not a change'",
     {},
     {"reason", "by", "dry-run", "db", "golden", "json"},
     0,
     -1,
     commands::reject},
};

const std::vector<Verb> kMachineVerbs = {
    {"prune",
     "SCENARIO… | FOLDER…",
     "retire golden blocks that no scenario asks for",
     "Shows, and with --yes takes out, the golden blocks that no cell of these scenarios stands "
     "for.\n"
     "Given a folder, its scenarios are those of the YAML files below it, and golden files that\n"
     "no scenario of the project names are shown too. The ledger keeps what was there.",
     "isobit prune scenarios --yes --reason 'the prompts changed'",
     {},
     {"yes", "foreign", "reason", "by", "golden", "json"},
     1,
     -1,
     commands::prune},
    {"env",
     "[SCENARIO… | diff A B]",
     "this machine's fingerprint, or what changed",
     "Prints everything that should not change the bits: CPU, libraries by hash, compiler, "
     "flags;\n"
     "of scenarios also the digests of their models. `env diff A B` compares two runs, files of\n"
     "`env --json`, or `here`.",
     "isobit env diff last here",
     {},
     {"db", "json"},
     0,
     -1,
     commands::env},
    {"doctor",
     "",
     "is this machine ready? with fixes",
     "Checks arithmetic, engines, models, database and goldens. Exit code 6 when something is "
     "bad.",
     "isobit doctor",
     {},
     {"db", "golden", "json"},
     0,
     0,
     commands::doctor},
    {"selftest",
     "[DEFECT | AXIS]",
     "seeded defects that must be found",
     "Runs known defects through the shipped scenario, store and judge; each must be found on "
     "exactly\n"
     "its axis, and not when switched off.",
     "isobit selftest batch --json",
     {},
     {"work", "json", "quiet"},
     0,
     1,
     commands::selftest},
    {"serve",
     "",
     "be an engine in another process: the reference over the protocol of external engines",
     "Speaks the protocol of external engines (runtime/backends/exec/PROTOCOL.md) on standard "
     "input\n"
     "and output, computing by the reference: what a scenario starts as\n"
     "engine: {exec: [isobit, serve]}. --fault is for the selftest.",
     "isobit serve",
     {},
     {"fault"},
     0,
     0,
     commands::serve},
    {"model",
     "list | fetch NAME | info MODEL | digest MODEL | tokenize MODEL | store MODEL --out FILE",
     "models: fetch, describe, digest, tokenize, store",
     "fetch downloads a model and checks every digest. info describes a name, folder or .gguf "
     "file.\n"
     "digest names the numbers that a model computes with: equal for the same weights in other\n"
     "files, formats and orders.\n"
     "tokenize reads texts from standard input, one a line (with --json: one JSON string a "
     "line),\n"
     "and writes their ids. store writes the task vectors of a merged model, given as JSON, whose\n"
     "store is tvq or rtvq, into a new FILE.tasks.",
     "isobit model fetch smollm2-135m",
     {"list", "fetch", "info", "digest", "tokenize", "store"},
     {"offline", "dry-run", "json", "out"},
     1,
     2,
     commands::model},
    {"bench",
     "MODEL",
     "tokens a second, products against the machine's peak, cost of recording, memory",
     "Measures on this machine, for each instruction set: prefill; decoding in the steady state,\n"
     "digests included; the largest product against the FMA peak; what recording costs; seconds\n"
     "from opening the model to its first token; memory. MODEL synthetic-8b has the shape of\n"
     "Llama 3 8B and pseudo-random weights.",
     "isobit bench smollm2-135m --precision bf16 --threads 2",
     {},
     {"precision", "engine", "device", "threads", "prompt-tokens", "new-tokens", "batch", "context",
      "layers", "json"},
     1,
     1,
     commands::bench},
    {"study",
     "flash-bias",
     "measure what one rounding does, without a scenario",
     "flash-bias: mean signed errors of attention whose P and output are bf16 or fp16, against "
     "fp64,\n"
     "by how often the greatest score stands in a row and by the sign of V there, without and "
     "with\n"
     "the mitigation of arXiv 2510.04212. Rows are drawn, or recorded from a model's prompts:\n"
     "--model and --prompts.",
     "isobit study flash-bias --rows 4000 --seed 7",
     {"flash-bias"},
     {"rows", "seed", "model", "prompts", "precision", "json"},
     1,
     1,
     commands::study},
    {"probe",
     "gemm | attention",
     "find the order in which a library's products and fused attention add",
     "gemm runs products of drawn operands on an engine and searches the order that gives every "
     "bit:\n"
     "one chain, slices or dealt tiles of K, lanes; FMAs or a tensor core's groups. Where none "
     "does,\n"
     "masks reveal the tree of the sum. Numbers of rows are probed at both ends of every run for "
     "which\n"
     "the library names the same kernels. --book writes what was found for {twin: BOOK}; --capture "
     "keeps\n"
     "what came back, and --from searches it on a machine without the library. --forecast "
     "compares\n"
     "no results: it asks the library what it would start, for every number of rows, and writes "
     "lines\n"
     "that a rule tells from it; with --from it says how many of a capture's calls the rules "
     "foretell.\n"
     "attention computes again, on a CPU, what PyTorch's fused attention returned for drawn calls "
     "on a\n"
     "Hopper GPU, and says where a bit differs. --capture makes the file here (it needs PyTorch "
     "and\n"
     "the GPU) and judges it; --from judges files anywhere, and --book puts which kernel PyTorch "
     "takes\n"
     "by itself (probe_torch.py --configs) into a book of the same engine and machine, in place of "
     "its\n"
     "lines about attention. Exit code of attention: 0: equal, 1: a bit differs, 4: no call's "
     "kernel\n"
     "has a rule.",
     "isobit probe gemm --engine cublas --precision bf16,fp32 --model smollm2-135m --book "
     "h200.book",
     {"gemm", "attention"},
     {"engine", "device", "precision", "model", "shape", "shapes", "most-rows", "draws", "threads",
      "capture", "from", "chip", "book", "forecast", "kernels", "calls", "seed", "python", "json"},
     1,
     1,
     commands::probe},
    {"migrate",
     "SCENARIO",
     "forecast what another library or GPU will change",
     "Computes the scenario by two schedule books (isobit probe), on a CPU: its engines' places "
     "are\n"
     "taken by their twins, fed the same tokens. Says which products have another order, for "
     "which\n"
     "numbers of rows, and of each cell whether bits change, where first, down to the operation,\n"
     "by how much, and how often a token could flip. Forecast lines are used, and named. Exit "
     "code\n"
     "1: bits change, or a book lacks a product.",
     "isobit migrate --from h200-cublas.book --to h200-cublaslt.book scenarios/precision.yaml",
     {},
     {"from", "to", "filter", "set", "raw", "allow-large", "jobs", "max-time", "isolate", "db",
      "golden", "offline", "json", "quiet", "color"},
     1,
     1,
     commands::migrate},
    {"gc",
     "",
     "delete old runs from the database",
     "Deletes the oldest runs of which nothing that remains reuses a cell. A run that has not\n"
     "ended stays for seven days from its start: it may still be going on.",
     "isobit gc --keep 20 --dry-run",
     {},
     {"keep", "dry-run", "db", "json"},
     0,
     0,
     commands::gc},
    {"completion",
     "bash | zsh",
     "a completion script for the shell",
     "Prints a script that completes verbs, options and their values.",
     "source <(isobit completion bash)",
     {"bash", "zsh"},
     {},
     1,
     1,
     commands::completion},
    {"version",
     "",
     "versions of program, numerics and Unicode tables",
     "Prints what decides bits and ids.",
     "isobit version",
     {},
     {"json"},
     0,
     0,
     commands::version},
};

}  // namespace

const std::vector<Verb>& verbs() {
  static const std::vector<Verb> all = [] {
    std::vector<Verb> out = kRunningVerbs;
    for (const auto& more : {kReadingVerbs, kGoldenVerbs, kMachineVerbs}) {
      out.insert(out.end(), more.begin(), more.end());
    }
    return out;
  }();
  return all;
}

namespace commands {

Result<int> completion(const Arguments& arguments) {
  const auto script = completion_script(arguments.words[0]);
  ISOBIT_TRY(script);
  print(*script);
  return int(kExitOk);
}

Result<int> version(const Arguments& arguments) {
  if (arguments.has("json")) {
    print_json({{"format", kOutputFormat},
                {"isobit", ISOBIT_VERSION},
                {"numerics", kNumericsVersion},
                {"unicode", kUnicodeVersion}});
  } else {
    print("isobit " ISOBIT_VERSION ", numerics " + std::string(kNumericsVersion) + ", Unicode " +
          kUnicodeVersion + "\n");
  }
  return int(kExitOk);
}

}  // namespace commands
}  // namespace isobit
