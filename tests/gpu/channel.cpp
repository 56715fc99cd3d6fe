// Channels between GPUs on the stand-in for NCCL: both ends in this process, on one emulated GPU.

#include <chrono>
#include <cstring>
#include <thread>

#include "emulated.hpp"
#include "runtime/tensor/device_channel.hpp"
#include "tests/command_process.hpp"

using namespace troupe;
using tests::fault_of;
using tests::variable;

namespace {

/// False, and says so, where the GPU is a real one: NCCL has no channels within one.
bool has_stand_in() {
  const bool emulated = tests::emulated_failure() != nullptr;
  if (!emulated)
    MESSAGE("skipped: there is no stand-in for NCCL on a real GPU");
  return emulated;
}

struct channel_pair {
  channel_pair() : maker(cuda_module().channels(0)) {
    const auto id = maker->draw_id();
    in = maker->open(id, channel_end::receiving);
    out = maker->open(id, channel_end::sending);
  }

  bool get_ready() const {
    return comes_true([&] { return out->is_ready(); }) && comes_true([&] { return in->is_ready(); });
  }

  std::shared_ptr<channel_maker> maker;
  std::unique_ptr<device_channel> in, out;
};

tensor numbers(std::int64_t count, float first) {
  const tensor out = make_host_tensor(dtype::float32, {count});
  for (std::int64_t i = 0; i < count; ++i)
    out.mutable_data<float>()[i] = first + static_cast<float>(i);
  return out;
}

/// Twice `host`, computed on a GPU and not waited for.
tensor doubled(stream& on, const tensor& host) {
  const tensor x = on.to_device(host), y = on.allocate(dtype::float32, host.shape());
  on.scaled_add(2.0, x, 0.0, {}, y);
  return y;
}

}  // namespace

TEST_CASE("tensors that are still being computed come out of a channel as they will be") {
  if (!has_stand_in())
    return;
  const variable library("TROUPE_NCCL_LIBRARY", EMULATED_NCCL_LIBRARY);
  const tests::two_gpus machine;
  const channel_pair channel;
  REQUIRE(channel.get_ready());
  const auto on = find_device("cuda:0").make_stream({}), other = find_device("cuda:1").make_stream({});
  std::vector<std::unique_ptr<incoming_tensors>> coming;
  std::vector<tensor> expected;
  for (int round = 0; round < 20; ++round) {
    const auto count = 1 + 37 * round;
    const tensor a = numbers(count, static_cast<float>(round)), b = numbers(3, -static_cast<float>(round));
    // The memory of both is taken for the next round while this one's may not have left yet.
    channel.out->send(std::vector{doubled(*on, a), doubled(*other, b)});
    for (const tensor& each : {a, b}) {
      expected.push_back(make_host_tensor(dtype::float32, each.shape()));
      for (std::int64_t i = 0; i < each.count(); ++i)
        expected.back().mutable_data<float>()[i] = 2.0f * each.data<float>()[i];
    }
    coming.push_back(channel.in->receive(std::vector<tensor_form>{{dtype::float32, {count}}, {dtype::float32, {3}}}));
  }
  std::size_t next = 0;
  for (const auto& each : coming)
    for (const tensor& came : each->wait()) {
      const tensor host = on->to_host(came);
      REQUIRE(host.shape().count() == expected[next].count());
      CHECK(std::memcmp(host.bytes(), expected[next].bytes(), host.size_bytes()) == 0);
      ++next;
    }
  CHECK(next == expected.size());
}

TEST_CASE("who waits for tensors that will not come is let go when the channel is broken off, and gets none") {
  if (!has_stand_in())
    return;
  const variable library("TROUPE_NCCL_LIBRARY", EMULATED_NCCL_LIBRARY);
  const channel_pair channel;
  REQUIRE(channel.get_ready());
  const auto coming = channel.in->receive(std::vector<tensor_form>{{dtype::float32, {100}}});
  std::string fault;
  std::thread waiting([&] { fault = fault_of([&] { coming->wait(); }); });
  std::this_thread::sleep_for(std::chrono::milliseconds{20});
  channel.in->break_off();
  waiting.join();
  CHECK(says(fault, "the link was broken off"));
  CHECK(says(fault_of([&] { channel.in->is_ready(); }), "the link was broken off"));
  CHECK(says(fault_of([&] { channel.in->receive(std::vector<tensor_form>{{dtype::float32, {1}}}); }), "broken off"));
  // The other end hears of it.
  std::string heard;
  CHECK(comes_true([&] { return !(heard = fault_of([&] { channel.out->is_ready(); })).empty(); }));
  CHECK(says(heard, "remote process exited"));
}

TEST_CASE("a call that is refused breaks its channel, and no other of the same thread") {
  if (!has_stand_in())
    return;
  const variable library("TROUPE_NCCL_LIBRARY", EMULATED_NCCL_LIBRARY);
  const channel_pair bad, good;
  REQUIRE(bad.get_ready());
  REQUIRE(good.get_ready());
  const auto on = find_device("cuda:0").make_stream({});
  const tensor x = doubled(*on, numbers(10, 1.0f));
  {
    const variable fails("EMULATED_NCCL", "refuses-sends");
    CHECK(says(fault_of([&] { bad.out->send(std::vector{x}); }), "invalid argument"));
  }
  CHECK(says(fault_of([&] { bad.out->is_ready(); }), "invalid argument"));
  good.out->send(std::vector{x});
  // Calls of a group that was never closed would be put off until it is, and this one never be counted as under way.
  const auto came = good.in->receive(std::vector<tensor_form>{{dtype::float32, {10}}})->wait();
  REQUIRE(came.size() == 1);
  CHECK(on->to_host(came.front()).data<float>()[9] == 20.0f);
}

TEST_CASE("a channel whose ends do not find each other is not ready, and can be broken off") {
  if (!has_stand_in())
    return;
  const variable library("TROUPE_NCCL_LIBRARY", EMULATED_NCCL_LIBRARY), fails("EMULATED_NCCL", "never-forms");
  const channel_pair channel;
  for (int i = 0; i < 10; ++i) {
    CHECK(!channel.in->is_ready());
    CHECK(!channel.out->is_ready());
  }
  channel.out->break_off();
  CHECK(says(fault_of([&] { channel.out->is_ready(); }), "broken off"));
}

TEST_CASE("a machine without NCCL, or with what is none, says so") {
  if (!has_stand_in())
    return;
  const auto fault_with = [](const char* file) {
    const variable library("TROUPE_NCCL_LIBRARY", file);
    return fault_of([] { cuda_module().channels(0); });
  };
  const auto missing = fault_with("libnowhere.so");
  INFO(missing);
  CHECK(says(missing, "there is no NCCL: libnowhere.so"));
  CHECK(says(missing, "help: install it"));
  CHECK(says(fault_with(NO_MODULE), "it has no ncclGetUniqueId"));
}
