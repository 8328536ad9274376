// Run by mpirun: processes as ranks bring every block to its place, and one that fails wakes all
// others and leaves them in step. Prints the first fault; exit code 1 when there is one.
#include "runtime/parallel/mpi_world.h"

#include <cstdio>
#include <cstring>

#include "runtime/parallel/world.h"

namespace {

using namespace isobit;

int faults = 0;

void expect(bool good, const char* what) {
  if (good) return;
  ++faults;
  std::fprintf(stderr, "rank %d: %s\n", world()->rank(), what);
}

std::string block(int rank, int round, std::size_t size) {
  return std::string(size, char('a' + (rank * 3 + round) % 26));
}

void gather(Communicator& comm, int rounds, std::size_t scale) {
  for (int round = 0; round < rounds; ++round) {
    std::vector<std::size_t> sizes;
    std::string want;
    for (int r = 0; r < comm.size(); ++r) {
      sizes.push_back(round == 3 ? 0 : std::size_t((r * 5 + round * 3) % 7) * scale);
      want += block(r, round, sizes.back());
    }
    const std::string mine = block(comm.rank(), round, sizes[std::size_t(comm.rank())]);
    std::string all(want.size(), '?');
    comm.all_gather(mine.data(), all.data(), sizes);
    expect(all == want, "a block did not arrive");
  }
}

/// One cell in which `failing` fails before round `at`; everybody else must hear of it.
void fail(int failing, int at) {
  const auto comm = world()->communicator(false);
  try {
    gather(*comm, at, 9);
    if (comm->rank() == failing) return comm->abort();
    gather(*comm, 1, 9);
    comm->finish();
    expect(false, "did not hear that another rank failed");
  } catch (const RankFailure&) {
  }
}

void meet(int failing) {
  const auto door = world()->rendezvous();
  const int me = world()->rank();
  try {
    for (int i = 0; i < 5; ++i) door->arrive(me), door->depart(me);
    if (me == failing) return door->fail(me);
    door->arrive(me);
    expect(false, "met a rank that had failed");
  } catch (const RankFailure&) {
  }
}

}  // namespace

int main(int argc, char** argv) {
  start_mpi(&argc, &argv);
  if (world() == nullptr) {
    std::fprintf(stderr, "needs mpirun with two processes or more\n");
    return 1;
  }
  const int me = world()->rank(), n = world()->size();
  for (int i = 0; i < 20; ++i) {
    const auto texts = world()->exchange(std::string(std::size_t(me * i), char('0' + me)));
    expect(int(texts.size()) == n, "texts are missing");
    for (int r = 0; r < n; ++r) {
      expect(texts[std::size_t(r)] == std::string(std::size_t(r * i), char('0' + r)), "wrong text");
    }
  }
  for (const std::size_t scale : {9u, 100000u}) {  // eager messages, and ones with a hand-shake
    const auto comm = world()->communicator(false);
    gather(*comm, 30, scale);
    comm->finish();
    expect(comm->traffic().collectives == 30 && comm->traffic().bytes_sent > 0, "no traffic");
    expect(comm->transport().rfind("mpi, ", 0) == 0 && !comm->is_virtual(), "wrong transport");
  }
  for (const int failing : {0, 1, n - 1}) {
    for (const int at : {0, 1, 4}) fail(failing, at);
    meet(failing);
  }
  const auto comm = world()->communicator(false);  // after all that they are still in step
  gather(*comm, 10, 9);
  comm->finish();
  const auto all = world()->exchange(std::to_string(faults));
  end_mpi();
  for (const std::string& text : all) faults += text == "0" ? 0 : 1;
  return faults == 0 ? 0 : 1;
}
