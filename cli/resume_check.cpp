#include "cli/resume_check.hpp"

#include <fmt/format.h>

#include "cli/command.hpp"
#include "cli/setting_names.hpp"

namespace troupe {

std::vector<std::string> check_resumed(const run_file& before, const run_file& now) {
  const auto name = [](auto kind) {
    for (const auto& [value, text] : config::enum_names<decltype(kind)>::all)
      if (value == kind)
        return text;
    return std::string_view{};
  };
  if (before.job.optimizer.algorithm != now.job.optimizer.algorithm)
    throw usage_error(fmt::format("'optimizer.kind' = \"{}\": the cut holds the state of \"{}\", with which it cannot go "
                                  "on\nhelp: `troupe export` and `troupe import` take the parameters along into a new run",
                                  name(now.job.optimizer.algorithm), name(before.job.optimizer.algorithm)));
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
