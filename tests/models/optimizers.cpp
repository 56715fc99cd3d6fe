// Update rules against formulas written straight from the papers, in float64.

#include <doctest/doctest.h>

#include <cmath>
#include <numeric>
#include <random>

#include "harness.hpp"
#include "models/optimizer.hpp"
#include "models/schedule.hpp"

using namespace troupe;
using namespace troupe::testing;

namespace {

using values = std::vector<double>;
using kind = optimizer_settings::kind;

constexpr double rate = 0.01;
constexpr double scale = 0.5;

values random_values(std::int64_t count, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<double> normal;
  values result(static_cast<std::size_t>(count));
  for (double& value : result)
    value = normal(random);
  return result;
}

parameter matrix(std::int64_t rows, std::int64_t columns) {
  return {.name = "m", .extents = {rows, columns}, .kind = parameter_kind::matrix, .decays = true};
}

parameter bias(std::int64_t count) {
  return {.name = "b", .extents = {count}, .kind = parameter_kind::vector, .decays = false};
}

/// Parameter after `steps` updates with gradients seeded 100, 101, ...
values after(const optimizer_settings& settings, const parameter& which, int steps) {
  const auto on = reference_device().make_stream({});
  const auto rule = make_optimizer(settings);
  tensor value = to_tensor(*on, random_values(which.count(), 1), which.extents);
  std::vector<tensor> state;
  for (std::size_t i = 0; i < rule->state_names(which).size(); ++i)
    state.push_back(to_tensor(*on, values(static_cast<std::size_t>(which.count())), which.extents));
  for (int step = 0; step < steps; ++step) {
    const auto seed = static_cast<std::uint64_t>(100 + step);
    const tensor gradient = to_tensor(*on, random_values(which.count(), seed), which.extents);
    rule->update(*on, which, {rate, scale, step + 1}, gradient, value, state);
  }
  return to_doubles(*on, value);
}

/// The same by a formula for one element: called with (element's value, its scaled gradient, step, its two states).
template <class Formula>
values expected_after(const parameter& which, int steps, Formula formula) {
  values value = random_values(which.count(), 1);
  values first(value.size()), second(value.size());
  for (int step = 0; step < steps; ++step) {
    const values gradient = random_values(which.count(), static_cast<std::uint64_t>(100 + step));
    for (std::size_t i = 0; i < value.size(); ++i)
      formula(value[i], scale * gradient[i], step + 1, first[i], second[i]);
  }
  return value;
}

}  // namespace

TEST_CASE("AdamW follows its paper, and decays matrices only") {
  const optimizer_settings settings{
      .algorithm = kind::adamw, .beta1 = 0.8, .beta2 = 0.95, .epsilon = 1e-6, .weight_decay = 0.1};
  for (const parameter& which : {matrix(5, 3), bias(7)}) {
    const double decay = which.decays ? 0.1 : 0.0;
    const values expected = expected_after(which, 4, [&](double& value, double g, int step, double& m, double& v) {
      m = 0.8 * m + 0.2 * g;
      v = 0.95 * v + 0.05 * g * g;
      const double mean = m / (1 - std::pow(0.8, step)), square = v / (1 - std::pow(0.95, step));
      value = value - rate * decay * value - rate * mean / (std::sqrt(square) + 1e-6);
    });
    CHECK(relative_error(after(settings, which, 4), expected) < 1e-12);
  }
}

TEST_CASE("SGD with momentum and weight decay as PyTorch has it") {
  for (const bool nesterov : {false, true}) {
    const optimizer_settings settings{
        .algorithm = kind::sgd, .momentum = 0.9, .nesterov = nesterov, .weight_decay = 0.1};
    const values expected = expected_after(matrix(5, 3), 4, [&](double& value, double g, int, double& m, double&) {
      g += 0.1 * value;
      m = 0.9 * m + g;
      value -= rate * (nesterov ? g + 0.9 * m : m);
    });
    CHECK(relative_error(after(settings, matrix(5, 3), 4), expected) < 1e-12);
  }
  const values plain = expected_after(bias(5), 3, [](double& value, double g, int, double&, double&) {
    value -= rate * g;
  });
  CHECK(relative_error(after({.algorithm = kind::sgd, .weight_decay = 0.1}, bias(5), 3), plain) < 1e-12);
}

