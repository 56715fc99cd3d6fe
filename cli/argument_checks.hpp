#pragma once

/// Checks of arguments that say their bounds as people write them; CLI11's own print those of the type.

#include <charconv>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

namespace troupe {

namespace argument {  // runtime/config has the same words for values of run files

/// A number for which `holds`; `expected` ends the sentence "found X, expected ...".
template <class Predicate>
CLI::Validator number_check(Predicate holds, std::string expected) {
  return CLI::Validator(
    [holds, expected](std::string& text) -> std::string {
      double found = std::numeric_limits<double>::quiet_NaN();
      if (CLI::detail::lexical_cast(text, found) && std::isfinite(found) && holds(found))
        return {};
      return fmt::format("found {}, expected {}", text, expected);
    },
    "");
}

inline CLI::Validator at_least(double least) {
  return number_check([=](double found) { return found >= least; }, fmt::format("{} or more", least));
}

inline CLI::Validator from_to(double least, double most) {
  return number_check([=](double found) { return found >= least && found <= most; },
                      fmt::format("{} to {}", least, most));
}

inline CLI::Validator above_to(double below, double most) {
  return number_check([=](double found) { return found > below && found <= most; },
                      fmt::format("more than {} and at most {}", below, most));
}

/// A whole number as people write it, in decimal digits; CLI11 itself turns -1 and what is too large into something
/// else.
inline CLI::Validator whole(std::uint64_t least, std::uint64_t most) {
  return CLI::Validator(
    [=](std::string& text) -> std::string {
      std::uint64_t found = 0;
      const auto* behind = text.data() + text.size();
      const auto [end, fault] = std::from_chars(text.data(), behind, found);
      if (fault != std::errc{} || end != behind || found < least || found > most)
        return fmt::format("found {}, expected a whole number, {} to {}", text, least, most);
      text = std::to_string(found);  // without the zeros in front that would make it octal
      return {};
    },
    "");
}

}  // namespace argument

/// Seconds for a node to leave.
inline constexpr double drain_within_default = 25.0;
inline constexpr double drain_within_max = 86'400.0;

/// Of mathematics: as many as a run file may ask for.
inline CLI::Validator threads_check() { return argument::whole(1, 1024); }

/// Batches of an evaluation, and sequences of a batch: likewise.
inline constexpr std::uint64_t evaluation_extent_max = 1 << 20;

}  // namespace troupe
