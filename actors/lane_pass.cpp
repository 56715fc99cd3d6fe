#include "actors/lane_pass.hpp"

#include <fmt/format.h>

namespace troupe {

lane_pass::lane_pass(job_context_ptr context, std::uint32_t lane)
    : context_(std::move(context)),
      on_(context_->make_stream(lane)),
      pass_(context_->model(), *on_),
      lane_(lane),
      key_(random_key{context_->settings.training.seed, 0}.fold(lane)) {
  pass_.recompute = context_->recompute;
}

void lane_pass::begin(std::uint64_t step, std::vector<batch> micro_batches) {
  step_ = step;
  micro_batches_ = std::move(micro_batches);
  micro_ = 0;
  targets_ = tokens_ = 0;
  const auto& space = context_->model().parameters();
  losses_ = on_->allocate(dtype::float64, {static_cast<std::int64_t>(micro_batches_.size())});
  if (!context_->sync())
    squares_ = on_->allocate(dtype::float64, {static_cast<std::int64_t>(space.size())});
  missing_.assign(context_->model().block_count(), 0);
  for (const auto& each : space)
    ++missing_[each.block];
  start_micro_batch();
}

void lane_pass::start_micro_batch() {
  const auto& next = micro_batches_[micro_];
  tokens_ += next.tokens.count();
  pass_.begin({next.tokens, next.targets}, key_.fold(step_).fold(micro_));
  block_ = 0;
  forward_ = true;
}

void lane_pass::supply(std::size_t first, std::span<const tensor> values) {
  auto mine = as_computed_with(*on_, values);
  for (std::size_t i = 0; i < mine.size(); ++i) {
    pass_.parameters[first + i] = std::move(mine[i]);
    --missing_[context_->model().parameters()[first + i].block];
  }
}

bool lane_pass::ready() const { return !forward_ || missing_[block_] == 0; }

lane_pass::progress lane_pass::advance() {
  const auto& model = context_->model();
  const profiled_range range(on_->on(), [&] {
    return fmt::format("replica/{} step {} {} {}", lane_, step_ + 1, forward_ ? "forward" : "backward",
                       model.block_name(forward_ ? block_ : block_ - 1));
  });
  // The first micro-batch finds no gradients, and writes them; those after it add.
  on_->begin_section(4 * block_ + (forward_ ? 2 : 0) + (micro_ == 0 ? 1 : 0));
  if (forward_) {
    model.forward(block_, pass_);
    on_->end_section();
    if (++block_ == model.block_count())
      forward_ = false;
    return {};
  }
  model.backward(--block_, pass_);
  on_->end_section();
  const bool last_micro_batch = micro_ + 1 == micro_batches_.size();
  const progress result{last_micro_batch && block_ == 0, block_, last_micro_batch};
  if (block_ == 0) {
    on_->sum_elements(pass_.losses, losses_.slice(static_cast<std::int64_t>(micro_), {1}));
    targets_ += pass_.target_count();
    ++micro_;
    if (!last_micro_batch)
      start_micro_batch();
  }
  return result;
}

tensor lane_pass::take_gradient(std::size_t parameter) {
  auto gradient = pass_.gradient(parameter);  // zeros where no layer added anything
  pass_.gradients[parameter] = {};
  return gradient;
}

void lane_pass::add_squares(std::size_t parameter) {
  on_->sum_of_squares(pass_.gradient(parameter), squares_.slice(static_cast<std::int64_t>(parameter), {1}));
}

void lane_pass::release() {
  for (auto& each : pass_.parameters)
    each = {};
  for (auto& each : pass_.gradients)
    each = {};
}

}  // namespace troupe