TEST_CASE("Lion moves by the sign of its interpolated moment") {
  const optimizer_settings settings{.algorithm = kind::lion, .beta1 = 0.9, .beta2 = 0.99, .weight_decay = 0.2};
  const values expected = expected_after(matrix(4, 4), 4, [](double& value, double g, int, double& m, double&) {
    const double direction = 0.9 * m + 0.1 * g;
    value -= rate * ((direction > 0) - (direction < 0) + 0.2 * value);
    m = 0.99 * m + 0.01 * g;
  });
  CHECK(relative_error(after(settings, matrix(4, 4), 4), expected) < 1e-12);
}

TEST_CASE("Muon moves matrices by a nearly orthogonal step of its momentum") {
  for (const auto& [rows, columns] : {std::pair{6, 6}, {4, 9}, {9, 4}}) {
    CAPTURE(rows);
    const parameter which = matrix(rows, columns);
    const values start = random_values(which.count(), 1);
    const values gradient = random_values(which.count(), 100);
    const values moved = after({.algorithm = kind::muon, .weight_decay = 0.1}, which, 1);
    // step = (start - decayed - moved) / scale; all of its singular values are near 1 (within the 0.68 .. 1.13 band
    // of the published coefficients), and it points along the gradient.
    const double unit = rate * 0.2 * std::sqrt(static_cast<double>(std::max(rows, columns)));
    values step(start.size());
    double along = 0.0, square = 0.0;
    for (std::size_t i = 0; i < step.size(); ++i) {
      step[i] = (start[i] * (1 - rate * 0.1) - moved[i]) / unit;
      along += step[i] * gradient[i];
      square += step[i] * step[i];
    }
    const int side = std::min(rows, columns);
    CHECK(along > 0.0);
    CHECK(square > 0.6 * 0.6 * side);
    CHECK(square < 1.25 * 1.25 * side);
    // Orthogonality: Gram matrix of the shorter side has small entries off its diagonal.
    for (int a = 0; a < side; ++a)
      for (int b = 0; b < side; ++b) {
        double dot = 0.0;
        for (int k = 0; k < std::max(rows, columns); ++k)
          dot += rows > columns ? step[static_cast<std::size_t>(k * columns + a)] * step[static_cast<std::size_t>(k * columns + b)]
                                : step[static_cast<std::size_t>(a * columns + k)] * step[static_cast<std::size_t>(b * columns + k)];
        CHECK(std::abs(dot - (a == b ? 1.0 : 0.0)) < 0.55);
      }
  }
}

TEST_CASE("Muon's momentum decides the direction, and everything but matrices gets AdamW") {
  // Two steps with momentum 0: the second moves along the second gradient alone; with momentum 0.95 it does not.
  const auto second_step = [](double momentum, bool nesterov) {
    const optimizer_settings settings{.algorithm = kind::muon, .momentum = momentum, .nesterov = nesterov};
    const values one = after(settings, matrix(5, 7), 1), two = after(settings, matrix(5, 7), 2);
    values step(one.size());
    for (std::size_t i = 0; i < step.size(); ++i)
      step[i] = one[i] - two[i];
    return step;
  };
  CHECK(cosine(second_step(0.95, false), second_step(1e-9, false)) < 0.95);
  CHECK(cosine(second_step(0.95, true), second_step(0.95, false)) < 0.9999);
  CHECK(after({.algorithm = kind::muon}, bias(5), 3) == after({.algorithm = kind::adamw}, bias(5), 3));
  const parameter table{.name = "t", .extents = {5, 3}, .kind = parameter_kind::table, .decays = true};
  CHECK(after({.algorithm = kind::muon}, table, 3) == after({.algorithm = kind::adamw}, table, 3));
}

