#include <algorithm>
#include <array>
#include <charconv>
#include <limits>

#include <fmt/format.h>

#include "cli/run_file.hpp"
#include "runtime/tensor/arithmetic.hpp"
#include "runtime/tensor/device_module.hpp"

namespace troupe {

namespace {

/// One look at one run file.
class checker {
 public:
  checker(const run_file& run, const config::value& document, int cores, config::diagnostics& report)
      : run_(run), document_(document), cores_(cores), report_(report) {
    // nop
  }

  void check() {
    check_data();
    check_batch();
    check_schedule();
    check_consistency();
    check_ignored_keys();
    check_runtime();
    check_cluster();
    check_chaos();
    if (check_model())
      check_blocks();
  }

 private:
  template <class... Ts>
  void error(std::string_view key, std::string help, fmt::format_string<Ts...> message, Ts&&... values) {
    report_.error(config::locate(document_, key), fmt::format(message, std::forward<Ts>(values)...), std::move(help));
  }

  template <class... Ts>
  void warn(std::string_view key, std::string help, fmt::format_string<Ts...> message, Ts&&... values) {
    report_.warn(config::locate(document_, key), fmt::format(message, std::forward<Ts>(values)...), std::move(help));
  }

  bool given(std::string_view key) const { return config::find(document_, key) != nullptr; }

  void check_data() {
    if (run_.data.path.empty())
      error("data.path", "add path = \"FILE\" to [data], or data.path=FILE on the command line",
            "'data.path' is missing: there is nothing to train on");
    if (run_.data.tokens.algorithm == tokenizer_settings::kind::byte_pairs && run_.data.tokens.model.empty())
      error("data.tokenizer_model", "add tokenizer_model = \"tokenizer.json\" to [data]; GPT-2's and Llama 3's come with the models",
            "'data.tokenizer_model' is missing: \"byte_pairs\" are read, not trained");
    const auto& evaluation = run_.job.evaluation;
    if (run_.data.validation_fraction == 0.0 && evaluation.batches > 0)
      error("data.validation_fraction", "set evaluation.batches = 0, or leave a fraction for validation",
            "'data.validation_fraction' is 0, so there is nothing to evaluate on");
  }

  void check_batch() {
    const auto& training = run_.job.training;
    const auto parts = std::int64_t{training.lanes} * training.accumulation;
    const auto nearest = std::max<std::int64_t>(1, (training.batch + parts / 2) / parts) * parts;
    if (training.batch % parts != 0)
      error("training.batch", fmt::format("the nearest that is: {}", nearest),
            "'training.batch' = {} is not divisible by training.lanes x training.accumulation = {} x {}",
            training.batch, training.lanes, training.accumulation);
  }

  void check_schedule() {
    const auto& schedule = run_.job.schedule;
    using kind = schedule_settings::kind;
    const auto steps = static_cast<std::int64_t>(run_.job.training.steps);
    const auto rising = schedule.warmup_steps;
    const auto level = schedule.shape == kind::warmup_stable_decay ? schedule.stable_steps : 0;
    if (schedule.shape != kind::constant && schedule.decay_steps != 0 && schedule.decay_steps < rising + level)
      error("schedule.decay_steps", "",
            "the learning rate would reach its minimum at step {}, before it begins to fall at step {}",
            schedule.decay_steps, rising + level);
    if (rising > steps)
      warn("schedule.warmup_steps", "", "the run ends at step {}, before its warm-up does at step {}", steps, rising);
  }

  void check_consistency() {
    const auto& consistency = run_.job.consistency;
    const bool sync = consistency.mode == consistency_mode::sync;
    if (consistency.mode == consistency_mode::bounded && consistency.staleness == 0)
      error("consistency.staleness", "mode = \"sync\" is what waits for all lanes at each step",
            "mode = \"bounded\" needs a staleness of at least 1");
    if (sync && consistency.delay_compensation != consistency_settings::compensation_kind::none)
      error("consistency.delay_compensation", "choose mode = \"bounded\" or \"async\"",
            "there is no delay to compensate in mode = \"sync\"");
    if (sync && consistency.staleness_scaled_rate)
      error("consistency.staleness_scaled_rate", "choose mode = \"bounded\" or \"async\"",
            "there is no staleness in mode = \"sync\"");
    if (consistency.mode != consistency_mode::bounded && given("consistency.staleness") && !resolved())
      warn("consistency.staleness", "", "'consistency.staleness' has no effect unless mode = \"bounded\"");
  }

