#include "actors/chaos.hpp"

#include <utility>

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

}  // namespace troupe
