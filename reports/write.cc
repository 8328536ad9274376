// --report KIND=PATH: the table of kinds, and writing the file.
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "reports/report.h"
#include "runtime/base/file.h"
#include "runtime/base/words.h"

namespace isobit {
namespace {

constexpr std::size_t kStepSummaryLimit = 1'000'000;

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

// Several commands of one CI step share one summary: what is there stays, while there is room.
std::string with_earlier_summary(const std::string& path, std::string page) {
  if (path != variable("GITHUB_STEP_SUMMARY")) return page;
  const auto earlier = read_file(path, kStepSummaryLimit, "the summary is full");
  if (!earlier || earlier->empty()) return page;
  if (earlier->size() + page.size() > kStepSummaryLimit) return page;
  return *earlier + "\n" + page;
}

std::string render_step_summary(const Reports& reports, const std::string& path) {
  if (variable("GITHUB_ACTIONS") == "true") {
    const std::string annotations = render_annotations(reports);
    std::fwrite(annotations.data(), 1, annotations.size(), stderr);
  }
  return with_earlier_summary(path, render_markdown(reports));
}

struct Target {
  const ReportKind* kind = nullptr;
  std::string path;
};

Result<Target> target_of(const std::string& kind_and_path) {
  const std::size_t equals = kind_and_path.find('=');
  const std::string name = kind_and_path.substr(0, equals);
  Target target;
  if (equals != std::string::npos) target.path = kind_and_path.substr(equals + 1);
  if (target.path.empty()) {
    return Error{in_quotes(kind_and_path) + " is not KIND=PATH, for example junit=results.xml",
                 "--report"};
  }
  std::vector<std::string> names;
  for (const ReportKind& kind : report_kinds()) {
    if (name == kind.name) target.kind = &kind;
    names.push_back(kind.name);
  }
  if (target.kind == nullptr) {
    return Error{"unknown report kind " + in_quotes(name) + did_you_mean(name, names), "--report"};
  }
  return target;
}

}  // namespace

const std::vector<ReportKind>& report_kinds() {
  static const std::vector<ReportKind> kinds = {
      {"junit", [](const Reports& reports, const std::string&) { return render_junit(reports); }},
      {"json", [](const Reports& reports, const std::string&) { return render_json(reports); }},
      {"md", render_step_summary},
      {"markdown", render_step_summary},
      {"html", [](const Reports& reports, const std::string&) { return render_html(reports); },
       true},
  };
  return kinds;
}

Result<std::string> check_report_target(const std::string& kind_and_path) {
  const auto target = target_of(kind_and_path);
  ISOBIT_TRY(target);
  return target->path;
}

bool goes_to_standard_output(const std::vector<std::string>& targets) {
  return std::any_of(targets.begin(), targets.end(), [](const std::string& each) {
    const auto target = target_of(each);
    return target && target->path == kStandardOutput;
  });
}

bool wants_detail(const std::vector<std::string>& targets) {
  return std::any_of(targets.begin(), targets.end(), [](const std::string& each) {
    const auto target = target_of(each);
    return target && target->kind->detail;
  });
}

Result<void> write_report(const std::string& kind_and_path, const Reports& reports) {
  const auto target = target_of(kind_and_path);
  ISOBIT_TRY(target);
  const std::string bytes = target->kind->render(reports, target->path);
  if (target->path != kStandardOutput) return write_file_atomically(target->path, bytes);
  const bool written = std::fwrite(bytes.data(), 1, bytes.size(), stdout) == bytes.size();
  if (written && std::fflush(stdout) == 0) return {};
  return Error{std::string("cannot write: ") + std::strerror(errno), "standard output"};
}

}  // namespace isobit
