#include "models/evaluation.hpp"

#include <limits>

namespace troupe {

double mean_loss(const model& of, stream& on, std::span<const tensor> parameters, const dataset& data, split part,
                 std::uint64_t seed, std::uint64_t batches, std::int64_t rows, std::int64_t context) {
  if (data.token_count(part) <= context)
    return std::numeric_limits<double>::quiet_NaN();
  pass p(of, on);
  p.training = false;
  p.parameters.assign(parameters.begin(), parameters.end());
  double sum = 0.0;
  std::int64_t targets = 0;
  for (std::uint64_t i = 0; i < batches; ++i) {
    p.begin(read_batch(data, part, seed, i * static_cast<std::uint64_t>(rows), rows, context), {});
    for (std::size_t block = 0; block < of.block_count(); ++block)
      of.forward(block, p);
    sum += p.loss_sum();
    targets += p.target_count();
  }
  return sum / static_cast<double>(targets);
}

}  // namespace troupe
