#include "cli/memory_check.hpp"

#include <doctest/doctest.h>

using namespace troupe;

TEST_CASE("a job that is larger than the machine is told what is too large") {
  job_memory memory;
  memory.parameters_bytes = 4'000'000'000;
  memory.activations_bytes = 1'000'000'000;
  CHECK_FALSE(memory_shortage(memory, 5'000'000'000));
  CHECK_FALSE(memory_shortage(memory, 0));  // not known
  CHECK(memory_shortage(memory, 3'000'000'000) ==
        "this run needs 5.00 GB of memory, predicted, and this machine has 3.00 GB: 2.00 GB too little\n"
        "help: parameters, gradients and their copies take 4.00 GB: choose a smaller model");
  memory.activations_bytes = 20'000'000'000;
  CHECK(memory_shortage(memory, 3'000'000'000)->ends_with(
    "help: activations take 20.0 GB: lower training.batch, evaluation.batch or model.context, or set "
    "training.recompute=all"));
}
