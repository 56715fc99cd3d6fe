#pragma once

#include <stdexcept>
#include <string>

namespace troupe {

/// What came from outside (a file, a setting, an argument) is not usable. The message names the place, what
/// was found, what was expected and what to do: "run.toml:14:3: unknown key ...".
class input_error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Something outside failed that may work another time: a disk is full, a file cannot be read.
class system_error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace troupe
