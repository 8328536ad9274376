// --report KIND=PATH: chooses the renderer and writes the file.
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>

#include "reports/report.h"
#include "runtime/base/file.h"

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
  std::ifstream file(path, std::ios::binary);
  const std::string earlier{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  if (earlier.empty() || earlier.size() + page.size() > kStepSummaryLimit) return page;
  return earlier + "\n" + page;
}

std::string render_json(const std::vector<Report>& reports) {
  if (reports.size() == 1) return isobit::render_json(reports[0]);
  std::string out = "{\"format\": 1, \"reports\": [\n";
  for (std::size_t i = 0; i < reports.size(); ++i) {
    out += (i == 0 ? "" : ",\n") + isobit::render_json(reports[i]);
  }
  return out + "]}\n";
}

}  // namespace

Result<void> write_report(const std::string& kind_and_path, const std::vector<Report>& reports) {
  const std::size_t equals = kind_and_path.find('=');
  const std::string kind = kind_and_path.substr(0, equals);
  const std::string path = equals == std::string::npos ? "" : kind_and_path.substr(equals + 1);
  if (path.empty()) {
    return Error{
        "a report is KIND=PATH, for example junit=results.xml; this is \"" + kind_and_path + "\"",
        "--report"};
  }
  if (kind == "junit") return write_file_atomically(path, render_junit(reports));
  if (kind == "json") return write_file_atomically(path, render_json(reports));
  if (kind == "md" || kind == "markdown") {
    if (variable("GITHUB_ACTIONS") == "true") {
      const std::string annotations = render_annotations(reports);
      std::fwrite(annotations.data(), 1, annotations.size(), stderr);
    }
    return write_file_atomically(path, with_earlier_summary(path, render_markdown(reports)));
  }
  return Error{"unknown report kind \"" + kind + "\"; there are junit, json, md", "--report"};
}

}  // namespace isobit
