#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include "runtime/error.hpp"

namespace troupe {

/// Parses an object from outside. Throws input_error naming `source` and the byte for what is no JSON, for a key that
/// comes twice, and for nesting no file of this kind has.
nlohmann::json parse_json_object(std::string_view text, const std::string& source);

/// The same from a file.
nlohmann::json read_json_file(const std::filesystem::path& file);

/// Writes indented JSON. Throws system_error.
void write_json_file(const std::filesystem::path& file, const nlohmann::ordered_json& value);

/// Typed access to the members of an object. An absent or null member has no value; one of another type is an
/// input_error: "config.json: 'n_head': found "many", expected a whole number".
class json_members {
 public:
  /// Both must outlive this.
  json_members(const nlohmann::json& object, const std::string& source) : object_(object), source_(source) {}

  std::optional<std::int64_t> integer(const std::string& key) const;
  std::optional<double> number(const std::string& key) const;
  std::optional<bool> flag(const std::string& key) const;
  std::optional<std::string> text(const std::string& key) const;
  /// An object; null where there is none.
  const nlohmann::json* object(const std::string& key) const;

  /// A whole number between `low` and `high` that must be there.
  std::int64_t required(const std::string& key, std::int64_t low, std::int64_t high) const;

  /// "SOURCE: 'KEY': found VALUE, expected EXPECTED".
  input_error unexpected(const std::string& key, const std::string& expected) const;

 private:
  const nlohmann::json* find(const std::string& key) const;

  const nlohmann::json& object_;
  const std::string& source_;
};

}  // namespace troupe
