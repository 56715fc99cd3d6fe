#pragma once

/// One C++ type to and from TOML. A type is usable as a setting once `codec<T>` is specialised for it, or
/// `enum_names<E>` for an enumeration.

#include <algorithm>
#include <chrono>
#include <cmath>
#include <concepts>
#include <limits>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "runtime/config/value.hpp"

namespace troupe::config {

/// Which numbers are allowed.
struct range {
  double minimum = -std::numeric_limits<double>::infinity();
  double maximum = std::numeric_limits<double>::infinity();
  bool minimum_excluded = false;
  bool maximum_excluded = false;

  /// False for what is not a number.
  bool contains(double number) const noexcept;
  /// "at least 1", "above 0", "from 0 to 1", "from 0 to below 1"; empty where every number is allowed.
  std::string text() const;
};

inline range at_least(double minimum) { return {.minimum = minimum}; }
inline range above(double minimum) { return {.minimum = minimum, .minimum_excluded = true}; }
inline range from_to(double minimum, double maximum) { return {.minimum = minimum, .maximum = maximum}; }
inline range from_to_below(double minimum, double maximum) {
  return {.minimum = minimum, .maximum = maximum, .maximum_excluded = true};
}

/// What a codec reads for: where to report, under which name, within which limits.
struct reading {
  diagnostics& report;
  std::string key;  ///< dotted path, such as "optimizer.learning_rate"
  range limits;

  /// "'key' must be EXPECTED, found FOUND".
  void reject(const value& found, const std::string& expected, std::string help = {}) const;
};

/// Specialised: read() reports what does not fit and leaves `out` alone then; write() gives TOML that read() takes;
/// choices() lists the words of an enumeration.
template <class T>
struct codec;

// -- scalars of TOML ---------------------------------------------------------------

bool read_boolean(const value& from, const reading& how, bool& out);
bool read_string(const value& from, const reading& how, std::string& out);
/// `least` and `most` are the type's own limits.
bool read_integer(const value& from, const reading& how, std::int64_t least, std::int64_t most, std::int64_t& out);
bool read_number(const value& from, const reading& how, double& out);
/// A number and a unit, "500ms", "30s", "5m", "2h" or "7d", in multiples of `unit` milliseconds; 0 needs no unit.
bool read_duration(const value& from, const reading& how, std::int64_t unit_milliseconds, std::int64_t& out);
bool read_choice(const value& from, const reading& how, const std::vector<std::string>& choices, std::size_t& out);

std::string write_number(double number);
std::string write_duration(std::int64_t milliseconds);

template <>
struct codec<bool> {
  static void read(const value& from, const reading& how, bool& out) { read_boolean(from, how, out); }
  static std::string write(bool what) { return what ? "true" : "false"; }
};

template <>
struct codec<std::string> {
  static void read(const value& from, const reading& how, std::string& out) { read_string(from, how, out); }
  static std::string write(const std::string& what) { return quote(what); }
};

template <std::floating_point T>
struct codec<T> {
  static void read(const value& from, const reading& how, T& out) {
    if (double number = 0.0; read_number(from, how, number))
      out = static_cast<T>(number);
  }
  static std::string write(T what) { return write_number(what); }
};

template <std::integral T>
struct codec<T> {
  static void read(const value& from, const reading& how, T& out) {
    using limits = std::numeric_limits<T>;
    // TOML's integers are signed and have 64 bits.
    constexpr auto most = static_cast<std::int64_t>(
      std::min<std::uint64_t>(limits::max(), std::numeric_limits<std::int64_t>::max()));
    if (std::int64_t number = 0; read_integer(from, how, static_cast<std::int64_t>(limits::min()), most, number))
      out = static_cast<T>(number);
  }
  static std::string write(T what) { return std::to_string(what); }
};

template <class Rep, class Period>
struct codec<std::chrono::duration<Rep, Period>> {
  using duration = std::chrono::duration<Rep, Period>;
  static constexpr auto unit = std::chrono::duration_cast<std::chrono::milliseconds>(duration(1));
  static_assert(unit.count() > 0);

  static void read(const value& from, const reading& how, duration& out) {
    if (std::int64_t count = 0; read_duration(from, how, unit.count(), count))
      out = duration(count);
  }
  static std::string write(duration what) {
    return write_duration(std::chrono::duration_cast<std::chrono::milliseconds>(what).count());
  }
};

// -- enumerations ------------------------------------------------------------------

/// Specialised for an enumeration: `static constexpr std::pair<E, std::string_view> all[]`.
template <class E>
struct enum_names;

template <class E>
std::string_view enum_name(E which) {
  for (const auto& [known, name] : enum_names<E>::all)
    if (known == which)
      return name;
  return "?";
}

template <class T>
std::vector<std::string> choices_of() {
  std::vector<std::string> result;
  if constexpr (std::is_enum_v<T>)
    for (const auto& one : enum_names<T>::all)
      result.emplace_back(one.second);
  return result;
}

template <class E>
  requires std::is_enum_v<E>
struct codec<E> {
  static void read(const value& from, const reading& how, E& out) {
    if (std::size_t index = 0; read_choice(from, how, choices_of<E>(), index))
      out = enum_names<E>::all[index].first;
  }
  static std::string write(E what) { return quote(enum_name(what)); }
};

// -- lists -------------------------------------------------------------------------

template <class T>
struct codec<std::vector<T>> {
  static void read(const value& from, const reading& how, std::vector<T>& out) {
    const auto* elements = from.as<value::array>();
    if (!elements) {
      how.reject(from, "a list");
      return;
    }
    std::vector<T> result(elements->size());
    for (std::size_t i = 0; i < result.size(); ++i)
      codec<T>::read((*elements)[i], {how.report, how.key + "[" + std::to_string(i) + "]", how.limits}, result[i]);
    out = std::move(result);
  }
  static std::string write(const std::vector<T>& what) {
    std::string text;
    for (const auto& element : what)
      text += (text.empty() ? "" : ", ") + codec<T>::write(element);
    return "[" + text + "]";
  }
};

}  // namespace troupe::config
