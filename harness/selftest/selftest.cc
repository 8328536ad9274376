// Runs every defect through run_scenario(), switched on and off, and compares the verdicts.

#include "harness/selftest/selftest.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>

#include "golden/bless.h"
#include "harness/selftest/defects.h"
#include "harness/selftest/engines.h"
#include "harness/selftest/model.h"
#include "runtime/base/file.h"
#include "runtime/base/interrupt.h"
#include "runtime/base/text.h"

namespace isobit {
namespace {

namespace fs = std::filesystem;
using selftest::Defect;
using selftest::Setup;

std::vector<Defect> all_defects() {
  std::vector<Defect> all;
  for (auto part :
       {selftest::order_defects(), selftest::flash_defects(), selftest::value_defects(),
        selftest::rank_defects(), selftest::cache_defects(), selftest::policy_defects(),
        selftest::lossy_defects(), selftest::patch_defects(), selftest::draw_defects(),
        selftest::asked_defects(), selftest::measured_defects(), selftest::operation_defects(),
        selftest::score_defects(), selftest::trace_defects(), selftest::engine_defects()}) {
    std::move(part.begin(), part.end(), std::back_inserter(all));
  }
  return all;
}

std::vector<Defect> selected(const std::string& filter) {
  std::vector<Defect> all = all_defects();
  const bool exact =
      std::any_of(all.begin(), all.end(), [&](const Defect& d) { return d.name == filter; });
  std::erase_if(all, [&](const Defect& d) {
    if (exact) return d.name != filter;
    return !filter.empty() && d.axis != filter && d.name.find(filter) == std::string::npos;
  });
  return all;
}

/// The wrappers are there in both cases; `armed` decides whether they do anything.
ExecuteHooks hooks_of(const Defect& defect, bool armed) {
  ExecuteHooks hooks;
  hooks.request = [&defect, armed](const Cell& cell, GenerateRequest& request) {
    Setup setup{request.ranks, request.backend.threads, request.batch.size, false, request.cache};
    for (const PromptTokens& prompt : request.prompts) setup.taught |= !prompt.teacher.empty();
    request.wrap_backend = [&defect, armed, setup](std::unique_ptr<Backend> inner) {
      if (armed && defect.backend) return defect.backend(std::move(inner), setup);
      return std::unique_ptr<Backend>(
          std::make_unique<selftest::ForwardingBackend>(std::move(inner), setup));
    };
    request.wrap_communicator = [&defect, armed, setup](std::unique_ptr<Communicator> inner) {
      if (armed && defect.communicator) return defect.communicator(std::move(inner), setup);
      return std::unique_ptr<Communicator>(
          std::make_unique<selftest::ForwardingCommunicator>(std::move(inner), setup));
    };
    if (armed && defect.request) defect.request(cell, request);
  };
  if (armed) hooks.trace = defect.trace;
  return hooks;
}

/// The cell of a report as filters see it.
bool matches(const Filter& filter, const ReportCell& cell) {
  AxisPoint values;
  for (const auto& [axis, text] : cell.axes) values[axis] = *axis_value(axis, text);
  Filter::Subject subject;
  subject.axis = [&values](const std::string& axis) -> const AxisValue* {
    const auto at = values.find(axis);
    return at == values.end() ? nullptr : &at->second;
  };
  subject.has_tag = [](const std::string&) { return false; };
  subject.name = cell.name;
  return filter.matches(subject);
}

std::string counted(const Report& report) {
  std::string out;
  for (int v = 0; v < kVerdicts; ++v) {
    const auto n = report.counts[std::size_t(v)];
    if (n == 0 || v == int(Verdict::pass) || v == int(Verdict::skip)) continue;
    out += (out.empty() ? "" : ", ") + std::to_string(n) + " " + name_of(static_cast<Verdict>(v));
  }
  return out.empty() ? "PASS" : out;
}

class Runner {
 public:
  Runner(const Defect& defect, std::string folder, std::string program)
      : defect_(defect),
        folder_(std::move(folder)),
        home_(folder_ + "/" + defect.name),
        program_(std::move(program)) {}

  Result<Report> run(bool armed) {
    RunOptions options;
    const std::string path = folder_ + "/" + defect_.plan + ".yaml";
    std::ofstream(path, std::ios::binary) << selftest::plan_text(defect_.plan);
    options.database = home_ + (armed ? "/on" : "/off") + "/isobit.db";
    options.golden_folder = home_ + "/golden";
    options.update = "none";
    options.judge_goldens = defect_.against_golden;
    options.jobs = 2;
    options.quiet = true;
    options.progress = false;
    options.command_line = "isobit selftest " + defect_.name;
    if (defect_.settings) defect_.settings(options);
    if (armed && defect_.run) defect_.run(options);
    if (!defect_.fault.empty()) {
      options.jobs = 1;  // one process serves all: what it remembers, it remembers
      options.overrides.push_back("axes.engine=[reference, {exec: [\"" + program_ +
                                  "\", serve, --fault, " + (armed ? defect_.fault : "none") + "]" +
                                  defect_.engine_options + "}]");
    }
    const ExecuteHooks hooks = hooks_of(defect_, armed);
    options.hooks = &hooks;
    return report_of(path, options);
  }

