// The program: arguments in, exit code out. What escapes as an exception is an internal error.
#include <poll.h>

#include <csignal>
#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include "harness/cli.h"
#include "harness/verdict.h"

namespace {

int internal_error(const char* what) {
  std::fprintf(stderr, "invar: internal error: %s\n", what);
  return invar::kExitInternal;
}

/// A reader that went away (`invar list | head`) is no error; a full disk is.
bool output_lost() {
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return false;
  pollfd out{1, POLLOUT, 0};
  return ::poll(&out, 1, 0) < 0 || (out.revents & POLLERR) == 0;
}

}  // namespace

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  int code = invar::kExitInternal;
  try {
    code = invar::run_cli(std::vector<std::string>(argv + (argc > 0 ? 1 : 0), argv + argc));
  } catch (const std::bad_alloc&) {
    return internal_error("out of memory");
  } catch (const std::exception& error) {
    return internal_error(error.what());
  } catch (...) {
    return internal_error("an exception of unknown type");
  }
  if (output_lost()) return internal_error("standard output could not be written");
  return code;
}
