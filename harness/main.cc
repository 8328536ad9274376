// The program: arguments in, exit code out. What escapes as an exception is an internal error.
#include <poll.h>

#include <csignal>
#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include "harness/cli/cli.h"
#include "harness/verdict.h"
#if defined(ISOBIT_HAVE_MPI)
#include "harness/execute/distributed.h"
#include "runtime/parallel/mpi_world.h"
#include "runtime/run/ranks.h"
#endif

namespace {

int internal_error(const char* what) {
  std::fprintf(stderr, "isobit: internal error: %s\n", what);
  return isobit::kExitInternal;
}

/// A reader that went away (`isobit list | head`) is no error; a full disk is.
bool output_lost() {
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return false;
  pollfd out{1, POLLOUT, 0};
  return ::poll(&out, 1, 0) < 0 || (out.revents & POLLERR) == 0;
}

}  // namespace

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);
#if defined(ISOBIT_HAVE_MPI)
  isobit::rank_status();  // asks the driver in a child process, before MPI forbids to fork
  isobit::start_mpi(&argc, &argv);
  isobit::World* const all = isobit::world();
  if (all != nullptr && all->rank() > 0) {
    isobit::follow(*all);
    isobit::end_mpi();
    return isobit::kExitOk;
  }
#endif
  int code = isobit::kExitInternal;
  try {
    code = isobit::run_cli(std::vector<std::string>(argv + (argc > 0 ? 1 : 0), argv + argc));
  } catch (const std::bad_alloc&) {
    return internal_error("out of memory");
  } catch (const std::exception& error) {
    return internal_error(error.what());
  } catch (...) {
    return internal_error("an exception of unknown type");
  }
#if defined(ISOBIT_HAVE_MPI)
  if (all != nullptr) isobit::dismiss(*all);
  isobit::end_mpi();
#endif
  if (output_lost()) {
    std::fprintf(stderr, "isobit: standard output could not be written: is its disk full?\n");
    return isobit::kExitUsage;
  }
  return code;
}
