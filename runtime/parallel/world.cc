// The one world of a process.

#include "runtime/parallel/world.h"

namespace isobit {
namespace {

World* the_world = nullptr;

}  // namespace

World* world() {
  return the_world;
}

void set_world(World* world) {
  the_world = world;
}

}  // namespace isobit
