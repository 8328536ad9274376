// The one place where a std::jthread is made that others wait for.
#include "runtime/base/thread.h"

#include <atomic>
#include <new>
#include <system_error>
#include <utility>

namespace isobit {
namespace {

std::atomic<int> starts_left{-1};  // before starts are refused; negative: they are not

bool refused() {
  if (starts_left < 0) return false;
  if (starts_left == 0) return true;
  --starts_left;
  return false;
}

}  // namespace

Result<std::jthread> start_thread(const std::string& what, std::function<void()> body) {
  const std::string place = what + " could not be started";
  try {
    if (refused()) {
      throw std::system_error(std::make_error_code(std::errc::resource_unavailable_try_again));
    }
    return std::jthread(std::move(body));
  } catch (const std::system_error& error) {
    return Error{error.code().message(), place};
  } catch (const std::bad_alloc&) {
    return Error{"out of memory", place};
  }
}

void refuse_thread_starts_from(int nth) {
  starts_left = nth - 1;
}

}  // namespace isobit
