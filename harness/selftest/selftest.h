// Seeded defects: does the shipped harness find what is wrong, where it is wrong, and only there?
//
// Each defect is put into the computing path - a wrapped Backend or Communicator, a cache policy, a
// changed request or trace - while scenario, store, comparison, judge and report are the shipped
// ones. It must turn exactly the expected cells red with the expected verdict; switched off, with
// the same wrappers in place, every cell must PASS. Works offline on a model that it writes itself.
#pragma once

#include <string>
#include <vector>

namespace isobit {

struct SelftestOptions {
  bool json = false;        // {"format": 1, "defects": [...]} on stdout, nothing else
  std::string filter;       // part of a defect's name, or its axis; empty: all
  std::string work_folder;  // made when missing; empty: a temporary folder, removed at the end
  bool quiet = false;       // only the last line
  std::string program = "/proc/self/exe";  // the isobit that serves as an external engine
};

/// What one defect gave.
struct SelftestResult {
  std::string defect, axis, site;
  std::string expected, observed;  // verdicts
  bool found = false;              // the expected cells, all of them and no others, as expected
  bool untestable = false;         // this machine skips every cell the defect shows in
  std::string off;                 // "PASS", or what was wrong without the defect
  std::vector<std::string> cells_red, cells_expected;
  std::string note;  // why it counts as not found
  double seconds = 0;
};

/// Names of all defects, in order.
std::vector<std::string> selftest_names();
/// 0 when every selected defect is found and clean when off; 1 when not; 2 when none is selected or
/// the folder cannot be used. Prints a line a defect; with one defect selected its whole report.
int run_selftest(const SelftestOptions& options);
/// The same without printing.
std::vector<SelftestResult> selftest_results(const SelftestOptions& options);

}  // namespace isobit
