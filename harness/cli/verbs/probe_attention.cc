// `isobit probe attention`: do the rules of fused attention give a library's outputs? Captures on
// this machine's GPU (adapters/probe_torch.py), or reads captures; computes every row again.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <sstream>

#include "harness/cli/verbs/common.h"
#include "harness/cli/verbs/verbs.h"
#include "harness/probe/attention_lines.h"
#include "runtime/backends/exec/choice.h"
#include "runtime/base/file.h"
#include "runtime/base/interrupt.h"
#include "runtime/base/process.h"
#include "runtime/base/words.h"
#include "runtime/numerics/product_book.h"

namespace isobit::commands {
namespace {

using probe::AttentionCapture;
using probe::AttentionCount;
using probe::AttentionJudgement;
using probe::AttentionMiss;

constexpr std::size_t kLargestCapture = std::size_t{1} << 30;
constexpr const char* kScript = "probe_torch.py";

/// What the options ask for that fits together, or why it does not.
Result<void> check_options(const Arguments& arguments) {
  const bool runs = arguments.has("capture");
  if (runs == arguments.has("from")) {
    return Error{runs ? "nothing runs when captures are judged: --from"
                      : "which capture: --from FILE, or --capture FILE to make one on this GPU",
                 "--capture"};
  }
  for (const char* option : {"python", "calls", "kernels", "seed"}) {
    if (!runs && arguments.has(option)) {
      return Error{"nothing runs when captures are judged: --from", std::string("--") + option};
    }
  }
  return {};
}

/// "fa2,cudnn", checked here: the script needs seconds to start.
Result<std::string> kernels_of(const Arguments& arguments) {
  const std::vector<std::string> known = {"fa2", "cudnn", "efficient"};
  const std::string text = arguments.text("kernels", "fa2,cudnn,efficient");
  std::istringstream words(text + ",");
  for (std::string word; std::getline(words, word, ',');) {
    if (std::find(known.begin(), known.end(), word) == known.end()) {
      return Error{"there is no fused attention " + in_quotes(word) + among_known(word, known),
                   "--kernels"};
    }
  }
  return text;
}

/// Lets the script write the capture. Nothing more is to be done when interrupted.
Result<void> run_script(const Arguments& arguments) {
  const std::string file = arguments.text("capture"), python = arguments.text("python", "python3");
  std::error_code problem;
  if (std::filesystem::exists(file, problem)) {
    return Error{"is there already; --from judges it", file};
  }
  const auto kernels = kernels_of(arguments);
  if (!kernels) return kernels.error();
  const auto calls = arguments.number("calls", 400, 1, 1'000'000);
  if (!calls) return calls.error();
  const auto seed = arguments.number("seed", 1, 0, 0xffffffff);
  if (!seed) return seed.error();
  const auto script = exec::adapter_path(kScript);
  if (!script) return script.error();
  const auto ran = run_program(
      {python, *script, "attention", std::filesystem::absolute(file).string(), "--calls",
       std::to_string(*calls), "--kernels", *kernels, "--seed", std::to_string(*seed)},
      Output::shown);
  if (!ran) return Error{ran.error().text(), "--python"};
  if (interrupted == 0 && ran->status != 0) {
    return Error{std::string(kScript) + " ended with status " + std::to_string(ran->status), file};
  }
  return {};
}

Result<std::vector<AttentionCapture>> read_captures(const std::vector<std::string>& files) {
  std::vector<AttentionCapture> out;
  for (const std::string& file : files) {
    auto bytes = read_file(file, kLargestCapture, "a capture");
    ISOBIT_TRY(bytes);
    auto capture = probe::parse_attention_capture(*bytes, file);
    ISOBIT_TRY(capture);
    out.push_back(std::move(*capture));
  }
  return out;
}

/// 677696: "677,696".
std::string grouped(std::int64_t n) {
  const std::string digits = std::to_string(n);
  std::string out;
  for (std::size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % 3 == 0) out += ',';
    out += digits[i];
  }
  return out;
}

/// Of what has a rule: "677,696 outputs, 3 differ (99.9996 % equal)".
std::string share_text(const AttentionCount& count) {
  if (count.misses() == 0) return grouped(count.outputs) + " outputs, all equal";
  const double share = 100.0 * double(count.outputs - count.misses()) / double(count.outputs);
  char text[32];
  std::snprintf(text, sizeof text, " (%.4f %% equal)", std::min(share, 99.9999));
  return grouped(count.outputs) + " outputs, " + grouped(count.misses()) + " differ" + text;
}

void print_kinds(const AttentionJudgement& judgement) {
  std::vector<std::vector<std::string>> rows = {{"kernel", "precision", "head_dim", "mask", "calls",
                                                 "outputs", "differ", "one unit", "sign of zero",
                                                 "other"}};
  std::map<std::string, AttentionCount> unknown;
  for (const auto& [kind, count] : judgement.kinds) {
    if (!kind.ruled) {
      unknown[kind.kernel].add(count);
      continue;
    }
    rows.push_back({kind.kernel, kind.precision, std::to_string(kind.head_dim), kind.mask});
    for (const std::int64_t number : {count.calls, count.outputs, count.misses(), count.neighbours,
                                      count.zeros, count.others}) {
      rows.back().push_back(std::to_string(number));
    }
  }
  if (rows.size() > 1) print(table(rows));
  for (const auto& [kernel, count] : unknown) {
    print("no rule: " + grouped(count.calls) + " calls, " + grouped(count.outputs) +
          " outputs: " + shown_text(kernel) + "\n");
  }
}

std::string bits_text(std::uint16_t bits) {
  char text[8];
  std::snprintf(text, sizeof text, "%04x", unsigned(bits));
  return text;
}

void print_misses(const AttentionJudgement& judgement, const std::vector<std::string>& files) {
  for (const AttentionMiss& miss : judgement.misses) {
    print(shown_text(files[miss.capture]) + ":" + std::to_string(miss.line) + ": sequence " +
          std::to_string(miss.sequence) + ", head " + std::to_string(miss.head) + ", query " +
          std::to_string(miss.query) + ", output " + std::to_string(miss.output) + ": " +
          bits_text(miss.returned) + " came back, the rule gives " + bits_text(miss.computed) +
          " (" + probe::name_of(miss.kind) + ")\n");
  }
  const std::int64_t all = judgement.total(true).misses();
  const std::int64_t more = all - std::int64_t(judgement.misses.size());
  if (more > 0) print("… and " + grouped(more) + " more\n");
}

Json count_json(const AttentionCount& count) {
  return {{"calls", count.calls},
          {"outputs", count.outputs},
          {"differ", count.misses()},
          {"one_unit", count.neighbours},
          {"sign_of_zero", count.zeros},
          {"other", count.others},
          {"wrong_splits", count.wrong_splits}};
}

Json json_of(const AttentionJudgement& judgement, const std::vector<std::string>& files) {
  Json kinds = Json::array(), misses = Json::array();
  for (const auto& [kind, count] : judgement.kinds) {
    Json row = {{"kernel", kind.kernel},
                {"precision", kind.precision},
                {"head_dim", kind.head_dim},
                {"mask", kind.mask},
                {"rule", kind.ruled}};
    row.update(count_json(count));
    kinds.push_back(std::move(row));
  }
  for (const AttentionMiss& miss : judgement.misses) {
    misses.push_back({{"file", files[miss.capture]},
                      {"line", miss.line},
                      {"sequence", miss.sequence},
                      {"head", miss.head},
                      {"query", miss.query},
                      {"output", miss.output},
                      {"returned", bits_text(miss.returned)},
                      {"computed", bits_text(miss.computed)},
                      {"kind", probe::name_of(miss.kind)}});
  }
  return {{"format", kOutputFormat},
          {"probe", "attention"},
          {"files", files},
          {"kinds", kinds},
          {"judged", count_json(judgement.total(true))},
          {"without_rule", count_json(judgement.total(false))},
          {"misses", misses}};
}

void print_all(const AttentionJudgement& judgement, const std::vector<std::string>& files) {
  const AttentionCount judged = judgement.total(true);
  print_kinds(judgement);
  print_misses(judgement, files);
  if (judged.wrong_splits > 0) {
    print(grouped(judged.wrong_splits) + " calls were split into another number than the rule's\n");
  }
  print(judged.calls == 0 ? "no call has a rule: nothing was compared\n"
                          : share_text(judged) + "\n");
}

/// A capture speaks of the engine and machine that a book speaks of.
Result<void> check_facts(const probe::Facts& facts, const ProductBook& book,
                         const std::string& capture) {
  for (const auto& [name, value] : book.keys) {
    if (name == "driver" || name.starts_with("variable.")) continue;
    const auto told = facts.find(name);
    if (told != facts.end() && told->second == value) continue;
    return Error{"the book is of " + name + " " + shown_text(value) + ", the capture of " +
                     (told == facts.end() ? "none" : shown_text(told->second)),
                 capture};
  }
  return {};
}

/// Puts lines in the place of those about attention that a book has.
Result<void> write_book(const std::string& file, const std::vector<AttentionCapture>& captures,
                        const std::vector<std::string>& names,
                        const AttentionJudgement& judgement) {
  auto bytes = read_file(file, kLargestCapture, "a schedule book");
  ISOBIT_TRY(bytes);
  auto book = parse_product_book(*bytes, file);
  ISOBIT_TRY(book);
  for (std::size_t i = 0; i < captures.size(); ++i) {
    if (auto ok = check_facts(captures[i].facts, *book, names[i]); !ok) return ok.error();
  }
  book->attention = probe::attention_lines(judgement.calls);
  if (book->attention.empty()) {
    return Error{
        "no call asked for the kernel that PyTorch takes by itself and has a rule: capture "
        "some with probe_torch.py attention FILE --configs …",
        "--book"};
  }
  const std::string text = text_of(*book);
  if (auto whole = parse_product_book(text, file); !whole) return whole.error();
  for (const AttentionLine& line : book->attention) print(line_text(line));
  return write_file_atomically(file, text);
}

}  // namespace

