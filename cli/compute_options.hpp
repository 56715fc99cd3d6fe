#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <thread>

#include <CLI/CLI.hpp>

#include "runtime/tensor/device.hpp"

namespace troupe {

/// Where and how a subcommand that runs a model computes: --device, --precision, --threads.
struct compute_options {
  std::string device = "cpu";
  precision_kind precision = precision_kind::automatic;
  int threads = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
};

void add_compute_options(CLI::App& command, compute_options& options);

/// Throws usage_error where there is no such device, or it does not compute in that.
std::unique_ptr<stream> open_stream(const compute_options& options);

}  // namespace troupe
