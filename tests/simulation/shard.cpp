/// One parameter shard and lanes that do what the test says, when it says so: what an update reads, what it costs.

#include "actors/parameter_shard.hpp"

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include "actors/checkpoint_writer.hpp"
#include "actors/job_root.hpp"
#include "tests/simulation/simulator.hpp"
#include "tests/simulation/tiny_job.hpp"

namespace troupe {

namespace {

using compensation = consistency_settings::compensation_kind;

/// A model of one number, which starts at 1. Nobody runs it.
class one_number final : public layer {
 public:
  void declare(parameter_space& space, const std::string& prefix) override {
    space.add(prefix + ".weight", {1}, initializer::ones(), parameter_kind::vector);
  }
  tensor forward(pass&, const tensor&) const override { return {}; }
  tensor backward(pass&, const tensor&) const override { return {}; }
};

job_settings plain_descent() {
  auto settings = tiny_settings(consistency_mode::async, 1);
  settings.optimizer = {.algorithm = optimizer_settings::kind::sgd, .learning_rate = 0.125};
  settings.schedule.shape = schedule_settings::kind::constant;
  settings.training.clip = 2.0;
  settings.runtime.device = "reference";  // computes in float64
  return settings;
}

job_context_ptr context_of_one_number(const job_settings& settings) {
  auto inputs = tiny_inputs();
  std::vector<model::named_layer> blocks;
  blocks.push_back({"only", std::make_unique<one_number>()});
  inputs.model = std::make_shared<const model>(std::move(blocks));
  return make_job_context(inputs, settings);
}

/// The shard. What it says to coordinator, lanes and writer all comes to one listener.
class scripted_shard {
 public:
  explicit scripted_shard(const job_settings& settings) : context_(context_of_one_number(settings)) {
    listener_ = sim_.system().spawn([all = heard_](caf::event_based_actor*) -> caf::behavior {
      return {[all](const shard_report& x) { all->reports.push_back(x); },
              [all](const parameters& x) { all->values.push_back(x); },
              [all](const write_part& x) { all->written.push_back(x); }, [](const snapshot_taken&) {}};
    });
    shard_ = spawn_parameter_shard(sim_.system(), context_, 0, listener_);
    tell(restore_shard{1, restore_source::beginning, 0, {}, {}, {shard_}});
  }

  ~scripted_shard() { send_exit(shard_, caf::exit_reason::kill); }  // it knows itself, and would live for ever

  /// What the lane is given to compute its next step with.
  tensor pull(std::uint32_t lane) {
    tell(pull_parameters{1, lane, lanes_.at(lane).step, false, 1});
    lanes_[lane].version_read = heard_->values.back().version;
    return heard_->values.back().values.front();
  }

  /// The lane finishes the step it pulled for; `gradient` is the mean over its targets.
  shard_report push(std::uint32_t lane, double gradient) {
    constexpr std::int64_t targets = 4;
    const auto sum = make_host_tensor(dtype::float64, {1});
    *sum.mutable_data<double>() = targets * gradient;
    auto& mine = lanes_.at(lane);
    tell(push_gradient{1, lane, mine.step, 1, 0, {sum}});
    const auto reports = heard_->reports.size();
    tell(complete_step{1, lane, mine.step++, 1, mine.version_read, targets, {},
                       numbers(std::vector{std::pow(targets * gradient, 2)}), {}});
    REQUIRE(heard_->reports.size() == reports + 1);
    return heard_->reports.back();
  }

  /// REQUIRES: all lanes stand at `step`.
  std::vector<named_tensor> snapshot(std::uint64_t step) {
    tell(take_snapshot{1, step, listener_});
    REQUIRE(!heard_->written.empty());
    return std::exchange(heard_->written, {}).front().part.tensors;
  }

  std::size_t memory_in_use() const { return context_->on->of_shard(0).memory().in_use_bytes; }

 private:
  struct heard {
    std::vector<shard_report> reports;
    std::vector<parameters> values;
    std::vector<write_part> written;
  };
  struct lane_state {
    std::uint64_t step = 0;
    std::uint64_t version_read = 0;
  };

  template <class Message>
  void tell(Message message) {
    caf::send_as(listener_, shard_, std::move(message));
    sim_.run();
  }

  simulator sim_{1};
  job_context_ptr context_;
  std::shared_ptr<heard> heard_ = std::make_shared<heard>();
  caf::actor listener_;
  caf::actor shard_;
  std::vector<lane_state> lanes_{lanes};
};

/// The same rules on one number, as the papers have them (arXiv:1609.08326, arXiv:1511.05950). Staleness is counted in
/// updates; the learning rate is divided by it where it is more than 1; a gradient is clipped before it is compensated.
class rules {
 public:
  explicit rules(const job_settings& settings) : settings_(settings) {}