Result<int> probe_attention(const Arguments& arguments) {
  if (auto ok = check_options(arguments); !ok) return ok.error();
  const auto threads = arguments.number("threads", 1, 1, 1024);
  ISOBIT_TRY(threads);
  install_interrupt_handler();
  const auto stopped = [] {
    complain("interrupted");
    return int(kExitInterrupted);
  };
  std::vector<std::string> files = arguments.all("from");
  if (files.empty()) {
    if (auto ok = run_script(arguments); !ok) return ok.error();
    files = {arguments.text("capture")};
  }
  if (interrupted != 0) return stopped();
  const auto captures = read_captures(files);
  ISOBIT_TRY(captures);
  const auto judgement = probe::judge_attention(
      *captures, {int(*threads), [](std::int64_t done, std::int64_t all) {
                    std::fprintf(stderr, "%s of %s calls\n", std::to_string(done).c_str(),
                                 std::to_string(all).c_str());
                  }});
  if (interrupted != 0) return stopped();
  if (arguments.has("json")) {
    print_json(json_of(judgement, files));
  } else {
    print_all(judgement, files);
  }
  if (arguments.has("book")) {
    if (auto ok = write_book(arguments.text("book"), *captures, files, judgement); !ok)
      return ok.error();
  }
  const AttentionCount judged = judgement.total(true);
  if (judged.outputs == 0) return int(kExitNothing);
  return int(judged.misses() + judged.wrong_splits == 0 ? kExitOk : kExitDifferent);
}

}  // namespace isobit::commands
