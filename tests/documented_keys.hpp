#pragma once

/// Holds JSON that the command prints to what cli/README.md says of it.

#include <filesystem>
#include <map>
#include <set>
#include <sstream>
#include <string>

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include "tests/cli/files.hpp"

namespace troupe {

/// By key as the README writes it: the types of what is there.
using types_by_key = std::map<std::string, std::set<std::string>>;

inline void collect(const nlohmann::json& value, const std::string& key, types_by_key& into) {
  if (value.is_object()) {
    for (const auto& [name, part] : value.items())
      collect(part, key.empty() ? name : key + "." + name, into);
  } else if (value.is_array()) {
    for (const auto& part : value)
      collect(part, key + "[]", into);
  } else {
    into[key].insert(value.is_number_integer() ? "integer" : value.type_name());
  }
}

/// The rows of the table behind `title`: `| `key`, `key` | type | ... |`.
inline types_by_key documented(const std::string& title) {
  std::istringstream text(read_file(std::filesystem::path(TROUPE_SOURCE_DIR) / "cli" / "README.md"));
  types_by_key found;
  bool in_table = false, behind = false;
  for (std::string line; std::getline(text, line);) {
    behind = behind || line.starts_with(title);
    if (!behind || !line.starts_with("| `")) {
      if (in_table)
        break;
      continue;
    }
    in_table = true;
    const auto end_of_keys = line.find(" | ");
    const auto types = line.substr(end_of_keys + 3, line.find(" | ", end_of_keys + 3) - end_of_keys - 3);
    std::set<std::string> allowed;
    for (const auto* each : {"integer", "number", "string", "boolean", "null"})
      if (types.find(each) != std::string::npos)
        allowed.insert(each);
    for (auto begin = line.find('`'); begin < end_of_keys;) {
      const auto end = line.find('`', begin + 1);
      found[line.substr(begin + 1, end - begin - 1)] = allowed;
      begin = line.find('`', end + 1);
    }
  }
  return found;
}

/// Whether `found` has the keys and types of the table behind `title` and no others, `except` some that need not be there.
inline void check_documented(const types_by_key& found, const std::string& title,
                             const std::set<std::string>& except = {}) {
  const auto expected = documented(title);
  REQUIRE(expected.size() > 2);
  for (const auto& [key, types] : found) {
    CAPTURE(key);
    const auto known = expected.find(key);
    REQUIRE_MESSAGE(known != expected.end(), "is not documented");
    for (const auto& type : types)
      CHECK_MESSAGE((known->second.count(type) > 0 || (type == "integer" && known->second.count("number") > 0)), type);
  }
  for (const auto& [key, types] : expected)
    CHECK_MESSAGE((found.count(key) == 1 || except.count(key) == 1), key);
}

}  // namespace troupe