  /// Keys that were written but that the chosen kind does not read. A resolved configuration writes all keys.
  void check_ignored_keys() {
    if (resolved())
      return;
    using kind = optimizer_settings::kind;
    const auto chosen = run_.job.optimizer.algorithm;
    const bool has_moments = chosen == kind::adamw || chosen == kind::lion;
    const std::array<std::pair<std::string_view, bool>, 10> read{
      {{"optimizer.beta1", has_moments},
       {"optimizer.beta2", has_moments},
       {"optimizer.epsilon", chosen == kind::adamw || chosen == kind::muon},
       {"optimizer.momentum", chosen == kind::sgd || chosen == kind::muon},
       {"optimizer.nesterov", chosen == kind::sgd || chosen == kind::muon},
       {"schedule.stable_steps", run_.job.schedule.shape == schedule_settings::kind::warmup_stable_decay},
       {"schedule.minimum_ratio", run_.job.schedule.shape != schedule_settings::kind::constant},
       {"schedule.decay_steps", run_.job.schedule.shape != schedule_settings::kind::constant},
       {"model.rotary_theta", run_.model.positions == transformer_settings::position_kind::rotary},
       {"data.tokenizer_model", run_.data.tokens.reads_model()}}};
    for (const auto& [key, effective] : read)
      if (!effective && given(key))
        warn(key, "", "'{}' has no effect with the kind that was chosen", key);
  }

  /// Whether the text names every key, as a resolved configuration does.
  bool resolved() const { return given("optimizer.beta1") && given("optimizer.momentum"); }

  void check_runtime() {
    const auto& runtime = run_.job.runtime;
    const bool elsewhere = cores_ == 0 && is_cuda(runtime.device);  // nodes say what they have when they join
    try {
      if (!elsewhere && !find_device(runtime.device).supports(run_.job.training.precision))
        error("training.precision", "choose \"float32\", or runtime.device = \"cuda\"",
              "'training.precision': the device '{}' does not compute in it", runtime.device);
      if (!elsewhere)  // its GPUs are alike, or it throws
        arithmetic_of(runtime.device, run_.job.repeats_exactly());
    } catch (const std::invalid_argument& fault) {
      error("runtime.device", "", "'runtime.device' = \"{}\": {}", runtime.device, fault.what());
    } catch (const device_error& fault) {
      const std::string_view text = fault.what(), mark = "\nhelp: ";
      const auto end = std::min(text.find(mark), text.size());
      error("runtime.device", std::string(text.substr(std::min(end + mark.size(), text.size()))),
            "'runtime.device' = \"{}\": {}", runtime.device, text.substr(0, end));
    }
    const auto threads = std::int64_t{run_.job.training.lanes} * runtime.threads;
    if (!is_cuda(runtime.device) && cores_ > 0 && threads > cores_)
      warn(runtime.threads > 1 ? "runtime.threads" : "training.lanes", "more threads than cores wait for each other",
           "training.lanes x runtime.threads = {} x {} = {}, but this machine has {} core{}", run_.job.training.lanes,
           runtime.threads, threads, cores_, cores_ == 1 ? "" : "s");
  }

  void check_cluster() {
    using namespace std::chrono_literals;
    const auto& cluster = run_.job.cluster.peers;
    constexpr int beats_min = 5;
    if (cluster.heartbeat < 10ms || cluster.heartbeat > 60s)
      error("cluster.heartbeat", "the default is 200ms", "'cluster.heartbeat' is {} ms; expected 10ms to 1m",
            cluster.heartbeat.count());
    else if (cluster.silence_max < beats_min * cluster.heartbeat)
      error("cluster.silence_max", fmt::format("choose {} ms or more, or a shorter heartbeat", beats_min * cluster.heartbeat.count()),
            "'cluster.silence_max' is {} ms, less than {} heartbeats of {} ms: who is only late would be given up",
            cluster.silence_max.count(), beats_min, cluster.heartbeat.count());
  }

  void check_chaos() {
    const auto& chaos = run_.job.chaos;
    for (std::size_t i = 0; i < chaos.kills.size(); ++i) {
      const auto& kill = chaos.kills[i];
      check_actor_name(place_of(i, "actor"), kill.actor);
      check_fault(place_of(i, "how"), kill);
      if (kill.step >= run_.job.training.steps)
        report_.warn(place_of(i, "step"), fmt::format("the kill at step {} comes too late: the run has {} steps",
                                                      kill.step, run_.job.training.steps));
    }
    for (std::size_t i = 0; i < chaos.actors.size(); ++i)
      check_actor_name(config::locate(document_, fmt::format("chaos.actors.{}", i)), chaos.actors[i]);
  }

