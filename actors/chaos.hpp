#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include <caf/all.hpp>

#include "actors/job_settings.hpp"

namespace troupe {

/// Tells an actor, here or on another node, to fail.
void inject(chaos_settings::fault how, const std::string& name, const caf::actor& victim);

/// Lets `inject` reach `self`. Call it where the behavior is made. `before_end` gets the reason for which it is told to
/// end, on its thread.
void obey_chaos(caf::scheduled_actor* self, std::function<void(const caf::error&)> before_end = {});

/// What happens to an actor of this name now, on the thread of whom it happens to: throws, or never returns.
[[noreturn]] void fail_as_told(chaos_settings::fault how, const std::string& name);

/// Decides which actors die on purpose. Each named kill happens once, also when a rollback makes its step come again;
/// random kills are a function of the seed and the number of steps seen.
class chaos_plan {
 public:
  /// `actors`: every name that random kills may choose where the settings name none.
  chaos_plan(chaos_settings settings, std::vector<std::string> actors);

  /// Who is to fail now that `steps_done` steps are done. REQUIRES: called once for each step that is done, again after
  /// a rollback.
  std::vector<chaos_settings::kill> due(std::uint64_t steps_done);

 private:
  chaos_settings settings_;
  std::vector<std::string> actors_;
  std::vector<bool> fired_;  // by named kill
  std::uint64_t draws_ = 0;
  std::uint64_t random_kills_ = 0;
};

}  // namespace troupe