  /// Makes the golden that later runs are compared with: a clean run's pending blocks.
  Result<void> make_golden() {
    RunOptions options;
    const std::string path = folder_ + "/" + defect_.plan + ".yaml";
    std::ofstream(path, std::ios::binary) << selftest::plan_text(defect_.plan);
    options.database = home_ + "/golden-run/isobit.db";
    options.golden_folder = home_ + "/golden";
    options.quiet = true;
    options.progress = false;
    auto report = report_of(path, options);
    ISOBIT_TRY(report);
    const std::string pending = pending_path(options.database, report->scenario);
    const auto clean = read_pending_file(pending, report->scenario);
    ISOBIT_TRY(clean);
    std::vector<GoldenBlock> blocks;
    for (const auto& [key, block] : clean->blocks) blocks.push_back(block);
    if (blocks.empty()) return Error{"no golden was made", pending};
    GoldenFile golden;
    golden.scenario = report->scenario;
    bless_blocks(golden, golden_changes(golden, blocks), "selftest", "a clean run");
    return write_golden_file(golden_path(path, report->scenario, options.golden_folder), golden);
  }

 private:
  static Result<Report> report_of(const std::string& path, const RunOptions& options) {
    auto result = run_scenario(path, options);
    ISOBIT_TRY(result);
    return std::move(*result);
  }

