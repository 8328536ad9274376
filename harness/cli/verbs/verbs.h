// One function a verb, called by the table of verbs.cc.
//
// A command gives an ExitCode, or an Error of usage or input (exit 2, one line on stderr). Results
// go to standard output, everything else to standard error.
#pragma once

#include "harness/cli/cli.h"

namespace isobit::commands {

Result<int> run(const Arguments& arguments);       // run and check (run.cc)
Result<int> repro(const Arguments& arguments);     // repro.cc
Result<int> list(const Arguments& arguments);      // list.cc
Result<int> dry_run(const Arguments& arguments);   // run and check with --dry-run (list.cc)
Result<int> validate(const Arguments& arguments);  // validate.cc
Result<int> diff(const Arguments& arguments);      // diff.cc
Result<int> show(const Arguments& arguments);      // show.cc
Result<int> history(const Arguments& arguments);   // history.cc
Result<int> report(const Arguments& arguments);    // report.cc
Result<int> bless(const Arguments& arguments);     // goldens.cc
Result<int> review(const Arguments& arguments);
Result<int> pending(const Arguments& arguments);
Result<int> reject(const Arguments& arguments);
Result<int> prune(const Arguments& arguments);       // prune.cc
Result<int> env(const Arguments& arguments);         // env.cc
Result<int> doctor(const Arguments& arguments);      // doctor.cc
Result<int> selftest(const Arguments& arguments);    // selftest.cc
Result<int> model(const Arguments& arguments);       // model.cc
Result<int> bench(const Arguments& arguments);       // bench.cc
Result<int> study(const Arguments& arguments);       // study.cc
Result<int> migrate(const Arguments& arguments);     // migrate.cc
Result<int> probe(const Arguments& arguments);       // probe.cc
Result<int> serve(const Arguments& arguments);       // serve.cc
Result<int> gc(const Arguments& arguments);          // gc.cc
Result<int> completion(const Arguments& arguments);  // verbs.cc
Result<int> version(const Arguments& arguments);
Result<int> import_traces(const Arguments& arguments);    // run.cc
Result<int> probe_attention(const Arguments& arguments);  // probe_attention.cc, for probe.cc

}  // namespace isobit::commands
