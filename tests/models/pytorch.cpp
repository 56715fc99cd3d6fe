// One step of GPT-2 and of Llama against PyTorch, where some Python on this machine has it.

#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <utility>

#include <fmt/format.h>
#include <sys/wait.h>

#include "harness.hpp"
#include "models/optimizer.hpp"
#include "tests/scratch_folder.hpp"

using namespace troupe;
using namespace troupe::testing;

namespace {

// Epsilon is large because the softmax cancels what a key's bias does: its gradient is rounding noise, and with a small
// epsilon AdamW would move by the sign of that noise.
constexpr optimizer_settings adamw{
    .learning_rate = 1e-2, .beta1 = 0.9, .beta2 = 0.95, .epsilon = 1e-3, .weight_decay = 0.1};
constexpr double clip = 0.5;

/// Exit status of pytorch_step.py under the first Python that has PyTorch; nothing where none has.
std::optional<int> compare_with_pytorch(const std::string& arguments) {
  constexpr int no_pytorch = 77, no_such_command = 127;
  for (const char* python : {"python3", "/usr/bin/python3"}) {
    const int status = std::system(
        fmt::format("{} {}/tests/models/pytorch_step.py {}", python, TROUPE_SOURCE_DIR, arguments).c_str());
    const int code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    if (code != no_pytorch && code != no_such_command)
      return code;
  }
  return std::nullopt;
}

/// step.bin and the index of its tensors: see pytorch_step.py.
class step_dump {
 public:
  explicit step_dump(const std::filesystem::path& directory)
      : directory_(directory), elements_(directory / "step.bin", std::ios::binary) {}

  void add(const std::string& name, const std::vector<double>& values, const shape& extents) {
    index_ += fmt::format("{}{{\"name\": \"{}\", \"offset\": {}, \"shape\": {}}}", index_.empty() ? "" : ",\n  ", name,
                          count_, to_string(extents));
    elements_.write(reinterpret_cast<const char*>(values.data()),
                    static_cast<std::streamsize>(values.size() * sizeof(double)));
    count_ += values.size();
  }

  void add(const std::string& name, const tensor& tokens) {
    const auto elements = tokens.elements<std::int32_t>();
    add(name, {elements.begin(), elements.end()}, tokens.shape());
  }

  void finish(const transformer_settings& settings, double loss) {
    elements_.close();
    std::ofstream(directory_ / "step.json")
        << fmt::format("{{\"settings\": {{\"llama\": {}, \"layers\": {}, \"heads\": {}, \"kv_heads\": {}, "
                       "\"channels\": {}, \"epsilon\": {}, \"theta\": {}, \"clip\": {}, \"weight_decay\": {}, "
                       "\"learning_rate\": {}, \"beta1\": {}, \"beta2\": {}, \"adam_epsilon\": {}}},\n\"loss\": {}, \"elements\": {},\n"
                       "\"tensors\": [\n  {}]}}\n",
                       settings.norm == norm_kind::rms_norm, settings.layers, settings.heads,
                       resolved(settings).kv_heads, settings.channels, settings.norm_epsilon, settings.rotary_theta,
                       clip, adamw.weight_decay, adamw.learning_rate, adamw.beta1, adamw.beta2, adamw.epsilon, loss,
                       count_, index_);
  }

 private:
  std::filesystem::path directory_;
  std::ofstream elements_;
  std::string index_;
  std::size_t count_ = 0;
};

/// One clipped AdamW step, every tensor of it dumped.
void dump_step(const transformer_settings& settings, device& on, const std::filesystem::path& directory) {
  const model of = make_transformer(settings);
  rig at(of, on, 31);
  const batch input = random_batch(3, settings.context, settings.vocabulary, 32, true);
  step_dump dump(directory);
  dump.add("tokens", input.tokens);
  dump.add("targets", input.targets);
  const parameter_space& space = of.parameters();
  for (std::size_t i = 0; i < space.size(); ++i)
    dump.add("before/" + space[i].name, to_doubles(*at.on, at.p.parameters[i]), space[i].extents);

  const double loss_sum = at.step(input);
  const double mean = 1.0 / static_cast<double>(at.p.target_count());
  const auto squares = at.on->allocate(dtype::float64, {static_cast<std::int64_t>(space.size())});
  at.on->sum_of_squares_all(at.p.gradients, squares);
  for (std::size_t i = 0; i < space.size(); ++i) {
    std::vector<double> gradient = at.gradient(i);
    for (double& value : gradient)
      value *= mean;
    dump.add("gradient/" + space[i].name, gradient, space[i].extents);
  }
  const auto clipped = at.on->allocate(dtype::float64, {2});
  at.on->clip_by_norm({&squares, 1}, mean, clip, clipped);
  CHECK(to_doubles(*at.on, clipped)[1] > clip);  // or the step would not show clipping
  const auto rule = make_optimizer(adamw);
  for (std::size_t i = 0; i < space.size(); ++i) {
    std::vector<tensor> state;
    for (std::size_t s = 0; s < rule->state_names(space[i]).size(); ++s) {
      state.push_back(at.on->allocate(space[i].extents));
      at.on->zero(state.back());
    }
    rule->update(*at.on, space[i], {adamw.learning_rate, {mean, clipped}, 1}, at.p.gradients[i], at.p.parameters[i],
                 state);
    dump.add("after/" + space[i].name, to_doubles(*at.on, at.p.parameters[i]), space[i].extents);
  }
  dump.finish(settings, loss_sum * mean);
}

}  // namespace

TEST_CASE("one step of GPT-2 and of Llama agrees with PyTorch") {
  const scratch_folder folder;
  std::string arguments;
  const auto dump = [&](const char* name, const transformer_settings& settings, device& on, double tolerance) {
    const std::filesystem::path directory = folder.path() / fmt::format("{}-{}", name, on.name());
    std::filesystem::create_directory(directory);
    dump_step(settings, on, directory);
    arguments += fmt::format("{} {} ", directory.string(), tolerance);
  };
  for (const auto& [on, tolerance] : {std::pair{&reference_device(), 1e-7}, std::pair{&cpu_device(), 1e-4}}) {
    dump("gpt2", tiny_gpt2(), *on, tolerance);
    dump("llama", tiny_llama(), *on, tolerance);
  }
  const std::optional<int> status = compare_with_pytorch(arguments);
  if (status)
    CHECK(*status == 0);
  else
    MESSAGE("skipped: no python3 here can import torch");
}
