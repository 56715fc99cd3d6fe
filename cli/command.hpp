#pragma once

#include <functional>
#include <stdexcept>

#include <CLI/CLI.hpp>

namespace troupe {

/// How the command ends; cli/README.md lists them for people.
enum class exit_code : int {
  done = 0,
  fault = 1,          ///< of the program itself
  usage = 2,          ///< or configuration
  bad_input = 3,      ///< data or checkpoint
  job_failed = 4,     ///< supervision gave up
  system = 5,         ///< disk, memory, permissions
  interrupted = 6,    ///< a cut was saved
  diverged = 7,       ///< a loss or gradient was not finite
  aborted = 130,      ///< by a second signal
};

/// A wrong use of the command that shows only after its line was read.
class usage_error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// What the chosen subcommand does; runs after the whole command line was read.
using action = std::function<exit_code()>;

// Each adds one subcommand to `app`, whose use sets `chosen`.
void add_train(CLI::App& app, action& chosen);
void add_node(CLI::App& app, action& chosen);
void add_status(CLI::App& app, action& chosen);
void add_drain(CLI::App& app, action& chosen);
void add_certs(CLI::App& app, action& chosen);
void add_generate(CLI::App& app, action& chosen);
void add_eval(CLI::App& app, action& chosen);
void add_inspect(CLI::App& app, action& chosen);
void add_export(CLI::App& app, action& chosen);
void add_import(CLI::App& app, action& chosen);
void add_devices(CLI::App& app, action& chosen);
void add_config(CLI::App& app, action& chosen);

}  // namespace troupe
