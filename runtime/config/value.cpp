#include "runtime/config/value.hpp"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <fstream>
#include <iterator>

#include <fmt/format.h>
#include <toml++/toml.h>

namespace troupe::config {

namespace {

// toml++ recurses over nested tables when it frees them and has no bound on dotted keys. Its own bound of 256 nested
// values times this many dots keeps that well within a thread's stack.
constexpr std::size_t dots_per_line_max = 32;
constexpr std::size_t text_bytes_max = 1 << 20;
constexpr std::size_t override_keys_max = 8;

[[noreturn]] void fail(place where, std::string message, std::string help = {}) {
  throw config_error({{severity::error, std::move(where), std::move(message), std::move(help)}});
}

void check_bounds(std::string_view text, const std::string& source) {
  if (text.size() > text_bytes_max)
    fail({source}, fmt::format("the text has {} bytes; at most {} are read", text.size(), text_bytes_max));
  std::size_t dots = 0;
  int line = 1;
  for (const char c : text) {
    if (c == '\n') {
      dots = 0;
      ++line;
    } else if (c == '.' && ++dots > dots_per_line_max) {
      fail({source, line, 1}, fmt::format("more than {} dots in one line", dots_per_line_max),
           "spread long lists over several lines");
    }
  }
}

place to_place(const toml::source_region& region, const std::string& source) {
  return {source, static_cast<int>(region.begin.line), static_cast<int>(region.begin.column)};
}

value convert(const toml::node& node, const std::string& source) {
  value result;
  result.where = to_place(node.source(), source);
  if (const auto* table = node.as_table()) {
    value::table entries;
    for (const auto& [key, content] : *table)
      entries.push_back({std::string(key.str()), to_place(key.source(), source), convert(content, source)});
    std::stable_sort(entries.begin(), entries.end(), [](const entry& a, const entry& b) {
      return std::pair(a.where.line, a.where.column) < std::pair(b.where.line, b.where.column);
    });
    result.content = std::move(entries);
  } else if (const auto* array = node.as_array()) {
    value::array elements;
    for (const auto& element : *array)
      elements.push_back(convert(element, source));
    result.content = std::move(elements);
  } else if (const auto* text = node.as_string()) {
    result.content = text->get();
  } else if (const auto* integer = node.as_integer()) {
    result.content = integer->get();
  } else if (const auto* real = node.as_floating_point()) {
    result.content = real->get();
  } else if (const auto* boolean = node.as_boolean()) {
    result.content = boolean->get();
  } else {
    result.content = value::date_time{};
  }
  return result;
}

entry* find_entry(value::table& entries, std::string_view key) {
  const auto found = std::find_if(entries.begin(), entries.end(), [&](const entry& one) { return one.key == key; });
  return found == entries.end() ? nullptr : &*found;
}

/// Tables merge, anything else replaces.
void merge(value& into, value&& from) {
  auto* old_entries = into.as<value::table>();
  auto* new_entries = from.as<value::table>();
  if (!old_entries || !new_entries) {
    into = std::move(from);
    return;
  }
  for (auto& one : *new_entries) {
    if (auto* known = find_entry(*old_entries, one.key)) {
      known->where = one.where;
      merge(known->content, std::move(one.content));
    } else {
      old_entries->push_back(std::move(one));
    }
  }
}

void set_source(value& what, const place& where) {
  what.where = where;
  if (auto* entries = what.as<value::table>()) {
    for (auto& one : *entries) {
      one.where = where;
      set_source(one.content, where);
    }
  } else if (auto* elements = what.as<value::array>()) {
    for (auto& element : *elements)
      set_source(element, where);
  }
}

value parse_override_value(std::string_view text, const place& where) {
  value result;
  result.content = std::string(text);
  if (text.find('\n') == text.npos) {
    try {
      result = std::move(parse_toml(fmt::format("value = {}", text), where.source).as<value::table>()->front().content);
    } catch (const config_error&) {
      // Not TOML: it stays the string it is.
    }
  }
  set_source(result, where);
  result.raw = std::string(text);
  return result;
}

std::vector<std::string> split_path(std::string_view path) {
  std::vector<std::string> keys(1);
  for (const char c : path) {
    if (c == '.')
      keys.emplace_back();
    else
      keys.back() += c;
  }
  return keys;
}

bool is_bare_key(std::string_view key) {
  return !key.empty() && std::all_of(key.begin(), key.end(), [](unsigned char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
  });
}

}  // namespace

std::string quote(std::string_view text) {
  std::string result = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\')
      result += {'\\', c};
    else if (c == '\n')
      result += "\\n";
    else if (c == '\t')
      result += "\\t";
    else if (byte < 0x20 || byte == 0x7f)
      result += fmt::format("\\u{:04X}", byte);
    else
      result += c;
  }
  return result + '"';
}

