#include "actors/chaos.hpp"

#include <chrono>
#include <stdexcept>
#include <thread>
#include <utility>

#include <fmt/format.h>

#include "runtime/supervision/errc.hpp"
#include "runtime/system.hpp"
#include "runtime/tensor/random.hpp"

namespace troupe {

namespace {

/// Of the reason of an exit message that asks for a fault; its code is the fault. An exit message reaches every actor on
/// every node, whatever messages it takes.
constexpr caf::atom_value category = caf::atom("chaos");

}  // namespace

void inject(chaos_settings::fault how, const std::string& name, const caf::actor& victim) {
  if (how == chaos_settings::fault::exit)
    send_exit(victim, make_error(errc::killed_by_chaos, name + " was killed by fault injection"));
  else
    send_exit(victim, caf::error{static_cast<std::uint8_t>(how), category, caf::make_message(name)});
}

void obey_chaos(caf::scheduled_actor* self, std::function<void(const caf::error&)> before_end) {
  self->set_exit_handler([before_end = std::move(before_end)](caf::scheduled_actor* me, caf::exit_msg& message) {
    if (message.reason && message.reason.category() == category)
      fail_as_told(static_cast<chaos_settings::fault>(message.reason.code()), root_cause(message.reason));
    if (before_end)
      before_end(message.reason);
    caf::scheduled_actor::default_exit_handler(me, message);
  });
}

void fail_as_told(chaos_settings::fault how, const std::string& name) {
  while (how == chaos_settings::fault::wedge)
    std::this_thread::sleep_for(std::chrono::hours{1});
  throw std::runtime_error(fmt::format("an exception left a handler of {}, by fault injection", name));
}

chaos_plan::chaos_plan(chaos_settings settings, std::vector<std::string> actors)
    : settings_(std::move(settings)),
      actors_(settings_.actors.empty() ? std::move(actors) : settings_.actors),
      fired_(settings_.kills.size(), false) {}

std::vector<chaos_settings::kill> chaos_plan::due(std::uint64_t steps_done) {
  std::vector<chaos_settings::kill> found;
  for (std::size_t i = 0; i < settings_.kills.size(); ++i) {
    if (!fired_[i] && settings_.kills[i].step <= steps_done) {
      fired_[i] = true;
      found.push_back(settings_.kills[i]);
    }
  }
  if (settings_.probability > 0.0 && random_kills_ < settings_.kills_max && !actors_.empty()) {
    const auto draw = random_key{settings_.seed, 0x6b696c6c}.fold(draws_++);
    if (static_cast<double>(draw.high >> 11) * 0x1p-53 < settings_.probability) {
      ++random_kills_;
      found.push_back({actors_[draw.low % actors_.size()], steps_done});
    }
  }
  return found;
}

}  // namespace troupe
