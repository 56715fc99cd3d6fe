// Channels between GPUs on the stand-in for NCCL: both ends in this process, on one emulated GPU.

#include <atomic>
#include <chrono>
#include <cstring>
#include <future>
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
    return comes_true([&] {
      const bool one = in->is_ready(), other = out->is_ready();
      return one && other;
    });
  }

  const variable library{"TROUPE_NCCL_LIBRARY", EMULATED_NCCL_LIBRARY};
  std::shared_ptr<channel_maker> maker;
  std::unique_ptr<device_channel> in, out;
};

struct ready_channel : channel_pair {
  ready_channel() { REQUIRE(get_ready()); }
};

/// Runs what should wait for nobody; false: it does wait. Then `let_go` must make it go on.
template <class Program, class LetGo>
bool goes_through(Program program, LetGo let_go) {
  auto done = std::async(std::launch::async, program);
  const bool in_time = done.wait_for(std::chrono::seconds{10}) == std::future_status::ready;
  let_go();
  done.get();
  return in_time;
}

std::size_t bytes_in_use() { return find_device("cuda:0").memory().in_use_bytes; }

constexpr std::int64_t floats_in_mib = (1 << 20) / sizeof(float);
const std::vector<tensor_form> one_mib{{dtype::float32, {floats_in_mib}}};

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
  const tests::two_gpus machine;
  const ready_channel channel;
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
  const ready_channel channel;
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

TEST_CASE("a GPU computes on in the memory of what it sent, and in place, while nobody receives") {
  if (!has_stand_in())
    return;
  const tests::two_gpus machine;
  const ready_channel channel;
  const std::vector<tensor_form> forms{{dtype::float32, {100}}};
  std::vector<std::unique_ptr<incoming_tensors>> coming;
  std::vector<float> computed;
  CHECK(goes_through(
      [&] {
        for (const char* name : {"cuda:0", "cuda:1"}) {
          const auto on = find_device(name).make_stream({});
          tensor x = doubled(*on, numbers(100, 1.0f));
          CHECK(channel.out->send(std::vector{x}));
          on->scaled_add(-1.0, x, 0.0, {}, x);
          computed.push_back(on->to_host(x).data<float>()[99]);
          CHECK(channel.out->send(std::vector{x}));
          x = {};
          const tensor y = doubled(*on, numbers(100, 7.0f));
          computed.push_back(on->to_host(y).data<float>()[99]);
        }
      },
      [&] {
        for (int i = 0; i < 4; ++i)
          coming.push_back(channel.in->receive(forms));
      }));
  CHECK(computed == std::vector{-200.0f, 212.0f, -200.0f, 212.0f});
  const auto on = find_device("cuda:0").make_stream({});
  for (const float expected : {200.0f, -200.0f, 200.0f, -200.0f}) {
    const auto came = coming.front()->wait();
    coming.erase(coming.begin());
    CHECK(on->to_host(came.front()).data<float>()[99] == expected);
  }
}

TEST_CASE("who computes with what has come does not wait for what is yet to come") {
  if (!has_stand_in())
    return;
  const ready_channel channel;
  const auto on = find_device("cuda:0").make_stream({});
  const std::vector<tensor_form> forms{{dtype::float32, {100}}};
  const auto first = channel.in->receive(forms), second = channel.in->receive(forms);
  CHECK(channel.out->send(std::vector{doubled(*on, numbers(100, 1.0f))}));
  CHECK(goes_through([&] { CHECK(on->to_host(first->wait().front()).data<float>()[99] == 200.0f); },
                     [&] { CHECK(channel.out->send(std::vector{doubled(*on, numbers(100, 2.0f))})); }));
  CHECK(on->to_host(second->wait().front()).data<float>()[99] == 202.0f);
}

