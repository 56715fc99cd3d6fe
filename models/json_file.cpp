#include "models/json_file.hpp"

#include <algorithm>
#include <limits>
#include <set>
#include <vector>

#include <fmt/format.h>

#include "models/whole_file.hpp"
#include "runtime/checkpoint/mapped_file.hpp"

namespace troupe {

namespace {

using nlohmann::json;

constexpr int depth_max = 16;
constexpr std::size_t shown_max = 60;

}  // namespace

json parse_json_object(std::string_view text, const std::string& source) {
  std::vector<std::set<std::string>> keys;  // by depth
  const auto check = [&](int depth, json::parse_event_t event, json& parsed) {
    if (depth > depth_max)
      throw input_error(fmt::format("{}: values are nested more than {} deep", source, depth_max));
    if (event == json::parse_event_t::object_start) {
      keys.resize(std::max(keys.size(), static_cast<std::size_t>(depth) + 1));
      keys[static_cast<std::size_t>(depth)].clear();
    } else if (event == json::parse_event_t::key) {
      const auto& key = parsed.get_ref<const std::string&>();
      if (!keys[static_cast<std::size_t>(depth) - 1].insert(key).second)
        throw input_error(fmt::format("{}: the key '{}' comes twice", source, key));
    }
    return true;
  };
  try {
    auto value = json::parse(text.begin(), text.end(), check);
    if (!value.is_object())
      throw input_error(fmt::format("{}: found {}, expected an object", source, value.type_name()));
    return value;
  } catch (const json::exception& error) {
    throw input_error(fmt::format("{}: is no JSON: {}", source, error.what()));
  }
}

json read_json_file(const std::filesystem::path& file) {
  return parse_json_object(mapped_file::open(file)->text(), file.string());
}

void write_json_file(const std::filesystem::path& file, const nlohmann::ordered_json& value) {
  write_whole_file(file, value.dump(2) + '\n');
}

const json* json_members::find(const std::string& key) const {
  const auto member = object_.find(key);
  return member == object_.end() || member->is_null() ? nullptr : &*member;
}

input_error json_members::unexpected(const std::string& key, const std::string& expected) const {
  const auto* found = find(key);
  auto shown = found ? found->dump(-1, ' ', true, json::error_handler_t::replace) : "nothing";
  if (shown.size() > shown_max)
    shown = shown.substr(0, shown_max) + "...";
  return input_error(fmt::format("{}: '{}': found {}, expected {}", source_, key, shown, expected));
}

std::optional<std::int64_t> json_members::integer(const std::string& key) const {
  const auto* found = find(key);
  if (!found)
    return std::nullopt;
  constexpr auto max = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  if (!found->is_number_integer() || (found->is_number_unsigned() && found->get<std::uint64_t>() > max))
    throw unexpected(key, "a whole number");
  return found->get<std::int64_t>();
}

std::optional<double> json_members::number(const std::string& key) const {
  const auto* found = find(key);
  if (!found)
    return std::nullopt;
  if (!found->is_number())
    throw unexpected(key, "a number");
  return found->get<double>();
}

std::optional<bool> json_members::flag(const std::string& key) const {
  const auto* found = find(key);
  if (!found)
    return std::nullopt;
  if (!found->is_boolean())
    throw unexpected(key, "true or false");
  return found->get<bool>();
}

std::optional<std::string> json_members::text(const std::string& key) const {
  const auto* found = find(key);
  if (!found)
    return std::nullopt;
  if (!found->is_string())
    throw unexpected(key, "text");
  return found->get<std::string>();
}

const json* json_members::object(const std::string& key) const {
  const auto* found = find(key);
  if (found && !found->is_object())
    throw unexpected(key, "an object");
  return found;
}

std::int64_t json_members::required(const std::string& key, std::int64_t low, std::int64_t high) const {
  const auto value = integer(key);
  if (!value || *value < low || *value > high)
    throw unexpected(key, fmt::format("a whole number from {} to {}", low, high));
  return *value;
}

}  // namespace troupe
