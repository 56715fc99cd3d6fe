#include "models/evaluation.hpp"

#include <algorithm>

namespace troupe {

loss_measurement::loss_measurement(const model& of, stream& on, std::span<const tensor> parameters, const dataset& data,
                                   split part, std::uint64_t seed, std::uint64_t samples, std::int64_t rows,
                                   std::int64_t context)
    : model_(of),
      data_(data),
      pass_(of, on),
      part_(part),
      seed_(seed),
      samples_(data.token_count(part) > context ? samples : 0),
      rows_(rows),
      context_(context) {
  pass_.training = false;
  pass_.parameters.assign(parameters.begin(), parameters.end());
}

void loss_measurement::measure_batch() {
  const auto rows = std::min(samples_ - next_, static_cast<std::uint64_t>(rows_));
  pass_.begin(read_batch(data_, part_, seed_, next_, static_cast<std::int64_t>(rows), context_), {});
  next_ += rows;
  for (std::size_t block = 0; block < model_.block_count(); ++block)
    model_.forward(block, pass_);
  sum_ += pass_.loss_sum();
  targets_ += pass_.target_count();
}

}  // namespace troupe
