#include "cli/resume_check.hpp"

#include <type_traits>

#include <fmt/format.h>

#include "cli/command.hpp"
#include "cli/setting_names.hpp"
#include "models/transformer.hpp"

namespace troupe {

namespace {

/// As a run file has it, without quotation marks.
template <class T>
std::string shown(const T& value) {
  if constexpr (std::is_enum_v<T>) {
    for (const auto& [each, text] : config::enum_names<T>::all)
      if (each == value)
        return std::string(text);
    return {};
  } else {
    return fmt::format("{}", value);
  }
}

}  // namespace

void require_same_model(transformer_settings before, transformer_settings now) {
  before.vocabulary = now.vocabulary = 1;  // it may not be known yet, and shapes of tensors tell
  before = resolved(before);
  now = resolved(now);
  const auto require = [](std::string_view key, const auto& was, const auto& is) {
    if (was != is)
      throw usage_error(fmt::format("'model.{}' = {}, but the cut is of a model with {}\nhelp: a run goes on with the model "
                                    "that it began with; its directory's config.toml has all of it",
                                    key, shown(is), shown(was)));
  };
  require("layers", before.layers, now.layers);
  require("heads", before.heads, now.heads);
  require("kv_heads", before.kv_heads, now.kv_heads);
  require("channels", before.channels, now.channels);
  require("feed_forward", before.feed_forward, now.feed_forward);
  require("feed_forward_channels", before.feed_forward_channels, now.feed_forward_channels);
  require("positions", before.positions, now.positions);
  require("norm", before.norm, now.norm);
  require("bias", before.bias, now.bias);
  require("tied_head", before.tied_head, now.tied_head);
  require("norm_epsilon", before.norm_epsilon, now.norm_epsilon);
  if (now.positions == transformer_settings::position_kind::rotary)
    require("rotary_theta", before.rotary_theta, now.rotary_theta);
}

std::vector<std::string> check_resumed(const run_file& before, const run_file& now) {
  if (before.job.optimizer.algorithm != now.job.optimizer.algorithm)
    throw usage_error(fmt::format("'optimizer.kind' = \"{}\": the cut holds the state of \"{}\", with which it cannot go "
                                  "on\nhelp: `troupe export` and `troupe import` take the parameters along into a new run",
                                  shown(now.job.optimizer.algorithm), shown(before.job.optimizer.algorithm)));
  std::vector<std::string> warnings;
  const auto compare = [&](std::string_view key, auto was, auto is) {
    if (was != is)
      warnings.push_back(fmt::format("'{}' = {}, but it was {} until here: the order of samples is another from here on, "
                                     "so that some come again and some are left out",
                                     key, is, was));
  };
  compare("training.seed", before.job.training.seed, now.job.training.seed);
  compare("training.batch", before.job.training.batch, now.job.training.batch);
  compare("model.context", before.model.context, now.model.context);
  return warnings;
}

}  // namespace troupe
