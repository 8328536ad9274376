// Progress on stderr (report.h): a bar on a terminal, a plain line now and then elsewhere.
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <string>

#include "reports/describe.h"
#include "reports/report.h"
#include "runtime/base/text.h"

namespace isobit {
namespace {

constexpr double kBarSeconds = 0.1, kPlainSeconds = 5;

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

std::size_t terminal_width() {
  winsize size{};
  if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  return 80;
}

}  // namespace

std::string progress_text(std::int64_t done, std::int64_t total, std::int64_t failed,
                          double seconds, const std::string& current, std::size_t width, bool bar) {
  std::string out;
  if (bar) {
    constexpr std::int64_t kBar = 24;
    const std::int64_t filled =
        total > 0 ? std::clamp<std::int64_t>(done * kBar / total, 0, kBar) : 0;
    out += "[" + std::string(std::size_t(filled), '#') +
           std::string(std::size_t(kBar - filled), '.') + "] ";
  }
  out += text::count(done) + "/" + text::count(total, "cell");
  if (failed > 0) out += ", " + text::count(failed) + " failed";
  if (done > 0 && seconds > 0) {
    const double rate = double(done) / seconds;
    char buffer[48];
    std::snprintf(buffer, sizeof buffer, ", %.3g/s", rate);
    out += buffer;
    if (done < total) out += ", " + text::duration(double(total - done) / rate) + " left";
  }
  if (!current.empty()) out += "  " + text::printable(current);
  return text::truncate(out, width);
}

Progress::Progress(std::int64_t total, bool terminal, bool quiet)
    : total_(total), terminal_(terminal), quiet_(quiet), started_(now()), last_(started_) {}

Progress::~Progress() {
  finish();
}

void Progress::update(std::int64_t done, std::int64_t failed, const std::string& current) {
  done_ = done;
  failed_ = failed;
  if (quiet_) return;
  const double time = now();
  const double pause = terminal_ ? kBarSeconds : kPlainSeconds;
  if (time - last_ < pause && (drawn_ || !terminal_)) return;
  last_ = time;
  const std::size_t width = terminal_ ? terminal_width() - 1 : 200;
  const std::string line =
      progress_text(done, total_, failed, time - started_, current, width, terminal_);
  if (terminal_) {
    std::fprintf(stderr, "\r\x1b[K%s", line.c_str());
    drawn_ = true;
  } else {
    std::fprintf(stderr, "%s\n", line.c_str());
  }
  std::fflush(stderr);
}

void Progress::finish() {
  if (drawn_) std::fprintf(stderr, "\r\x1b[K");
  drawn_ = false;
  std::fflush(stderr);
}

}  // namespace isobit
