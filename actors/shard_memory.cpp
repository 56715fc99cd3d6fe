#include "actors/shard_memory.hpp"

#include <map>

#include <fmt/format.h>

#include "actors/job_memory.hpp"
#include "runtime/error.hpp"

namespace troupe {

namespace {

const std::string mean_square_name = "mean_square";
constexpr std::uint64_t rounding_sequence = 1;  // of the job's seed; lanes draw from sequence 0

}  // namespace

shard_memory::shard_memory(job_context_ptr context, std::uint32_t index)
    : context_(std::move(context)),
      index_(index),
      first_(context_->layout.first(index)),
      on_(context_->make_exact_stream(index)),
      type_(on_->accumulation_type()),
      rule_(make_optimizer(context_->settings.optimizer)),
      values_(context_->layout.last(index) - first_),
      state_(values_.size()) {
  if (context_->settings.consistency.delay_compensation == consistency_settings::compensation_kind::adaptive)
    mean_squares_.resize(values_.size());
}

tensor shard_memory::zeros(const parameter& which, dtype type) {
  auto fresh = on_->allocate(type, which.extents);
  on_->zero(fresh);
  return fresh;
}

void shard_memory::initialize() {
  for (std::size_t i = 0; i < size(); ++i) {
    auto host = make_host_tensor(dtype::float32, at(i).extents);
    troupe::initialize(at(i), context_->settings.training.seed, host.mutable_elements<float>());
    values_[i] = on_->to_device(host);
    if (type_ != dtype::float32) {
      const auto wide = on_->allocate(type_, at(i).extents);
      on_->cast(values_[i], wide);
      values_[i] = wide;
    }
    state_[i].clear();
    for ([[maybe_unused]] const auto& name : rule_->state_names(at(i)))
      state_[i].push_back(zeros(at(i), rule_->state_type(*on_)));
    if (!mean_squares_.empty())
      mean_squares_[i] = zeros(at(i), type_);
  }
}

void shard_memory::restore(const shard_origin& from) {
  std::map<std::string_view, tensor> by_name;
  for (const auto& each : from.tensors)
    by_name.emplace(each.name, each.value);
  const auto load = [&](const parameter& which, const std::string& name, bool is_state = false) {
    const auto found = by_name.find(name);
    if (found == by_name.end())
      throw input_error(fmt::format("{}: holds no tensor '{}', which this run needs; resume with the model and the "
                                    "optimizer that wrote it",
                                    from.source, name));
    const auto& stored = found->second;
    const bool converts = is_state && (stored.type() == dtype::float32 || stored.type() == dtype::bfloat16);
    if (stored.shape() != which.extents || (stored.type() != type_ && !converts))
      throw input_error(fmt::format("{}: tensor '{}' is {}, expected {}{}; resume with the model that wrote it",
                                    from.source, name, describe(stored), to_string(type_),
                                    to_string(which.extents)));
    return on_->to_device(stored);
  };
  // Before the first update state is zero, and an imported model comes without. State of another type is converted.
  const auto load_state = [&](const parameter& which, const std::string& state, dtype type) {
    const auto name = state_tensor_name(which.name, state);
    if (from.cut.step == 0 && by_name.count(name) == 0)
      return zeros(which, type);
    const auto stored = load(which, name, true);
    if (stored.type() == type)
      return stored;
    const auto converted = on_->allocate(type, which.extents);
    on_->cast(stored, converted);
    return converted;
  };
  for (std::size_t i = 0; i < size(); ++i) {
    values_[i] = load(at(i), at(i).name);
    state_[i].clear();
    for (const auto& name : rule_->state_names(at(i)))
      state_[i].push_back(load_state(at(i), name, rule_->state_type(*on_)));
    if (!mean_squares_.empty())
      mean_squares_[i] = load_state(at(i), mean_square_name, type_);
  }
}

update_factors shard_memory::clip(std::span<const numbers> squares, double scale, double learning_rate) {
  std::vector<tensor> parts;
  for (const numbers& each : squares)
    parts.push_back(here(each.handle()));
  const tensor clipped = on_->allocate(dtype::float64, {2});
  on_->clip_by_norm(parts, scale, context_->settings.training.clip, clipped);
  return {learning_rate, scale, clipped.slice(0, {1}), clipped.slice(1, {1})};
}

scalar shard_memory::gradient_scale(const update_factors& factors) {
  const tensor& clipping = factors.clipping.handle();
  return {factors.gradient_scale, clipping ? here(clipping) : tensor{}};
}

void shard_memory::update(std::span<const tensor> gradients, const update_factors& factors, std::uint64_t step) {
  const profiled_range range(on_->on(), [&] { return fmt::format("shard/{} step {} update", index_, step); });
  const bool is_held = !values_.front().unique();
  if (reserved_ && is_held)
    reserved_->clear();  // what is written aside now finds it in the device's cache
  const auto key = random_key{context_->settings.training.seed, rounding_sequence}.fold(step);
  std::vector<parameter_update> all;
  for (std::size_t i = 0; i < size(); ++i)
    all.push_back({at(i), gradients[i], values_[i], state_[i], key.fold(first_ + i)});
  const update_options options{factors.learning_rate, gradient_scale(factors), static_cast<std::int64_t>(step)};
  on_->begin_section(0);
  rule_->update_all(*on_, options, all);
  on_->end_section();
  if (!reserved_) {
    reserved_.emplace();
    // Who goes on from a cut holds that, and the update just now has taken what the copies of the next one take.
    if (!is_held)
      reserve_copies();
  }
}

void shard_memory::reserve_copies() {
  const auto held = what_is_held(context_->settings);
  if (!on_->on().is_host())  // elsewhere a snapshot is a copy in the host's memory
    return;
  for (std::size_t i = 0; i < size(); ++i) {
    for (int copies = int{held.of_cuts} + int{held.of_evaluations}; copies > 0; --copies)
      reserved_->push_back(zeros(at(i), type_));
    if (held.of_cuts)
      for (const tensor& each : state_[i])
        reserved_->push_back(zeros(at(i), each.type()));
  }
}

void shard_memory::compensate_delay(std::span<const tensor> gradients, std::span<const tensor> read,
                                    const update_factors& factors) {
  const auto& how = context_->settings.consistency;
  const compensation_options options{how.compensation_lambda, how.compensation_decay, gradient_scale(factors)};
  for (std::size_t i = 0; i < size(); ++i) {
    tensor mean_square;
    if (!mean_squares_.empty()) {
      if (!mean_squares_[i].unique()) {  // a snapshot holds it
        auto aside = on_->allocate(type_, at(i).extents);
        on_->copy(mean_squares_[i], aside);
        mean_squares_[i] = aside;
      }
      mean_square = mean_squares_[i];
    }
    on_->compensate_delay(options, gradients[i], values_[i], read[i], mean_square, gradients[i]);
  }
}

void shard_memory::set_mean_squares(std::span<const tensor> values) {
  for (std::size_t i = 0; i < values.size(); ++i)
    mean_squares_[i] = on_->to_device(values[i]);
}

numbers shard_memory::sum_lanes(std::span<const std::vector<tensor>> lanes) {
  const auto squares = on_->allocate(dtype::float64, {static_cast<std::int64_t>(size())});
  if (lanes.size() == 1) {
    on_->sum_of_squares_all(lanes.front(), squares);
  } else {
    std::vector<tensor> terms(lanes.size());
    for (std::size_t i = 0; i < size(); ++i) {
      for (std::size_t lane = 0; lane < lanes.size(); ++lane)
        terms[lane] = lanes[lane][i];
      on_->sum(terms, terms[0], squares.slice(static_cast<std::int64_t>(i), {1}));
    }
  }
  return squares;
}

std::vector<named_tensor> shard_memory::snapshot() {
  std::vector<std::string> names;
  std::vector<tensor> tensors;
  const auto add = [&](std::string name, const tensor& value) {
    names.push_back(std::move(name));
    tensors.push_back(value);
  };
  for (std::size_t i = 0; i < size(); ++i) {
    add(at(i).name, values_[i]);
    const auto states = rule_->state_names(at(i));
    for (std::size_t k = 0; k < states.size(); ++k)
      add(state_tensor_name(at(i).name, states[k]), state_[i][k]);
    if (!mean_squares_.empty())
      add(state_tensor_name(at(i).name, mean_square_name), mean_squares_[i]);
  }
  auto on_host = on_->all_to_host(tensors);
  std::vector<named_tensor> all;
  for (std::size_t i = 0; i < names.size(); ++i)
    all.push_back({std::move(names[i]), std::move(on_host[i])});
  return all;
}

}  // namespace troupe
