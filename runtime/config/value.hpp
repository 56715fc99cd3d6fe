#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "runtime/config/diagnostics.hpp"

namespace troupe::config {

struct entry;

/// A value as TOML has it, with the place where it stands.
struct value {
  struct date_time {};  ///< known only to be reported: no setting is a date
  using array = std::vector<value>;
  using table = std::vector<entry>;  ///< in the order of the text; keys are unique

  std::variant<table, array, std::string, std::int64_t, double, bool, date_time> content;
  place where;
  std::optional<std::string> raw;  ///< of an override: its text, for settings that are strings

  template <class T>
  const T* as() const noexcept { return std::get_if<T>(&content); }
  template <class T>
  T* as() noexcept { return std::get_if<T>(&content); }
};

struct entry {
  std::string key;
  place where;  ///< of the key
  value content;
};

/// What a message calls the value: "the integer 12", "the string \"ten\"", "a table".
std::string describe(const value& what);

/// `text` as a TOML basic string, quotes included.
std::string quote(std::string_view text);

/// Parses TOML; `source` names it in messages. Throws config_error at the first fault of syntax, and for text larger or
/// more deeply nested than any configuration is.
value parse_toml(std::string_view text, const std::string& source);

/// The same from a file; throws config_error also where it cannot be read.
value load_toml(const std::filesystem::path& path);

/// Puts `key.path=value` into the table `root`, over what stands there. The value is in TOML's syntax; what is not is
/// taken as a string, so that kind=adamw and path=/usr/include need no quotes. Its place is "command line: '...'".
void apply_override(value& root, std::string_view assignment, diagnostics& report);

/// The value at "optimizer.learning_rate", or of a list's first element at "chaos.kill.0"; null where there is none.
const value* find(const value& root, std::string_view path);

/// Where the value at `path` stands; for one that was not given, the innermost table around it that was.
place locate(const value& root, std::string_view path);

}  // namespace troupe::config
