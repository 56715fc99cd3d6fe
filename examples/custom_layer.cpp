/// A layer of one's own in a model of one's own, trained in a bare loop without actors:
///
///   $ example_custom_layer
///   step   1  loss 3.3342
///   ...
///   step 100  loss 0.0001
///   learned
///
/// The layer adds a gated product of its input to it: y = x + silu(gate) * up, with gate and up packed in one
/// linear map. The model learns a rule: after token t comes token (5 t + 3) mod 23.

#include <cstdio>
#include <vector>

#include "models/layers/embedding.hpp"
#include "models/layers/softmax_head.hpp"
#include "models/optimizer.hpp"

using namespace troupe;

namespace {

constexpr std::int64_t vocabulary = 23, channels = 16, rows = 8, time = 12;

class gated_residual : public layer {
 public:
  void declare(parameter_space& space, const std::string& prefix) override {
    weight_ = space.add(prefix + ".weight", {2 * channels, channels}, initializer::normal(0.2), parameter_kind::matrix);
  }

  tensor forward(pass& p, const tensor& x) const override {
    const tensor gate_and_up = p.on.allocate({x.shape()[0], 2 * channels});
    const tensor y = p.on.allocate(x.shape());
    p.on.linear_forward(x, p.parameters[weight_], {}, gate_and_up);
    p.on.swiglu_forward(gate_and_up, y);
    p.on.scaled_add(1.0, x, 1.0, y, y);
    p.save(x);
    p.save(gate_and_up);
    return y;
  }

  tensor backward(pass& p, const tensor& dy) const override {
    const tensor gate_and_up = p.restore();
    const tensor x = p.restore();
    const tensor dgate_and_up = p.on.allocate(gate_and_up.shape());
    const tensor dx = p.on.allocate(x.shape());
    p.on.swiglu_backward(gate_and_up, dy, dgate_and_up);
    p.on.linear_backward(dgate_and_up, x, p.parameters[weight_], dx, p.gradient(weight_), {});
    p.on.scaled_add(1.0, dx, 1.0, dy, dx);
    return dx;
  }

 private:
  std::size_t weight_ = 0;
};

model make_model() {
  const auto start = initializer::normal(0.3);
  std::vector<model::named_layer> blocks;
  blocks.push_back({"embedding", std::make_unique<embedding>(
                                     embedding_settings{.vocabulary = vocabulary, .channels = channels, .start = start})});
  for (const char* name : {"blocks.0", "blocks.1"})
    blocks.push_back({name, std::make_unique<gated_residual>()});
  blocks.push_back({"head", std::make_unique<softmax_head>(softmax_head_settings{
                                .channels = channels, .classes = vocabulary, .start = start})});
  return model(std::move(blocks));
}

batch next_batch(random_key key) {
  batch made{make_host_tensor(dtype::int32, {rows, time}), make_host_tensor(dtype::int32, {rows, time})};
  for (std::int64_t i = 0; i < rows * time; ++i) {
    const auto token = static_cast<std::int32_t>(random_word(key, static_cast<std::uint64_t>(i)) % vocabulary);
    made.tokens.mutable_data<std::int32_t>()[i] = token;
    made.targets.mutable_data<std::int32_t>()[i] = (5 * token + 3) % vocabulary;
  }
  return made;
}

}  // namespace

int main() {
  const model of = make_model();
  const auto on = cpu_device().make_stream({.threads = 1});
  const auto rule = make_optimizer({.algorithm = optimizer_settings::kind::adamw});

  pass p(of, *on);
  std::vector<std::vector<tensor>> state(of.parameters().size());
  for (std::size_t i = 0; i < of.parameters().size(); ++i) {
    const parameter& which = of.parameters()[i];
    const tensor value = make_host_tensor(dtype::float32, which.extents);
    initialize(which, /*seed=*/1, value.mutable_elements<float>());
    p.parameters[i] = on->to_device(value);
    for (std::size_t s = 0; s < rule->state_names(which).size(); ++s) {
      state[i].push_back(on->allocate(which.extents));
      on->zero(state[i].back());
    }
  }

  double loss = 0.0;
  for (std::int64_t step = 1; step <= 100; ++step) {
    for (tensor& gradient : p.gradients)
      gradient = {};  // zero
    p.begin(next_batch({7, static_cast<std::uint64_t>(step)}), {});
    for (std::size_t block = 0; block < of.block_count(); ++block)
      of.forward(block, p);
    for (std::size_t block = of.block_count(); block-- > 0;)
      of.backward(block, p);
    const double mean = 1.0 / static_cast<double>(p.target_count());
    for (std::size_t i = 0; i < of.parameters().size(); ++i)
      rule->update(*on, of.parameters()[i], {.learning_rate = 0.01, .gradient_scale = mean, .step = step},
                   p.gradients[i], p.parameters[i], state[i]);
    loss = p.loss_sum() * mean;
    if (step == 1 || step % 20 == 0)
      std::printf("step %3d  loss %.4f\n", static_cast<int>(step), loss);
  }
  const bool learned = loss < 0.1;
  std::puts(learned ? "learned" : "did not learn");
  return learned ? 0 : 1;
}