  double pull(std::uint32_t lane) {
    read_.at(lane) = {now, version_};
    return now;
  }

  void push(std::uint32_t lane, double gradient) {
    const auto& how = settings_.consistency;
    const auto read = read_.at(lane);
    const double staleness = static_cast<double>(version_ - read.version);
    const double g = gradient * std::min(1.0, settings_.training.clip / (std::abs(gradient) + 1e-6));
    double strength = 0.0;
    if (how.delay_compensation != compensation::none)
      strength = how.compensation_lambda;
    if (how.delay_compensation == compensation::adaptive) {
      mean_square = how.compensation_decay * mean_square + (1 - how.compensation_decay) * g * g;
      strength /= std::sqrt(mean_square + 1e-7);
    }
    rate = settings_.optimizer.learning_rate;
    if (how.staleness_scaled_rate && staleness > 1)
      rate /= staleness;
    now -= rate * (g + strength * g * g * (now - read.value));
    ++version_;
  }

  double now = 1.0;
  double rate = 0.0;
  double mean_square = 0.0;

 private:
  struct reading {
    double value = 0.0;
    std::uint64_t version = 0;
  };

  job_settings settings_;
  std::vector<reading> read_{lanes};
  std::uint64_t version_ = 0;
};

doctest::Approx close_to(double x) { return doctest::Approx(x).epsilon(1e-13); }

}  // namespace

TEST_CASE("async: updates on stale values follow the rules that are named, number by number") {
  auto settings = plain_descent();
  auto& how = settings.consistency;
  how.compensation_lambda = 0.5;
  how.compensation_decay = 0.75;
  SUBCASE("as they come") {}
  SUBCASE("a learning rate divided by the staleness") { how.staleness_scaled_rate = true; }
  SUBCASE("delay compensation") { how.delay_compensation = compensation::constant; }
  SUBCASE("adaptive delay compensation") { how.delay_compensation = compensation::adaptive; }
  SUBCASE("adaptive delay compensation, another decay, and a divided learning rate") {
    how.delay_compensation = compensation::adaptive;
    how.compensation_decay = 0.25;
    how.staleness_scaled_rate = true;
  }
  scripted_shard shard(settings);
  rules expected(settings);
  const auto pull = [&](std::uint32_t lane) {
    CHECK(*shard.pull(lane).data<double>() == close_to(expected.pull(lane)));
  };
  const auto push = [&](std::uint32_t lane, double gradient, std::uint64_t staleness) {
    const auto report = shard.push(lane, gradient);
    expected.push(lane, gradient);
    CHECK(report.staleness == staleness);
    CHECK(report.last.learning_rate == close_to(expected.rate));
  };
  pull(0);
  pull(1);
  push(0, 1.5, 0);
  pull(0);
  push(0, -0.5, 0);
  pull(0);
  push(0, 3.0, 0);   // is clipped
  push(1, 1.25, 3);  // computed on the values of the start
  pull(1);
  pull(0);
  push(1, -3.0, 0);
  pull(1);
  push(1, 0.75, 0);
  push(0, 1.0, 2);
  pull(1);
  pull(0);
  push(1, -1.0, 0);
  push(0, -1.75, 1);
  pull(1);
  push(1, 0.25, 0);

  const auto cut = shard.snapshot(5);  // both lanes stand there
  CHECK(cut.size() == (how.delay_compensation == compensation::adaptive ? 2 : 1));
  for (const auto& each : cut) {
    CAPTURE(each.name);
    const auto value = each.name == "only.weight" ? expected.now : expected.mean_square;
    CHECK(*each.value.data<double>() == close_to(value));
  }
}

TEST_CASE("a cut costs a shard handles: no thread waits for a copy, and what is updated meanwhile is written aside") {
  auto settings = plain_descent();
  settings.optimizer.momentum = 0.9;
  scripted_shard shard(settings);
  for (std::uint32_t lane = 0; lane < lanes; ++lane) {
    shard.pull(lane);
    shard.push(lane, 1.0);
  }
  const auto read = shard.pull(0);
  const auto in_use = shard.memory_in_use();
  CHECK(in_use > 0);
  const auto cut = shard.snapshot(1);
  CHECK(shard.memory_in_use() == in_use);
  REQUIRE(cut.size() == 2);  // the number and its momentum
  CHECK(cut[0].value.bytes() == read.bytes());
  const double value = *read.data<double>(), momentum = *cut[1].value.data<double>();

  shard.push(0, 1.0);
  const auto next = shard.pull(0);
  CHECK(next.bytes() != read.bytes());
  CHECK(*next.data<double>() != value);
  CHECK(*cut[0].value.data<double>() == value);
  CHECK(*cut[1].value.data<double>() == momentum);
}

}  // namespace troupe
