#include "actors/chaos.hpp"

#include <charconv>

#include <fmt/format.h>

#include "runtime/error.hpp"
#include "runtime/tensor/random.hpp"

namespace troupe {

chaos_plan::chaos_plan(chaos_settings settings, std::vector<std::string> actors)
    : settings_(std::move(settings)),
      actors_(settings_.actors.empty() ? std::move(actors) : settings_.actors),
      fired_(settings_.kills.size(), false) {}

std::vector<std::string> chaos_plan::due(std::uint64_t steps_done) {
  std::vector<std::string> names;
  for (std::size_t i = 0; i < settings_.kills.size(); ++i) {
    if (!fired_[i] && settings_.kills[i].step <= steps_done) {
      fired_[i] = true;
      names.push_back(settings_.kills[i].actor);
    }
  }
  if (settings_.probability > 0.0 && random_kills_ < settings_.kills_max && !actors_.empty()) {
    const auto draw = random_key{settings_.seed, 0x6b696c6c}.fold(draws_++);
    if (static_cast<double>(draw.high >> 11) * 0x1p-53 < settings_.probability) {
      ++random_kills_;
      names.push_back(actors_[draw.low % actors_.size()]);
    }
  }
  return names;
}

namespace {

template <class T>
T read_number(std::string_view text, const std::string& specification) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size())
    throw input_error(fmt::format("--chaos '{}': '{}' is not a number; write actor@step,... or random:PROBABILITY[:SEED]",
                                  specification, text));
  return value;
}

}  // namespace

chaos_settings parse_chaos(const std::string& specification) {
  chaos_settings settings;
  std::string_view rest = specification;
  constexpr std::string_view random = "random:";
  if (rest.starts_with(random)) {
    rest.remove_prefix(random.size());
    const auto colon = rest.find(':');
    settings.probability = read_number<double>(rest.substr(0, colon), specification);
    if (!(settings.probability >= 0.0 && settings.probability <= 1.0))
      throw input_error(fmt::format("--chaos '{}': the probability must lie between 0 and 1", specification));
    if (colon != std::string_view::npos)
      settings.seed = read_number<std::uint64_t>(rest.substr(colon + 1), specification);
    return settings;
  }
  while (!rest.empty()) {
    const auto one = rest.substr(0, rest.find(','));
    rest.remove_prefix(std::min(rest.size(), one.size() + 1));
    const auto at = one.find('@');
    if (at == std::string_view::npos || at == 0)
      throw input_error(fmt::format("--chaos '{}': '{}' names no step; write actor@step, such as shard/0@37",
                                    specification, one));
    settings.kills.push_back({std::string(one.substr(0, at)), read_number<std::uint64_t>(one.substr(at + 1), specification)});
  }
  return settings;
}

}  // namespace troupe