  /// Of a planned kill; those of the command line come behind those of the document.
  config::place place_of(std::size_t kill, std::string_view key) const {
    const auto table = fmt::format("chaos.kill.{}", kill);
    if (given(table))
      return config::locate(document_, fmt::format("{}.{}", table, key));
    const auto& told = run_.job.chaos.kills[kill];
    return {fmt::format("command line: '--chaos {}@{}'", told.actor, told.step)};
  }

  void check_fault(const config::place& where, const chaos_settings::kill& kill) {
    using fault = chaos_settings::fault;
    if (kill.how != fault::exit && kill.actor.starts_with("node/"))
      report_.error(where, fmt::format("{} is a process: it can only end", kill.actor), "leave it out: a node is killed");
  }

  void check_actor_name(const config::place& where, const std::string& name) {
    const auto numbered = [&](std::string_view role, std::uint32_t count) {
      std::uint32_t index = 0;
      const auto* digits = name.data() + std::min(name.size(), role.size() + 1);
      std::from_chars(digits, name.data() + name.size(), index);
      return index < count && name == fmt::format("{}/{}", role, index);
    };
    const auto& job = run_.job;
    constexpr std::uint32_t any = std::numeric_limits<std::uint32_t>::max();  // more nodes may come than there are now
    if (name == "coordinator" || name == "evaluator" || name == "checkpoint_writer" ||
        (numbered("node", any) && name != "node/0") || numbered("shard", job.runtime.shards) ||
        numbered("replica", job.training.lanes) || numbered("loader", job.training.lanes))
      return;
    const auto similar = config::nearest(
      name, {"coordinator", "evaluator", "checkpoint_writer", "node/1", "shard/0", "replica/0", "loader/0",
             fmt::format("shard/{}", job.runtime.shards - 1), fmt::format("replica/{}", job.training.lanes - 1),
             fmt::format("loader/{}", job.training.lanes - 1)});
    report_.error(where, fmt::format("there is no actor \"{}\"", name),
                  fmt::format("{}actors of this run: shard/0 to shard/{}, replica/0 to replica/{}, loader/0 to loader/{}, "
                              "evaluator, checkpoint_writer, coordinator; on a cluster node/1 and so on, by order of joining",
                              similar.empty() ? "" : fmt::format("a similar one is {}; ", similar),
                              job.runtime.shards - 1, job.training.lanes - 1, job.training.lanes - 1));
  }

  bool check_model() {
    const auto& model = run_.model;
    const auto before = report_.all().size();
    if (model.channels % model.heads != 0)
      error("model.heads", "", "model.heads = {} does not divide model.channels = {}", model.heads, model.channels);
    else if (model.positions == transformer_settings::position_kind::rotary && model.channels / model.heads % 2 != 0)
      error("model.heads", "", "rotary positions need an even head size, but model.channels / model.heads = {}",
            model.channels / model.heads);
    if (model.kv_heads != 0 && model.heads % model.kv_heads != 0)
      error("model.kv_heads", "", "model.kv_heads = {} does not divide model.heads = {}", model.kv_heads, model.heads);
    return report_.all().size() == before;
  }

  /// What depends on the model's blocks and parameters. The vocabulary, which may not be known yet, changes neither
  /// their number nor their names.
  void check_blocks() {
    auto settings = run_.model;
    settings.vocabulary = std::max<std::int64_t>(settings.vocabulary, 1);
    const auto model = make_transformer(settings);
    const auto tensors = model.parameters().size();
    if (run_.job.runtime.shards > tensors)
      error("runtime.shards", "a shard owns whole tensors", "'runtime.shards' = {}, but this model has {} tensors",
            run_.job.runtime.shards, tensors);
    try {
      parse_recompute(model, run_.job.training.recompute);
    } catch (const input_error& fault) {
      error("training.recompute", "", "{}", fault.what());
    }
  }

  const run_file& run_;
  const config::value& document_;
  int cores_;
  config::diagnostics& report_;
};

}  // namespace

void check_run_file(const run_file& run, const config::value& document, int cores, config::diagnostics& report) {
  checker(run, document, cores, report).check();
}

}  // namespace troupe
