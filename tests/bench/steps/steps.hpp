#pragma once

/// What benchmarks of whole training steps share: the step as a job of actors, the same step in a bare loop, and
/// measurements that are processes of their own.

#include <cstdint>
#include <string>
#include <vector>

#include "actors/job.hpp"
#include "models/transformer.hpp"

namespace troupe::bench {

/// A model's step, and where it is computed.
struct step_program {
  transformer_settings model;
  std::int64_t batch = 1;
  std::uint32_t lanes = 1;
  int threads = 1;
  std::string device = "cpu";
  precision_kind precision = precision_kind::automatic;
  bool cuda_graphs = false;
};

job_inputs inputs_of(const step_program& of);
job_settings settings_of(const step_program& of);

/// Seconds of the median step, over as many as fit in `budget` seconds and some to warm up.
double time_actors(const step_program& of, double budget);
/// The same mathematics without an actor or a message: lanes and shards are threads that meet at barriers.
double time_bare_loop(const step_program& of, double budget);

/// What a shell command prints on stdout.
std::string output_of(const std::string& command);

/// A python3 that imports torch; empty where there is none.
std::string find_python();

}  // namespace troupe::bench
