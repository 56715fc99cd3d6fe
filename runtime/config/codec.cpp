#include "runtime/config/codec.hpp"

#include <array>
#include <charconv>

#include <fmt/format.h>

namespace troupe::config {

namespace {

struct time_unit {
  std::string_view name;
  std::int64_t milliseconds;
};

constexpr std::array<time_unit, 5> time_units{
  {{"ms", 1}, {"s", 1'000}, {"m", 60'000}, {"h", 3'600'000}, {"d", 86'400'000}}};

constexpr std::int64_t duration_days_max = 36'500;

/// In milliseconds; nothing where the text is no duration.
std::optional<double> parse_duration(std::string_view text) {
  double amount = 0.0;
  const auto [end, fault] = std::from_chars(text.data(), text.data() + text.size(), amount);
  if (fault != std::errc{} || !std::isfinite(amount) || amount < 0.0)
    return {};
  const std::string_view unit(end, static_cast<std::size_t>(text.data() + text.size() - end));
  for (const auto& known : time_units)
    if (known.name == unit)
      return amount * static_cast<double>(known.milliseconds);
  if (unit.empty() && amount == 0.0)
    return 0.0;
  return {};
}

}  // namespace

bool range::contains(double number) const noexcept {
  return (minimum_excluded ? number > minimum : number >= minimum) &&
         (maximum_excluded ? number < maximum : number <= maximum);
}

std::string range::text() const {
  const bool bounded_below = std::isfinite(minimum);
  const bool bounded_above = std::isfinite(maximum);
  if (bounded_below && bounded_above)
    return fmt::format("{} {} to {}{}", minimum_excluded ? "above" : "from", minimum, maximum_excluded ? "below " : "",
                       maximum);
  if (bounded_below)
    return fmt::format("{} {}", minimum_excluded ? "above" : "at least", minimum);
  if (bounded_above)
    return fmt::format("{} {}", maximum_excluded ? "below" : "at most", maximum);
  return {};
}

void reading::reject(const value& found, const std::string& expected, std::string help) const {
  report.error(found.where, fmt::format("'{}' must be {}, found {}", key, expected, describe(found)), std::move(help));
}

bool read_boolean(const value& from, const reading& how, bool& out) {
  const auto* found = from.as<bool>();
  if (!found) {
    how.reject(from, "true or false");
    return false;
  }
  out = *found;
  return true;
}

bool read_string(const value& from, const reading& how, std::string& out) {
  if (const auto* found = from.as<std::string>())
    out = *found;
  else if (from.raw)
    out = *from.raw;
  else {
    how.reject(from, "a string");
    return false;
  }
  return true;
}

bool read_integer(const value& from, const reading& how, std::int64_t least, std::int64_t most, std::int64_t& out) {
  const auto* found = from.as<std::int64_t>();
  if (!found) {
    const auto* real = from.as<double>();
    const bool whole = real && std::trunc(*real) == *real && std::abs(*real) < 1e15;
    how.reject(from, "an integer", whole ? fmt::format("write {}", static_cast<std::int64_t>(*real)) : std::string{});
    return false;
  }
  if (!how.limits.contains(static_cast<double>(*found)))
    how.reject(from, how.limits.text());
  else if (*found < least)
    how.reject(from, fmt::format("at least {}", least));
  else if (*found > most)
    how.reject(from, fmt::format("at most {}", most));
  else {
    out = *found;
    return true;
  }
  return false;
}

bool read_number(const value& from, const reading& how, double& out) {
  double number = 0.0;
  if (const auto* real = from.as<double>())
    number = *real;
  else if (const auto* integer = from.as<std::int64_t>())
    number = static_cast<double>(*integer);
  else {
    how.reject(from, "a number");
    return false;
  }
  if (!std::isfinite(number)) {
    how.reject(from, "a finite number");
    return false;
  }
  if (!how.limits.contains(number)) {
    how.reject(from, how.limits.text());
    return false;
  }
  out = number;
  return true;
}

bool read_duration(const value& from, const reading& how, std::int64_t unit_milliseconds, std::int64_t& out) {
  constexpr auto expected = "a duration such as \"500ms\", \"30s\", \"5m\", \"2h\" or \"7d\"";
  const auto* integer = from.as<std::int64_t>();
  const auto* text = from.as<std::string>();
  const auto found = integer && *integer == 0 ? std::optional(0.0) : text ? parse_duration(*text) : std::nullopt;
  if (!found) {
    how.reject(from, expected);
    return false;
  }
  const double count = *found / static_cast<double>(unit_milliseconds);
  if (*found > static_cast<double>(duration_days_max) * 86'400'000.0) {
    how.reject(from, fmt::format("at most {} days", duration_days_max));
    return false;
  }
  if (std::trunc(count) != count) {
    how.reject(from, fmt::format("a multiple of {}", write_duration(unit_milliseconds)));
    return false;
  }
  out = static_cast<std::int64_t>(count);
  return true;
}

bool read_choice(const value& from, const reading& how, const std::vector<std::string>& choices, std::size_t& out) {
  std::vector<std::string> quoted;
  for (const auto& choice : choices)
    quoted.push_back(quote(choice));
  const auto* found = from.as<std::string>();
  const auto known = found ? std::find(choices.begin(), choices.end(), *found) : choices.end();
  if (known == choices.end()) {
    const auto similar = found ? nearest(*found, choices) : std::string{};
    how.reject(from, join_choices(quoted), similar.empty() ? "" : fmt::format("a similar one is {}", quote(similar)));
    return false;
  }
  out = static_cast<std::size_t>(known - choices.begin());
  return true;
}

std::string write_number(double number) {
  auto text = fmt::format("{}", number);
  if (text.find_first_of(".en") == text.npos)
    text += ".0";
  return text;
}

std::string write_duration(std::int64_t milliseconds) {
  auto unit = time_units.front();
  for (const auto& larger : time_units)
    if (milliseconds % larger.milliseconds == 0 && milliseconds != 0)
      unit = larger;
  if (milliseconds == 0)
    return "\"0s\"";
  return fmt::format("\"{}{}\"", milliseconds / unit.milliseconds, unit.name);
}

}  // namespace troupe::config
