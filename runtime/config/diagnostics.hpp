#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/error.hpp"

namespace troupe::config {

/// Where something stands: "run.toml:14:3", or a source without lines such as "command line: 'optimizer.lr=x'".
struct place {
  std::string source;
  int line = 0;  ///< from 1; 0: the source as a whole
  int column = 0;
};

std::string to_string(const place& where);

enum class severity : std::uint8_t { error, warning };

struct diagnostic {
  severity level = severity::error;
  place where;
  std::string message;  ///< lower case: what was found, what was expected
  std::string help;     ///< what to do; may be empty
};

/// "error: run.toml:14:3: unknown key 'x'", and on a second line "help: ..." where there is help.
std::string to_string(const diagnostic& what);

/// All that is wrong with a configuration. what() reads as the rendered errors without the first "error: ", so that
/// whoever prints "error: " and what() prints them all alike.
class config_error : public input_error {
 public:
  explicit config_error(const std::vector<diagnostic>& found);
};

/// Collects what is found, so that a person hears of all mistakes at once.
class diagnostics {
 public:
  void error(place where, std::string message, std::string help = {});
  void warn(place where, std::string message, std::string help = {});

  const std::vector<diagnostic>& all() const noexcept { return found_; }
  std::vector<diagnostic> warnings() const;
  bool failed() const noexcept;
  /// Throws config_error where there are errors.
  void throw_if_failed() const;

 private:
  std::vector<diagnostic> found_;
};

/// The candidate nearest to `word` by edits (insert, delete, replace, swap of neighbours), if it is near enough to be
/// a slip of the finger; else empty.
std::string nearest(std::string_view word, const std::vector<std::string>& candidates);

/// "a, b or c".
std::string join_choices(const std::vector<std::string>& choices);

}  // namespace troupe::config