TEST_CASE("a channel takes no more than a part of the GPU's memory for what it sends, and gives it back") {
  if (!has_stand_in())
    return;
  const ready_channel channel;
  const auto on = find_device("cuda:0").make_stream({});
  const tensor small = doubled(*on, numbers(floats_in_mib, 1.0f));
  const tensor large = doubled(*on, numbers(9 * floats_in_mib, 1.0f));
  CHECK(!channel.out->send(std::vector{large}));
  const auto before = bytes_in_use();
  int sent = 0;
  while (channel.out->send(std::vector{small}))
    ++sent;
  CHECK(sent == 8);  // of 512 MiB
  CHECK(bytes_in_use() == before + (8u << 20));
  CHECK(!channel.out->send(std::vector{small}));
  channel.in->receive(one_mib)->wait();
  CHECK(comes_true([&] { return channel.out->send(std::vector{small}); }));
  for (int i = 0; i < 8; ++i)
    channel.in->receive(one_mib)->wait();
  CHECK(comes_true([&] { return channel.out->is_ready() && channel.in->is_ready() && bytes_in_use() == before; }));
}

TEST_CASE("memory that a channel may still write to is nobody else's, whoever forgets it") {
  if (!has_stand_in())
    return;
  const ready_channel broken, whole;
  const auto on = find_device("cuda:0").make_stream({});
  const tensor x = doubled(*on, numbers(floats_in_mib, 1.0f));
  const auto before = bytes_in_use();
  for (const auto* each : {&broken, &whole})
    each->in->receive(one_mib);
  CHECK(whole.in->is_ready());
  CHECK(bytes_in_use() == before + (2u << 20));
  broken.in->break_off();
  CHECK(whole.out->send(std::vector{x}));
  CHECK(comes_true([&] { return whole.in->is_ready() && whole.out->is_ready() && bytes_in_use() == before; }));
}

TEST_CASE("channels that are broken off one after the other do not wait for each other") {
  if (!has_stand_in())
    return;
  const ready_channel first, second;
  std::vector<std::thread> waiting;
  for (const auto* each : {&first, &second})
    waiting.emplace_back([coming = each->in->receive(one_mib)] {
      CHECK(says(fault_of([&] { coming->wait(); }), "broken off"));
    });
  CHECK(goes_through(
      [&] {
        for (const auto* each : {&first, &second})
          each->in->break_off();
      },
      [&] { second.in->break_off(); }));
  for (auto& each : waiting)
    each.join();
}

TEST_CASE("channels that many threads use are broken off at any moment, and keep nothing") {
  if (!has_stand_in())
    return;
  const auto before = bytes_in_use();
  const std::vector<tensor_form> forms{{dtype::float32, {100}}};
  for (int round = 0; round < 20; ++round) {
    const ready_channel channel;
    std::atomic<bool> ends{false};
    const auto until_it_breaks = [&](auto does) {
      return std::thread([&ends, does] {
        while (fault_of(does).empty() && !ends)
          std::this_thread::yield();
      });
    };
    std::vector<std::thread> threads;
    for (int i = 0; i < 2; ++i)
      threads.push_back(until_it_breaks([&, on = std::shared_ptr(find_device("cuda:0").make_stream({}))] {
        channel.out->send(std::vector{on->to_device(numbers(100, 1.0f))});
      }));
    threads.push_back(until_it_breaks([&] { channel.in->receive(forms)->wait(); }));
    threads.push_back(until_it_breaks([&] { channel.in->is_ready() && channel.out->is_ready(); }));
    std::this_thread::sleep_for(std::chrono::milliseconds{round});
    (round % 2 == 0 ? channel.in : channel.out)->break_off();
    CHECK(comes_true([&] { return !fault_of([&] { channel.in->is_ready(); }).empty(); }));
    ends = true;
    channel.in->break_off();  // or who receives would wait for more
    for (auto& each : threads)
      each.join();
  }
  CHECK(bytes_in_use() == before);
}

TEST_CASE("who has device links is told which variables CUDA needs for them") {
  if (!has_stand_in())
    return;
  const variable library("TROUPE_NCCL_LIBRARY", EMULATED_NCCL_LIBRARY), loading("CUDA_MODULE_LOADING", "EAGER");
  const auto maker = cuda_module().channels(0);
  CHECK(says(maker->advice(), "CUDA_DEVICE_MAX_CONNECTIONS=32"));
  const variable connections("CUDA_DEVICE_MAX_CONNECTIONS", "32");
  CHECK(maker->advice().empty());
}

TEST_CASE("a call that is refused breaks its channel, and no other of the same thread") {
  if (!has_stand_in())
    return;
  const ready_channel bad, good;
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
