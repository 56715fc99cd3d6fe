#include "runtime/config/diagnostics.hpp"

#include <algorithm>
#include <iterator>
#include <numeric>

#include <fmt/format.h>

namespace troupe::config {

namespace {

std::string render_errors(const std::vector<diagnostic>& found) {
  std::string text;
  for (const auto& one : found)
    if (one.level == severity::error)
      text += (text.empty() ? "" : "\n") + to_string(one);
  constexpr std::string_view prefix = "error: ";
  return text.starts_with(prefix) ? text.substr(prefix.size()) : text;
}

/// Optimal string alignment distance (Damerau 1964, restricted to swaps of neighbours).
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> before(b.size() + 1), above(b.size() + 1), row(b.size() + 1);
  std::iota(above.begin(), above.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min({above[j] + 1, row[j - 1] + 1, above[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        row[j] = std::min(row[j], before[j - 2] + 1);
    }
    before.swap(above);
    above.swap(row);
  }
  return above[b.size()];
}

}  // namespace

std::string to_string(const place& where) {
  if (where.line == 0)
    return where.source;
  return fmt::format("{}:{}:{}", where.source, where.line, where.column);
}

std::string to_string(const diagnostic& what) {
  auto text = fmt::format("{}: {}: {}", what.level == severity::error ? "error" : "warning", to_string(what.where),
                          what.message);
  if (!what.help.empty())
    text += "\nhelp: " + what.help;
  return text;
}

config_error::config_error(const std::vector<diagnostic>& found) : input_error(render_errors(found)) {
  // nop
}

void diagnostics::error(place where, std::string message, std::string help) {
  found_.push_back({severity::error, std::move(where), std::move(message), std::move(help)});
}

void diagnostics::warn(place where, std::string message, std::string help) {
  found_.push_back({severity::warning, std::move(where), std::move(message), std::move(help)});
}

std::vector<diagnostic> diagnostics::warnings() const {
  std::vector<diagnostic> result;
  std::copy_if(found_.begin(), found_.end(), std::back_inserter(result),
               [](const diagnostic& one) { return one.level == severity::warning; });
  return result;
}

bool diagnostics::failed() const noexcept {
  return std::any_of(found_.begin(), found_.end(),
                     [](const diagnostic& one) { return one.level == severity::error; });
}

void diagnostics::throw_if_failed() const {
  if (failed())
    throw config_error(found_);
}

std::string nearest(std::string_view word, const std::vector<std::string>& candidates) {
  constexpr std::size_t word_bytes_max = 64;  // longer words are not slips of any key
  if (word.size() > word_bytes_max)
    return {};
  std::string best;
  std::size_t best_distance = std::max<std::size_t>(word.size() / 3, 1) + 1;
  for (const auto& candidate : candidates) {
    const auto distance = edit_distance(word, candidate);
    if (distance < best_distance) {
      best = candidate;
      best_distance = distance;
    }
  }
  return best;
}

std::string join_choices(const std::vector<std::string>& choices) {
  std::string text;
  for (std::size_t i = 0; i < choices.size(); ++i)
    text += (i == 0 ? "" : i + 1 == choices.size() ? " or " : ", ") + choices[i];
  return text;
}

}  // namespace troupe::config