  const Defect& defect_;
  std::string folder_, home_, program_;
};

/// Fills what the armed run gave; says in `note` what was not as expected.
void judge_armed(const Defect& defect, const Report& report, SelftestResult& result) {
  const auto filter = Filter::parse(defect.red.empty() ? "threads>0" : defect.red, defect.name);
  if (!filter) {
    result.note = filter.error().text();
    return;
  }
  std::vector<std::string> wrong;
  for (const ReportCell& cell : report.cells) {
    if (cell.verdict == Verdict::skip) continue;
    const bool expected = matches(*filter, cell);
    if (expected) result.cells_expected.push_back(cell.name);
    if (cell.verdict != Verdict::pass) result.cells_red.push_back(cell.name);
    if (!expected) {
      if (cell.verdict != Verdict::pass)
        wrong.push_back(cell.name + " is " + name_of(cell.verdict));
      continue;
    }
    const bool says = cell.reason.find(defect.says) != std::string::npos ||
                      cell.divergence.layer_site.find(defect.says) != std::string::npos;
    if (cell.verdict != defect.verdict || !says) {
      wrong.push_back(
          cell.name + " is " + name_of(cell.verdict) + " (" + cell.reason +
          (cell.divergence.layer_site.empty() ? "" : "; " + cell.divergence.layer_site) + ")");
    }
  }
  result.observed = counted(report);
  result.untestable = result.cells_expected.empty() && wrong.empty();
  const int code = defect.verdict == Verdict::mistrusted ? kExitMistrusted : kExitDifferent;
  if (!result.untestable && report.exit_code != code) {
    wrong.push_back("exit code " + std::to_string(report.exit_code));
  }
  result.found = wrong.empty() && !result.untestable;
  for (const std::string& one : wrong) result.note += (result.note.empty() ? "" : "; ") + one;
}

void judge_off(const Report& report, SelftestResult& result) {
  result.off = "PASS";
  for (const ReportCell& cell : report.cells) {
    if (cell.verdict == Verdict::pass || cell.verdict == Verdict::skip) continue;
    result.off = cell.name + " is " + name_of(cell.verdict) + " (" + cell.reason + ")";
    return;
  }
  if (report.exit_code != kExitOk) result.off = "exit code " + std::to_string(report.exit_code);
}

SelftestResult run_defect(const Defect& defect, const std::string& folder,
                          const std::string& program, Report* armed_report) {
  const auto start = std::chrono::steady_clock::now();
  SelftestResult result;
  result.defect = defect.name, result.axis = defect.axis, result.site = defect.site;
  result.expected = name_of(defect.verdict);
  Runner runner(defect, folder, program);
  const auto failed = [&](const Error& error) {
    result.note = error.text();
    return result;
  };
  if (defect.against_golden) {
    if (auto ok = runner.make_golden(); !ok) return failed(ok.error());
  }
  const auto armed = runner.run(true);
  if (!armed) return failed(armed.error());
  judge_armed(defect, *armed, result);
  if (armed_report != nullptr) *armed_report = *armed;
  const auto off = runner.run(false);
  if (!off) return failed(off.error());
  judge_off(*off, result);
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return result;
}

nlohmann::ordered_json to_json(const SelftestResult& r) {
  return {{"defect", r.defect},
          {"axis", r.axis},
          {"site", r.site},
          {"expected", r.expected},
          {"observed", r.observed},
          {"found", r.found},
          {"untestable", r.untestable},
          {"off", r.off},
          {"cells_red", r.cells_red},
          {"cells_expected", r.cells_expected},
          {"note", r.note},
          {"seconds", r.seconds}};
}

bool good(const SelftestResult& r) {
  return (r.found || r.untestable) && r.off == "PASS";
}

void print_line(const SelftestResult& r) {
  const char* state = r.found ? "found" : r.untestable ? "skipped" : "MISSED";
  std::printf("%-8s %-22s %-14s %-38s %-18s %zu red  %.2f s\n", state, r.defect.c_str(),
              r.axis.c_str(), r.site.c_str(), r.observed.c_str(), r.cells_red.size(), r.seconds);
  if (!r.note.empty()) std::printf("         %s\n", r.note.c_str());
  if (r.off != "PASS") std::printf("         switched off: %s\n", r.off.c_str());
  std::fflush(stdout);
}

/// Runs the selected defects; `each` sees every result as it comes.
Result<void> run_selected(const std::vector<Defect>& defects, const SelftestOptions& options,
                          Report* report, const std::function<void(SelftestResult&&)>& each) {
  std::optional<TemporaryFolder> temporary;
  if (options.work_folder.empty()) {
    auto made = TemporaryFolder::make("isobit-selftest-");
    ISOBIT_TRY(made);
    temporary.emplace(std::move(*made));
  }
  const std::string folder = temporary ? temporary->path() : options.work_folder;
  if (auto ok = selftest::write_selftest_inputs(folder); !ok) return ok;
  for (const Defect& defect : defects) {
    std::error_code ignored;
    fs::remove_all(folder + "/" + defect.name, ignored);  // of an earlier selftest
    const bool allowed = external_allowed();
    allow_external(allowed || !defect.fault.empty());  // this program, and nobody else's
    each(run_defect(defect, folder, options.program, report));
    allow_external(allowed);
    if (interrupted) break;
  }
  return {};
}

}  // namespace

std::vector<std::string> selftest_names() {
  std::vector<std::string> names;
  for (const Defect& defect : all_defects()) names.push_back(defect.name);
  return names;
}

std::vector<SelftestResult> selftest_results(const SelftestOptions& options) {
  std::vector<SelftestResult> results;
  const auto ok = run_selected(selected(options.filter), options, nullptr,
                               [&](SelftestResult&& r) { results.push_back(std::move(r)); });
  if (!ok) results.clear();
  return results;
}

int run_selftest(const SelftestOptions& options) {
  const std::vector<Defect> defects = selected(options.filter);
  if (defects.empty()) {
    std::fprintf(stderr, "isobit: no defect is named %s\n", text::quoted(options.filter).c_str());
    return kExitUsage;
  }
  install_interrupt_handler();
  Report report;
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  std::size_t fine = 0, skipped = 0, done = 0;
  double seconds = 0;
  const auto ok = run_selected(defects, options, &report, [&](SelftestResult&& r) {
    list.push_back(to_json(r));
    fine += good(r) ? 1 : 0;
    skipped += r.untestable ? 1 : 0;
    ++done;
    seconds += r.seconds;
    if (options.json) return;
    if (defects.size() == 1 && !options.quiet) {
      const std::string text = render_terminal(report, TerminalStyle{});
      std::fwrite(text.data(), 1, text.size(), stdout);
      std::printf("\n");
    }
    if (!options.quiet || !good(r)) print_line(r);
  });
  if (!ok) {
    std::fprintf(stderr, "isobit: %s\n", text::printable(ok.error().text()).c_str());
    return kExitUsage;
  }
  if (options.json) {
    const nlohmann::ordered_json all = {{"format", 1}, {"defects", list}};
    std::printf("%s\n", all.dump(1, ' ', true, nlohmann::json::error_handler_t::replace).c_str());
  } else {
    std::printf(
        "%zu of %zu defects found where they are and clean when off, %zu not testable here, "
        "%.1f s\n",
        fine - skipped, defects.size(), skipped, seconds);
  }
  if (interrupted) return kExitInterrupted;
  return fine == done && done == defects.size() ? kExitOk : kExitDifferent;
}

}  // namespace isobit
