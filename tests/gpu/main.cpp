/// Runs the tests on cuda:0, of whatever library of CUDA devices is found. Where there is no device it says so and
/// returns what ctest takes for "skipped".

#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <cstdio>

#include "runtime/tensor/device_module.hpp"

int main(int argc, char** argv) {
  constexpr int skipped = 77;
  try {
    troupe::find_device("cuda");
    const auto facts = troupe::cuda_module().facts(0);
    std::printf("testing on cuda:0: %s, %s\n", facts.name.c_str(), facts.architecture.c_str());
  } catch (const troupe::device_error& fault) {
    std::printf("skipped: no test ran on a GPU: %s\n", fault.what());
    return skipped;
  }
  return doctest::Context(argc, argv).run();
}
