// Every option of every verb, once. Verbs pick by name (verbs/verbs.cc).
#include <utility>

#include "harness/cli/cli.h"

namespace isobit {
namespace {

std::vector<OptionInfo> running_options() {
  return {
      // Where things are.
      {"db", 0, Takes::one, "PATH", "database (default: ISOBIT_DB, else .isobit/isobit.db)"},
      {"golden", 0, Takes::one, "DIR",
       "goldens (default: ISOBIT_GOLDEN, else golden/ of the scenario's project)"},
      {"golden-from", 0, Takes::one, "REV", "judge by the goldens of this Git revision"},
      {"baseline", 0, Takes::one, "RUN",
       "judge by an earlier run instead of goldens: 12, last, or another database's FILE[:RUN]"},
      {"offline", 0, Takes::nothing, "", "never download; a missing model is an error"},
      // Which cells.
      {"filter", 'k', Takes::one, "EXPR",
       "only cells that match, e.g. 'precision=bf16 and batch>1'"},
      {"cell", 0, Takes::many, "CELL", "only this cell: name, hash or start of a hash; repeatable"},
      {"as", 0, Takes::many, "CELL",
       "the cell that a trace stands for; once for each trace, in their order"},
      {"failed", 0, Takes::nothing, "", "only cells that did not pass in the last run"},
      {"partition", 0, Takes::one, "I/N", "only part I of N; classes stay whole"},
      {"set", 0, Takes::many, "KEY=VALUE", "override a key, e.g. axes.batch=[1,2]; repeatable"},
      {"raw", 0, Takes::nothing, "",
       "a chat of one user message is its content, without a template (--set prompts.raw=true)"},
      {"allow-large", 0, Takes::nothing, "",
       "accept more cells than max_cells, and more memory than is available"},
      {"allow-external", 0, Takes::nothing, "",
       "run engines that start a program or load a library that the scenario names"},
      // How to run.
      {"jobs", 'j', Takes::one, "N", "worker processes at once (default: 1)"},
      {"max-time", 0, Takes::one, "TIME", "stop cleanly after 10m, 90s, 1h30m"},
      {"repeat", 0, Takes::one, "N", "execute every cell N times; differing runs are NONDET"},
      {"until-fail", 0, Takes::nothing, "", "repeat until something fails"},
      {"shuffle", 0, Takes::maybe, "SEED", "execute in a shuffled order"},
      {"maxfail", 0, Takes::one, "N", "stop after N failing cells"},
      {"isolate", 0, Takes::nothing, "", "one process a cell"},
      {"fresh", 0, Takes::nothing, "", "execute all cells, reuse nothing from the database"},
      {"dry-run", 0, Takes::nothing, "", "say what would be done, change nothing"},
      // What counts as a failure.
      {"update", 0, Takes::one, "none|new|all",
       "what goes to the pending goldens (default: new; none when CI is set)"},
      {"lenient", 0, Takes::nothing, "", "MISTRUSTED only warns"},
      {"require", 0, Takes::many, "LIST",
       "fail when cells are skipped for want of these: gpu,nccl"},
      {"max-skip", 0, Takes::one, "N", "fail when more than N cells are skipped"},
      {"require-env", 0, Takes::one, "FILE",
       "fail unless this machine is as `isobit env --json` said"},
      // What is said.
      {"report", 0, Takes::many, "KIND=PATH",
       "also write html=, junit=, md= or json=PATH (-: standard output); repeatable"},
      {"json", 0, Takes::nothing, "", "JSON on standard output"},
      {"quiet", 'q', Takes::nothing, "", "only the summary"},
      {"verbose", 'v', Takes::nothing, "", "every cell"},
      {"color", 0, Takes::one, "auto|always|never", "colour (default: auto; NO_COLOR is obeyed)"},
  };
}

std::vector<OptionInfo> options_of_single_verbs() {
  return {
      {"reason", 0, Takes::one, "TEXT", "why; kept in the golden's ledger"},
      {"reviewed", 0, Takes::one, "HASH",
       "bless exactly what `isobit review` showed under this hash, or nothing"},
      {"by", 0, Takes::one, "NAME", "who (default: Git's user.name, else USER)"},
      {"logits", 0, Takes::one, "DIR",
       "execute again and write the logits rows there, little-endian"},
      {"bits-only", 0, Takes::nothing, "", "only what is stored: do not execute again for values"},
      {"yes", 0, Takes::nothing, "", "do it; without it only what would be done is shown"},
      {"foreign", 0, Takes::nothing, "",
       "also goldens of libraries and hardware that this machine does not have"},
      {"keep", 0, Takes::one, "N", "runs to keep (default: 50)"},
      {"work", 0, Takes::one, "DIR",
       "folder for temporary files (default: a new one under TMPDIR)"},
      {"precision", 0, Takes::one, "NAME",
       "precision to measure (default: fp32; of study and probe: bf16); probe takes a list: "
       "bf16,fp32"},
      {"threads", 0, Takes::one, "N", "threads of an operation, or of a judge (default: 1)"},
      {"prompt-tokens", 0, Takes::one, "N", "length of the prompt (default: 64)"},
      {"new-tokens", 0, Takes::one, "N", "tokens to decode (default: 32)"},
      {"batch", 0, Takes::one, "N", "sequences to decode at once (default: 1)"},
      {"context", 0, Takes::one, "N",
       "tokens before the first decoded one (default: the prompt's)"},
      {"device", 0, Takes::one, "cpu|cuda", "where to compute (default: what the engine needs)"},
      {"engine", 0, Takes::one, "NAME",
       "reference, openblas, cublas, … (default: reference; of probe: cublas); openblas:Haswell "
       "chooses "
       "a core"},
      {"rows", 0, Takes::one, "N", "drawn rows of each line (default: 1000)"},
      {"seed", 0, Takes::one, "N", "of what is drawn (default: 1)"},
      {"fault", 0, Takes::one, "NAME", "serve with a seeded defect of the selftest"},
      {"model", 0, Takes::one, "MODEL",
       "record the rows of this model instead of drawing them; of probe: its products"},
      {"prompts", 0, Takes::one, "FILE", "prompts to record (JSONL)"},
      {"layers", 0, Takes::one, "N", "layers of a synthetic model (default: all of its shape)"},
      {"out", 0, Takes::one, "FILE", "the new file of task vectors, NAME.tasks"},
      {"shape", 0, Takes::many, "N,K", "probe products of N outputs over K inputs; repeatable"},
      {"shapes", 0, Takes::one, "FILE", "the same, N K [M…] a line"},
      {"most-rows", 0, Takes::one, "N", "rows of the largest product (default: 4096)"},
      {"draws", 0, Takes::one, "N", "operands for each product (default: 2)"},
      {"capture", 0, Takes::one, "FILE",
       "keep what came back, to search or judge it elsewhere; of gemm: goes on after an interrupt"},
      {"from", 0, Takes::many, "FILE",
       "search or judge a capture; nothing runs; repeatable; of migrate: the schedule book of now"},
      {"to", 0, Takes::one, "FILE", "the schedule book of then"},
      {"forecast", 0, Takes::nothing, "", "tell orders from what the library would start"},
      {"book", 0, Takes::one, "FILE", "write the schedule book"},
      {"kernels", 0, Takes::one, "LIST",
       "fused attention to capture (default: fa2,cudnn,efficient)"},
      {"calls", 0, Takes::one, "N", "drawn calls to capture (default: 400)"},
      {"python", 0, Takes::one, "PROGRAM", "a Python that has PyTorch (default: python3)"},
      {"chip", 0, Takes::one, "sm70|sm75|sm80|sm89|sm90|sm100",
       "whose tensor core is tried (default: sm90 for what ran on a GPU)"},
      {"help", 'h', Takes::nothing, "", "this text"},
  };
}

}  // namespace

const std::vector<OptionInfo>& all_options() {
  static const std::vector<OptionInfo> options = [] {
    std::vector<OptionInfo> all = running_options();
    for (OptionInfo& option : options_of_single_verbs()) all.push_back(std::move(option));
    return all;
  }();
  return options;
}

const OptionInfo* find_option(const std::string& name) {
  for (const OptionInfo& option : all_options()) {
    if (name == option.name) return &option;
  }
  return nullptr;
}

}  // namespace isobit
