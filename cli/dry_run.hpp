#pragma once

#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "cli/run_file.hpp"
#include "models/data/dataset.hpp"

namespace troupe {

/// What a run would be: its resolved configuration, parameters, memory and actors, without training.
struct dry_run {
  std::string configuration;  ///< TOML
  std::int64_t parameters = 0;
  std::size_t tensors = 0;
  double flops_per_token = 0.0;
  std::size_t job_bytes = 0;      ///< that the actors will take, on all devices
  std::size_t process_bytes = 0;  ///< that the process takes besides: code, threads, data
  bool on_gpu = false;            ///< which has memory of its own
  std::string device;             ///< that the mathematics would run on
  std::vector<std::pair<std::string, std::size_t>> device_bytes;  ///< of job_bytes, on each of them
  std::string memory;             ///< for people
  std::string actors;             ///< the tree, a name a line
};

dry_run plan_run(const run_file& run, std::shared_ptr<const dataset> data);

/// For people: TOML whose comments hold the rest.
std::string to_string(const dry_run& plan);
nlohmann::json to_json(const dry_run& plan);

}  // namespace troupe
