#include "actors/process_memory.hpp"

#include <malloc.h>

#include <algorithm>
#include <fstream>
#include <string>

#include "actors/job.hpp"
#include "runtime/tensor/device.hpp"

namespace troupe {

namespace {

/// The most that was resident since the last call of forget_peak().
std::size_t peak_resident_bytes() {
  std::ifstream status("/proc/self/status");
  std::size_t kilobytes = 0;
  for (std::string word; status >> word;)
    if (word == "VmHWM:")
      status >> kilobytes;
  return kilobytes * 1024;
}

void forget_peak() { std::ofstream("/proc/self/clear_refs") << 5; }

}  // namespace

std::size_t measure_process_bytes(transformer_settings shape, job_settings settings) {
  shape.layers = 1;
  shape.vocabulary = std::min<std::int64_t>(shape.vocabulary, 1024);
  settings.training.steps = 2;
  settings.training.recompute = "none";
  settings.runtime.shards = std::min<std::uint32_t>(settings.runtime.shards, 4);
  settings.evaluation.every = 0;
  settings.evaluation.batches = std::min<std::uint64_t>(settings.evaluation.batches, 1);
  settings.chaos = {};
  job_inputs inputs;
  inputs.model = std::make_shared<const model>(make_transformer(shape));
  const auto tokens = static_cast<std::size_t>(32 * shape.context);  // enough for a validation split
  inputs.data = make_token_dataset(std::vector<std::int32_t>(tokens, 1), shape.vocabulary);
  inputs.context = shape.context;
  malloc_trim(0);  // what reading the data left on the heap, the run to come may not have
  forget_peak();
  run_job(inputs, settings);
  return peak_resident_bytes() - cpu_device().memory().reserved_bytes;
}

}  // namespace troupe
