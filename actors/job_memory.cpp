#include "actors/job_memory.hpp"

#include <algorithm>
#include <deque>

#include "actors/computing_devices.hpp"
#include "actors/shard_layout.hpp"
#include "models/memory.hpp"
#include "runtime/tensor/device_module.hpp"

namespace troupe {

held_aside what_is_held(const job_settings& settings) {
  const auto within = [&](std::uint64_t every) { return every > 0 && every < settings.training.steps; };
  const auto cuts_every = settings.checkpoint.every, evaluations_every = settings.evaluation.every;
  held_aside held;
  held.of_cuts = within(cuts_every);
  held.of_any_evaluations = settings.evaluation.batches > 0 && within(evaluations_every);
  held.of_evaluations = held.of_any_evaluations && !(held.of_cuts && evaluations_every % cuts_every == 0);
  return held;
}

planned_hardware hardware_of(const job_settings& settings) {
  planned_hardware on;
  on.precision = settings.training.precision;
  if (is_cuda(settings.runtime.device)) {
    on.is_host = false;
    if (on.precision == precision_kind::automatic)
      on.precision = precision_kind::bfloat16;
  }
  return on;
}

namespace {

/// Who of a job is on which of so many devices of one process, as its actors will be.
class planned_places {
 public:
  planned_places(const job_settings& settings, std::size_t devices) : devices_(devices), on_(pointers()) {
    for (std::uint32_t shard = 0; shard < settings.runtime.shards; ++shard)
      shards_.push_back(&on_.of_shard(shard));
    for (std::uint32_t lane = 0; lane < settings.training.lanes; ++lane)
      lanes_.push_back(&on_.of_lane(lane));
  }

  std::size_t lanes(std::size_t device) const {
    const troupe::device* const which = &devices_[device];
    return static_cast<std::size_t>(std::ranges::count(lanes_, which));
  }
  bool has_shard(std::size_t device, std::uint32_t shard) const { return shards_[shard] == &devices_[device]; }
  bool has_evaluator(std::size_t device) { return &on_.of_evaluator() == &devices_[device]; }

 private:
  std::vector<troupe::device*> pointers() {
    std::vector<troupe::device*> all;
    for (auto& each : devices_)
      all.push_back(&each);
    return all;
  }

  std::deque<planning_device> devices_;  // nothing is taken from them
  computing_devices on_;
  std::vector<troupe::device*> shards_, lanes_;
};

/// The parameters of all pieces that `comes`, brought to a device piece by piece as messages bring them; `kept`: until
/// the last is there.
template <class Predicate>
std::size_t plan_arrivals(const model& of, const shard_layout& layout, const planned_hardware& on, bool kept,
                          Predicate comes) {
  planning_device counted(on);
  std::vector<tensor> here;
  for (const auto& piece : layout.pieces()) {
    if (!comes(piece.shard))
      continue;
    if (!kept)
      here.clear();
    for (auto i = piece.first; i < piece.last; ++i)
      here.push_back(counted.allocate(dtype::float32, of.parameters()[i].extents));
  }
  return counted.memory().reserved_bytes;
}

}  // namespace

std::vector<job_memory> predict_memory_of_each(const model& of, const job_settings& settings, std::int64_t context,
                                               const planned_hardware& on, std::size_t devices) {
  const auto& training = settings.training;
  const auto& evaluation = settings.evaluation;
  const auto rows = training.batch / (std::int64_t{training.lanes} * training.accumulation);
  const auto rule = make_optimizer(settings.optimizer);
  const auto one = estimate_memory(of, *rule, rows, context, parse_recompute(of, training.recompute), on);
  const auto held = what_is_held(settings);
  const bool casts = one.working_bytes > 0;
  const shard_layout layout(of.parameters(), settings.runtime.shards);
  planned_places places(settings, devices);

  std::vector<job_memory> result(devices);
  for (std::size_t device = 0; device < devices; ++device) {
    auto& here = result[device];
    const auto lanes = places.lanes(device);
    const auto others = training.lanes - lanes;
    const bool evaluates = evaluation.batches > 0 && places.has_evaluator(device);
    const auto comes = [&](std::uint32_t shard) { return !places.has_shard(device, shard); };
    for (std::uint32_t shard = 0; shard < layout.shard_count(); ++shard) {
      if (comes(shard))
        continue;
      const auto owner = estimate_owner(of, *rule, layout.first(shard), layout.last(shard), on);
      here.parameters_bytes += owner.parameters_bytes;
      here.optimizer_bytes += owner.optimizer_bytes;
      here.updates_bytes += owner.updates_bytes;
      if (settings.optimizer.algorithm == optimizer_settings::kind::muon)
        here.workspace_bytes += on.stream_bytes;
    }
    here.gradients_bytes = lanes * one.gradients_bytes;
    here.activations_bytes = lanes * one.activations_bytes;
    here.working_bytes = (lanes + evaluates) * one.working_bytes;
    here.workspace_bytes += (lanes + evaluates) * on.stream_bytes;
    here.arrivals_bytes = others * here.parameters_bytes;  // gradients, until the shards have those of all lanes
    if (devices > 1)
      here.arrivals_bytes += lanes * plan_arrivals(of, layout, on, !casts, comes);
    if (evaluates) {
      here.evaluation_bytes =
          estimate_evaluation(of, evaluation.batch > 0 ? evaluation.batch : training.batch, context, on);
      if (devices > 1)
        here.arrivals_bytes += plan_arrivals(of, layout, on, true, comes);
    }
    if (held.of_cuts && on.is_host)  // elsewhere a cut is a copy in the host's memory
      here.copies_bytes += here.parameters_bytes + here.optimizer_bytes;
    // Who computes with copies, of another type or from another device, lets go of parameters at once.
    if ((on.is_host ? held.of_evaluations : held.of_any_evaluations && evaluates) && !casts)
      here.copies_bytes += here.parameters_bytes;
    if (settings.consistency.mode != consistency_mode::sync)  // each lane may read a version of its own
      here.copies_bytes += training.lanes * here.parameters_bytes;
  }
  return result;
}

job_memory predict_memory(const model& of, const job_settings& settings, std::int64_t context,
                          const planned_hardware& on) {
  return predict_memory_of_each(of, settings, context, on, 1).front();
}

}  // namespace troupe
