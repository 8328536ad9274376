// MPI's start and end, for the program that is linked with it (isobit-mpi); no MPI header.
//
// Promise: start_mpi() makes world() when mpirun started more than one process, else leaves it
// null. Callers: main.cc.
#pragma once

namespace isobit {

void start_mpi(int* argc, char*** argv);
/// Every process calls it, when all have nothing more to say to each other.
void end_mpi();

}  // namespace isobit