TEST_CASE("updates write in place when alone and aside when others hold the old tensors") {
  const auto on = reference_device().make_stream({});
  for (const kind algorithm : {kind::adamw, kind::sgd, kind::lion, kind::muon}) {
    CAPTURE(static_cast<int>(algorithm));
    const auto rule = make_optimizer({.algorithm = algorithm, .momentum = 0.9});
    const parameter which = matrix(4, 3);
    const values start = random_values(which.count(), 1);
    const tensor gradient = to_tensor(*on, random_values(which.count(), 2), which.extents);
    tensor value = to_tensor(*on, start, which.extents);
    std::vector<tensor> state;
    for (std::size_t i = 0; i < rule->state_names(which).size(); ++i)
      state.push_back(to_tensor(*on, values(start.size()), which.extents));

    const auto addresses = [&] {
      std::vector<const std::byte*> result{value.bytes()};
      for (const tensor& each : state)
        result.push_back(each.bytes());
      return result;
    };
    const auto alone = addresses();
    rule->update(*on, which, {rate, scale, 1}, gradient, value, state);
    CHECK(addresses() == alone);

    const tensor snapshot = value;
    const std::vector<tensor> state_snapshot = state;
    const values value_before = to_doubles(*on, value), state_before = to_doubles(*on, state[0]);
    rule->update(*on, which, {rate, scale, 2}, gradient, value, state);
    CHECK(value.bytes() != snapshot.bytes());
    CHECK(to_doubles(*on, snapshot) == value_before);
    for (std::size_t i = 0; i < state.size(); ++i)
      CHECK(state[i].bytes() != state_snapshot[i].bytes());
    CHECK(to_doubles(*on, state_snapshot[0]) == state_before);
    CHECK(to_doubles(*on, value) != value_before);
  }
}

TEST_CASE("parameters that are updated together go where each goes alone, in place") {
  const auto on = cpu_device().make_stream({});
  const parameter all[] = {matrix(5, 3), bias(7), {.name = "t", .extents = {4, 2}, .kind = parameter_kind::table, .decays = true}};
  for (const kind algorithm : {kind::adamw, kind::sgd, kind::lion, kind::muon})
    for (const auto state_type : {optimizer_settings::state_kind::float32, optimizer_settings::state_kind::bfloat16}) {
      CAPTURE(static_cast<int>(algorithm));
      const auto rule = make_optimizer(
          {.algorithm = algorithm, .momentum = 0.9, .weight_decay = 0.1, .state_type = state_type});
      const auto after_two_steps = [&](bool together) {
        std::vector<tensor> found, gradients;
        std::vector<std::vector<tensor>> states;
        for (const parameter& which : all) {
          found.push_back(to_tensor(*on, random_values(which.count(), 1), which.extents));
          gradients.push_back(to_tensor(*on, random_values(which.count(), 2), which.extents));
          states.emplace_back();
          for ([[maybe_unused]] const auto& name : rule->state_names(which)) {
            states.back().push_back(on->allocate(rule->state_type(*on), which.extents));
            on->zero(states.back().back());
          }
        }
        const std::byte* const first = found.front().bytes();
        for (int step = 1; step <= 2; ++step) {
          const auto key_of = [&](std::size_t i) { return random_key{7, 0}.fold(static_cast<std::uint64_t>(step)).fold(i); };
          std::vector<parameter_update> updates;
          for (std::size_t i = 0; i < found.size(); ++i)
            if (together)
              updates.push_back({all[i], gradients[i], found[i], states[i], key_of(i)});
            else
              rule->update(*on, all[i], {rate, scale, step, key_of(i)}, gradients[i], found[i], states[i]);
          rule->update_all(*on, {rate, scale, step}, updates);
        }
        CHECK(found.front().bytes() == first);
        std::vector<values> result;
        for (std::size_t i = 0; i < found.size(); ++i) {
          result.push_back(to_doubles(*on, found[i]));
          for (const tensor& each : states[i])
            result.push_back(to_doubles(*on, each));
        }
        return result;
      };
      CHECK(after_two_steps(true) == after_two_steps(false));
    }
}

