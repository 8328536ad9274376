// `isobit report`: a stored run told again, as text or as files.
#include "reports/report.h"

#include "harness/cli/verbs/common.h"
#include "harness/cli/verbs/verbs.h"
#include "reports/build.h"

namespace isobit::commands {

Result<int> report(const Arguments& arguments) {
  if (auto ok = check_reports(arguments); !ok) return ok.error();
  auto store = open_database(arguments);
  ISOBIT_TRY(store);
  std::vector<std::string> words = arguments.words;
  if (words.empty()) words.emplace_back("last");
  std::vector<Report> reports;
  std::vector<int> codes;
  for (const std::string& word : words) {
    if (!names_run(word)) return Error{"give run numbers, last or last~N", "report"};
    auto run = find_run(**store, word);
    ISOBIT_TRY(run);
    auto one = build_report(**store, run->id, wants_detail(arguments.all("report")));
    ISOBIT_TRY(one);
    codes.push_back(one->exit_code);
    reports.push_back(std::move(*one));
  }
  const TerminalStyle style{wants_color(arguments), arguments.has("quiet"),
                            arguments.has("verbose"), 100};
  if (arguments.has("json")) {
    print_styled(render_json(reports));
  } else if (!goes_to_standard_output(arguments.all("report"))) {
    for (const Report& one : reports) print_styled(render_terminal(one, style));
  }
  for (const std::string& target : arguments.all("report")) {
    if (auto ok = write_report(target, reports); !ok) return ok.error();
  }
  return joint_exit_code(codes);
}

}  // namespace isobit::commands
