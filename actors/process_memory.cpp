#include "actors/process_memory.hpp"

#include <malloc.h>

#include <algorithm>
#include <fstream>
#include <string>

#include "actors/job.hpp"
#include "actors/job_memory.hpp"
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

/// Of a larger job nobody misses the rest, and a dry run should need little itself.
constexpr std::size_t sample_bytes_max = std::size_t{512} << 20;

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
  if (predict_memory(*inputs.model, settings, shape.context).total_bytes() > sample_bytes_max) {
    transformer_settings smallest;
    smallest.layers = smallest.heads = 1;
    smallest.context = smallest.channels = smallest.vocabulary = 8;
    shape = smallest;
    settings.training.batch = std::int64_t{settings.training.lanes} * settings.training.accumulation;
    settings.evaluation.batch = 1;
    inputs.model = std::make_shared<const model>(make_transformer(shape));
  }
  const auto tokens = static_cast<std::size_t>(32 * shape.context);  // enough for a validation split
  inputs.data = make_token_dataset(std::vector<std::int32_t>(tokens, 1), shape.vocabulary);
  inputs.context = shape.context;
  cpu_device().trim();  // an earlier job's tensors are none of this one's
  malloc_trim(0);  // what reading the data left on the heap, the run to come may not have
  forget_peak();
  const auto before = peak_resident_bytes();
  run_job(inputs, settings);
  const auto tensors = cpu_device().memory().reserved_bytes;  // some of it never touched
  return std::max(peak_resident_bytes(), before + tensors) - tensors;
}

}  // namespace troupe