std::string describe(const value& what) {
  constexpr std::size_t shown_bytes_max = 60;
  if (const auto* text = what.as<std::string>())
    return "the string " + quote(text->size() > shown_bytes_max ? text->substr(0, shown_bytes_max) + "..." : *text);
  if (const auto* integer = what.as<std::int64_t>())
    return fmt::format("the integer {}", *integer);
  if (const auto* real = what.as<double>())
    return fmt::format("the number {}", *real);
  if (const auto* boolean = what.as<bool>())
    return *boolean ? "true" : "false";
  if (what.as<value::array>())
    return "a list";
  return what.as<value::table>() ? "a table" : "a date";
}

value parse_toml(std::string_view text, const std::string& source) {
  check_bounds(text, source);
  try {
    return convert(toml::parse(text), source);
  } catch (const toml::parse_error& fault) {
    std::string reason(fault.description());
    constexpr std::string_view prefix = "Error while parsing ";
    if (reason.starts_with(prefix))
      reason.erase(0, prefix.size());
    fail(to_place(fault.source(), source), "this is not TOML: " + reason);
  }
}

value load_toml(const std::filesystem::path& path) {
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored))
    fail({path.string()}, "this is a folder, not a file");
  std::ifstream file(path, std::ios::binary);
  if (!file)
    fail({path.string()}, fmt::format("cannot read this file: {}", std::strerror(errno)));
  std::string text(text_bytes_max + 1, '\0');  // one more than is allowed shows that there is more
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(file.gcount()));
  return parse_toml(text, path.string());
}

void apply_override(value& root, std::string_view assignment, diagnostics& report) {
  const place where{fmt::format("command line: '{}'", assignment)};
  const auto equals = assignment.find('=');
  const auto keys = split_path(assignment.substr(0, equals));
  if (equals == assignment.npos || keys.size() > override_keys_max ||
      !std::all_of(keys.begin(), keys.end(), is_bare_key)) {
    report.error(where, "this is not an assignment", "write section.key=value, such as training.steps=100");
    return;
  }
  auto content = parse_override_value(assignment.substr(equals + 1), where);
  for (auto key = keys.rbegin(); key != keys.rend(); ++key) {
    value around;
    around.where = where;
    around.content = value::table{{*key, where, std::move(content)}};
    content = std::move(around);
  }
  merge(root, std::move(content));
}

namespace {

/// The part of `at` that `key` names; null where there is none.
const value* step_into(const value& at, const std::string& key) {
  if (const auto* entries = at.as<value::table>()) {
    for (const auto& one : *entries)
      if (one.key == key)
        return &one.content;
  } else if (const auto* elements = at.as<value::array>()) {
    std::size_t index = 0;
    const auto [end, fault] = std::from_chars(key.data(), key.data() + key.size(), index);
    if (fault == std::errc{} && end == key.data() + key.size() && index < elements->size())
      return &(*elements)[index];
  }
  return nullptr;
}

/// Follows `path` as far as it goes.
std::pair<const value*, bool> follow(const value& root, std::string_view path) {
  const value* at = &root;
  for (const auto& key : split_path(path)) {
    const auto* next = step_into(*at, key);
    if (!next)
      return {at, false};
    at = next;
  }
  return {at, true};
}

}  // namespace

const value* find(const value& root, std::string_view path) {
  const auto [at, complete] = follow(root, path);
  return complete ? at : nullptr;
}

place locate(const value& root, std::string_view path) {
  const auto [at, complete] = follow(root, path);
  if (!complete && at == &root)
    return {root.where.source};  // the text as a whole, not its first character
  return at->where;
}

}  // namespace troupe::config
