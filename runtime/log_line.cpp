#include "runtime/log_line.hpp"

#include <algorithm>
#include <ctime>
#include <string_view>

#include <fmt/chrono.h>
#include <fmt/format.h>

namespace troupe {

namespace {

const char* name_of(log_level level) {
  switch (level) {
    case log_level::info: return "info";
    case log_level::warn: return "warn";
    case log_level::error: return "error";
  }
  return "unknown";
}

bool is_plain(char c) {
  return static_cast<unsigned char>(c) > ' ' && c != '"' && c != '=' && c != '\\' && c != '\x7f';
}

std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    const auto code = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\')
      out.append({'\\', c});
    else if (c == '\n')
      out += "\\n";
    else if (code < ' ' || c == '\x7f')
      out += fmt::format("\\u{:04x}", code);
    else
      out += c;
  }
  return out + '"';
}

void add(std::string& to, std::string_view key, std::string_view value) {
  const bool plain = std::all_of(value.begin(), value.end(), [](char c) { return is_plain(c); });
  if (!value.empty())
    to += fmt::format(" {}={}", key, plain ? std::string(value) : quoted(value));
}

}  // namespace

std::string format_log(const log_line& line, std::chrono::system_clock::time_point at) {
  auto text = utc_text(at);
  add(text, "level", name_of(line.level));
  if (line.node)
    add(text, "node", std::to_string(*line.node));
  add(text, "actor", line.actor);
  if (!line.actor.empty())
    add(text, "incarnation", std::to_string(line.incarnation));
  add(text, "event", line.event);
  add(text, "msg", line.message);
  return text;
}

std::string utc_text(std::chrono::system_clock::time_point at) {
  const auto milliseconds = std::chrono::duration_cast<std::chrono::milliseconds>(at.time_since_epoch()).count();
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z", fmt::gmtime(static_cast<std::time_t>(milliseconds / 1000)),
                     milliseconds % 1000);
}

}  // namespace troupe
