/// A parameter server for asynchronous SGD from runtime parts alone: a server that counts each gradient once, workers
/// that know its name and not its handle, a supervisor, a checkpoint the server goes back to. It learns a linear model.
///   $ example_parameter_server
///   the server starts at version 0
///   the server starts at version 600
///   3 workers, 400 steps each: the largest error is 0.000004
#include <array>
#include <cmath>
#include <filesystem>

#include <fmt/format.h>
#include <unistd.h>

#include "runtime/checkpoint/store.hpp"
#include "runtime/supervision/request.hpp"
#include "runtime/supervision/supervisor.hpp"

using namespace troupe;

constexpr std::int64_t features = 16;
constexpr std::uint64_t workers = 3, steps = 400, updates_between_cuts = 150;

struct push { std::uint32_t worker; std::uint64_t step; tensor gradient; };  // without gradient: only ask
struct weights { tensor values; std::uint64_t next_step; };  // the answer: the worker's first step without effect
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(push)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(weights)
using server_actor = caf::typed_actor<caf::replies_to<push>::with<weights>>;

server_actor::behavior_type serve(server_actor::pointer self, std::shared_ptr<checkpoint_store> store, bool faulty) {
  keep_exceptions(self);
  const auto state = std::make_shared<shard_snapshot>();  // the weights and, worker by worker, what had effect on them
  *state = {0, 0, std::vector<lane_progress>(workers), {{"weights", make_host_tensor(dtype::float32, {features})}}};
  std::ranges::fill(state->tensors[0].value.mutable_elements<float>(), 0.0f);
  if (auto last = store->latest([](const std::string&) {}))
    *state = last->shards.front();
  fmt::print("the server starts at version {}\n", state->version);
  return {[=](const push& sent) {
    auto& [lane, next_step, applied] = state->applied[sent.worker];
    if (sent.gradient && sent.step == next_step) {  // else it had effect already, or a restart undid what it followed
      auto next = make_host_tensor(dtype::float32, {features});  // written aside: workers still read the old one
      for (std::int64_t i = 0; i < features; ++i)
        next.mutable_data<float>()[i] =
            state->tensors[0].value.data<float>()[i] - 0.05f * sent.gradient.data<float>()[i];
      state->tensors[0].value = next;
      ++next_step, ++applied;
      if (++state->version % updates_between_cuts == 0) {
        store->write_shard(state->version, *state);
        store->publish({state->version, 0, 1, {}, {}});
      }
      if (faulty && state->version == 700)
        throw std::runtime_error("a fault, once");
    }
    return weights{state->tensors[0].value, next_step};
  }};
}

/// Sends the gradient of a step to whoever is the server, again while it is being restarted; then computes the next.
caf::behavior work(caf::event_based_actor* self, directory_actor names, caf::actor listener, push sent) {
  const auto next = [=](const weights& now) {
    double error = 0.0;  // of sample (worker, step); the true weights are 1, 2, 3, ...
    std::array<double, features> x;
    for (std::int64_t i = 0; i < features; ++i) {
      x[i] = std::sin(static_cast<double>((now.next_step * workers + sent.worker + 1) * (2 * i + 1)));
      error += x[i] * (now.values.data<float>()[i] - static_cast<double>(i + 1));
    }
    if (now.next_step == steps)
      return self->send(listener, std::abs(error));
    auto gradient = make_host_tensor(dtype::float32, {features});
    for (std::int64_t i = 0; i < features; ++i)
      gradient.mutable_data<float>()[i] = static_cast<float>(error * x[i]);
    work(self, names, listener, {sent.worker, now.next_step, gradient});
  };
  request_by_name<server_actor>(self, names, "server", sent, {}, next,
                                [self](const caf::error& reason) { self->quit(reason); });
  return {[](const weights&) {}};  // whose answer came when nobody waited for it any more
}

int main() {
  const auto folder = std::filesystem::temp_directory_path() / fmt::format("troupe-parameter-server-{}", getpid());
  const auto store = std::make_shared<checkpoint_store>(folder, checkpoint_store::options{});
  system_config config;
  caf::actor_system system{config};
  caf::scoped_actor self{system};
  std::vector<child_spec> children{{"server", [=](caf::actor_system& in, const child_context& born) {
    return caf::actor_cast<caf::actor>(in.spawn(serve, store, born.incarnation == 1));
  }}};
  for (std::uint32_t index = 0; index < workers; ++index)
    children.push_back({fmt::format("worker/{}", index), [=, to = caf::actor{self}](auto& in, const auto& born) {
      return in.spawn(work, born.names, to, push{index, 0, {}});
    }});
  const auto root = spawn_supervisor(system, {}, spawn_directory(system), children);
  double worst = 0.0;
  for (std::uint64_t done = 0; done < workers; ++done)
    self->receive([&](double error) { worst = std::max(worst, error); });
  self->request(root, caf::infinite, shut_down{}).receive([] {}, [](const caf::error&) {});
  std::filesystem::remove_all(folder);
  fmt::print("{} workers, {} steps each: the largest error is {:.6f}\n", workers, steps, worst);
  return worst < 0.05 ? 0 : 1;
}
