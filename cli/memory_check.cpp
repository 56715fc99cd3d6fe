#include "cli/memory_check.hpp"

#include <fmt/format.h>

#include "cli/progress.hpp"

namespace troupe {

std::optional<std::string> memory_shortage(const job_memory& predicted, std::size_t memory_bytes) {
  const auto needed = predicted.total_bytes();
  if (memory_bytes == 0 || needed <= memory_bytes)
    return {};
  const auto in_words = [](std::size_t bytes) { return format_bytes(static_cast<double>(bytes)); };
  const auto passes = predicted.activations_bytes + predicted.evaluation_bytes;
  return fmt::format("this run needs {} of memory, predicted, and this machine has {}: {} too little\nhelp: {}",
                     in_words(needed), in_words(memory_bytes), in_words(needed - memory_bytes),
                     passes > needed / 2
                         ? fmt::format("activations take {}: lower training.batch, evaluation.batch or model.context, or "
                                       "set training.recompute=all",
                                       in_words(passes))
                         : fmt::format("parameters, gradients and their copies take {}: choose a smaller model",
                                       in_words(needed - passes)));
}

}  // namespace troupe