TEST_CASE("state in bfloat16 takes in what is less than its spacing") {
  constexpr int steps = 600;
  constexpr std::int64_t count = 4096;
  const auto on = cpu_device().make_stream({});
  const auto rule = make_optimizer({.state_type = optimizer_settings::state_kind::bfloat16});
  const parameter which = bias(count);
  const tensor gradient = to_tensor(*on, values(count, 1.0), which.extents);
  tensor value = to_tensor(*on, values(count), which.extents);
  std::vector<tensor> state;
  for (int i = 0; i < 2; ++i) {
    state.push_back(on->allocate(rule->state_type(*on), which.extents));
    on->zero(state.back());
  }
  CHECK(state[0].type() == dtype::bfloat16);
  const tensor snapshot = state[1];
  for (int step = 1; step <= steps; ++step)
    rule->update(*on, which, {rate, 1.0, step, random_key{1, 1}.fold(static_cast<std::uint64_t>(step))}, gradient, value,
                 state);
  const values second = to_doubles(*on, state[1]);
  // Rounded to nearest it would stay at 0.25, from where a step adds less than half of bfloat16's spacing.
  const double expected = 1.0 - std::pow(0.999, steps);
  CHECK(std::accumulate(second.begin(), second.end(), 0.0) / count == doctest::Approx(expected).epsilon(0.005));
  CHECK(to_doubles(*on, snapshot) == values(count));
}

TEST_CASE("impossible optimizer settings are refused") {
  CHECK_THROWS_AS(make_optimizer({.beta1 = 1.0}), std::invalid_argument);
  CHECK_THROWS_AS(make_optimizer({.epsilon = 0.0}), std::invalid_argument);
  CHECK_THROWS_AS(make_optimizer({.momentum = -0.1}), std::invalid_argument);
  CHECK_THROWS_AS(make_optimizer({.weight_decay = -1.0}), std::invalid_argument);
}

TEST_CASE("schedules pass through their corners") {
  using shape_kind = schedule_settings::kind;
  const auto at = [](const schedule_settings& schedule, std::int64_t step) {
    return learning_rate_at(schedule, 2.0, step, 1000);
  };
  for (const shape_kind shape : {shape_kind::constant, shape_kind::cosine, shape_kind::linear}) {
    const schedule_settings schedule{.shape = shape, .warmup_steps = 100, .minimum_ratio = 0.1};
    CHECK(at(schedule, 0) == doctest::Approx(2.0 / 101));
    CHECK(at(schedule, 99) == doctest::Approx(2.0 * 100 / 101));
    CHECK(at(schedule, 100) == 2.0);
    CHECK(at(schedule, 1000) == doctest::Approx(shape == shape_kind::constant ? 2.0 : 0.2));
    CHECK(at(schedule, 5000) == doctest::Approx(shape == shape_kind::constant ? 2.0 : 0.2));
    CHECK(at(schedule, 550) == doctest::Approx(shape == shape_kind::constant ? 2.0 : 1.1));
  }
  // nanoGPT's formula, a quarter of the way down.
  const schedule_settings cosine{.shape = shape_kind::cosine, .warmup_steps = 100, .minimum_ratio = 0.1};
  CHECK(at(cosine, 325) == doctest::Approx(0.2 + 0.5 * (1 + std::cos(std::acos(-1.0) / 4)) * 1.8));
  const schedule_settings wsd{
      .shape = shape_kind::warmup_stable_decay, .warmup_steps = 100, .decay_steps = 800, .stable_steps = 500};
  CHECK(at(wsd, 100) == 2.0);
  CHECK(at(wsd, 600) == 2.0);
  CHECK(at(wsd, 700) == doctest::Approx(1.0));
  CHECK(at(wsd, 800) == 0.0);
  CHECK(at(wsd, 900) == 0.0);
  CHECK(at({.shape = shape_kind::linear, .warmup_steps = 0, .decay_steps = 10}, 20) == 0.0);
}
