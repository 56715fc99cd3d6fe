// Order follows the tensors: whatever streams work on them, in whatever memory, reused at once.

#include <doctest/doctest.h>

#include <barrier>
#include <chrono>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include "emulated.hpp"
#include "runtime/tensor/device.hpp"
#include "tests/seeds.hpp"

namespace troupe::tests {

namespace {

tensor host_values(std::int64_t count, float value) {
  const tensor made = make_host_tensor(dtype::float32, {count});
  for (float& each : made.mutable_elements<float>())
    each = value;
  return made;
}

/// A tensor all of whose elements should have this value: integers, so that sums are exact.
struct known {
  tensor value;
  float expected;
};

/// A random program on several streams of some devices, which nobody synchronises. Tensors come and go, so that blocks change hands while
/// work on them is under way; some are written in place. With `sections`, some of it is in sections.
class program {
 public:
  program(std::uint64_t seed, const std::vector<device*>& devices, bool sections = false)
      : random_(seed), sections_(sections) {
    for (device* const each : devices)
      for (int i = 0; i < 3; ++i)
        streams_.push_back(each->make_stream({.graphs = sections}));
    for (int i = 0; i < 4; ++i)
      fill();
  }

  void step() {
    if (sections_ && below(8) == 0)
      change_section();
    switch (below(6)) {
      case 0:
        return fill();
      case 1:
        return add(false);
      case 2:
        return add(true);
      case 3: {
        if (tensors_.size() > 3)
          tensors_.erase(tensors_.begin() + static_cast<std::ptrdiff_t>(below(tensors_.size())));
        return;
      }
      case 4:
        return copy();
      default:
        return check(any());
    }
  }

  void check_all() {
    if (section_of_)
      change_section();
    for (const known& each : tensors_)
      check(each);
  }

 private:
  static constexpr std::int64_t count = 700;
  static constexpr float most = 1e6f;

  std::size_t below(std::size_t end) { return std::uniform_int_distribution<std::size_t>(0, end - 1)(random_); }
  stream& on() { return section_of_ ? *section_of_ : *streams_[below(streams_.size())]; }

  /// While one is open its stream is used alone: another of this thread would wait for it for ever.
  void change_section() {
    if (section_of_) {
      std::exchange(section_of_, nullptr)->end_section();
      return;
    }
    section_of_ = streams_[below(streams_.size())].get();
    section_of_->begin_section(below(3));
  }

  known& any() { return tensors_[below(tensors_.size())]; }

  void fill() {
    const auto value = static_cast<float>(below(100));
    tensors_.push_back({on().to_device(host_values(count, value)), value});
  }

  void add(bool in_place) {
    known& left = any();
    const known right = any();
    const float sum = left.expected + right.expected;
    if (sum > most)
      return fill();
    stream& s = on();
    const tensor here = s.to_device(left.value), out = in_place ? here : s.allocate(here.shape());
    s.scaled_add(1.0, here, 1.0, s.to_device(right.value), out);
    if (in_place)
      left = {out, sum};
    else
      tensors_.push_back({out, sum});
  }

  void copy() {
    const known from = any();
    stream& s = on();
    const tensor out = s.allocate(from.value.shape());
    s.copy(s.to_device(from.value), out);
    tensors_.push_back({out, from.expected});
  }

  void check(const known& which) {
    stream& s = on();
    const tensor host = s.to_host(s.to_device(which.value));
    for (const float each : host.elements<float>())
      if (each != which.expected) {
        FAIL_CHECK("found " << each << ", expected " << which.expected);
        return;
      }
  }

  std::mt19937_64 random_;
  bool sections_;
  std::vector<std::unique_ptr<stream>> streams_;
  stream* section_of_ = nullptr;
  std::vector<known> tensors_;
};

}  // namespace

TEST_CASE("streams that share tensors and memory wait for each other where they must") {
  for_each_seed(20, [](std::uint64_t seed) {
    program p(seed, {&find_device("cuda")});
    for (int i = 0; i < 300; ++i)
      p.step();
    p.check_all();
  });
}

TEST_CASE("so do streams whose work is in sections, however these differ") {
  const auto launched = emulated<std::size_t (*)()>("emulated_gpu_graphs_launched");
  const auto before = launched ? launched() : 0;
  for_each_seed(20, [](std::uint64_t seed) {
    program p(seed, {&find_device("cuda")}, true);
    for (int i = 0; i < 300; ++i)
      p.step();
    p.check_all();
  });
  if (launched)
    CHECK(launched() > before + 20);
}

TEST_CASE("who comes after part of an open section waits until that was handed over") {
  auto& gpu = find_device("cuda");
  const auto ours = gpu.make_stream({.graphs = true}), theirs = gpu.make_stream({.graphs = true});
  for (int round = 0; round < 3; ++round) {  // the first section of a key is none
    const tensor x = ours->to_device(host_values(1000, 3.0f)), y = ours->allocate(x.shape());
    ours->begin_section(0);
    ours->copy(x, y);
    std::jthread other([&] {
      theirs->zero(x);
      theirs->synchronize();
    });
    if (round > 0)
      std::this_thread::sleep_for(std::chrono::milliseconds{20});  // long enough for one that does not wait
    ours->end_section();
    other.join();
    CHECK(ours->to_host(y).data<float>()[999] == 3.0f);
    CHECK(ours->to_host(x).data<float>()[999] == 0.0f);
  }
}

TEST_CASE("open sections that come after part of each other do not wait for ever") {
  auto& gpu = find_device("cuda");
  const auto one = gpu.make_stream({.graphs = true}), two = gpu.make_stream({.graphs = true});
  for (int round = 0; round < 3; ++round) {
    const tensor x = one->to_device(host_values(1000, 3.0f)), y = one->to_device(host_values(1000, 4.0f));
    std::barrier both(2);
    const auto copy_then_zero = [&](stream& on, const tensor& from, const tensor& other, tensor& copied) {
      copied = on.allocate(from.shape());
      on.begin_section(0);
      on.copy(from, copied);
      both.arrive_and_wait();
      on.zero(other);
      on.end_section();
    };
    tensor of_x, of_y;
    std::jthread other([&] { copy_then_zero(*two, y, x, of_y); });
    copy_then_zero(*one, x, y, of_x);
    other.join();
    CHECK(one->to_host(of_x).data<float>()[999] == 3.0f);
    CHECK(one->to_host(of_y).data<float>()[999] == 4.0f);
    CHECK(one->to_host(x).data<float>()[999] == 0.0f);
    CHECK(one->to_host(y).data<float>()[999] == 0.0f);
  }
}

TEST_CASE("an open section does not keep others from using a block that it uses again, nor for ever when its stream ends") {
  auto& gpu = find_device("cuda");
  auto ours = gpu.make_stream({.graphs = true});
  const auto theirs = gpu.make_stream({});
  for (const bool ends : {false, false, true}) {  // the first section of a key is none
    const tensor x = theirs->to_device(host_values(1000, 3.0f));
    ours->begin_section(0);
    ours->zero(x);
    std::jthread other([&] { CHECK(theirs->to_host(x).data<float>()[999] == (ends ? 3.0f : 0.0f)); });
    std::this_thread::sleep_for(std::chrono::milliseconds{20});
    if (ends)
      ours.reset();
    else {
      ours->zero(x);
      ours->end_section();
    }
  }
}

TEST_CASE("memory is given back while a section is open, but none of that") {
  auto& gpu = find_device("cuda");
  const auto on = gpu.make_stream({.graphs = true}), other = gpu.make_stream({});
  for (int round = 0; round < 3; ++round) {
    gpu.trim();
    on->begin_section(0);
    const tensor x = on->allocate({1000});
    {
      const tensor between = on->allocate({2000});
      on->zero(between);
      on->copy(between.slice(0, {1000}), x);
    }
    gpu.trim();
    std::vector<tensor> taken;  // what was given back
    for (int i = 0; i < 16; ++i)
      taken.push_back(other->to_device(host_values(2000, 5.0f)));
    other->synchronize();
    on->end_section();
    CHECK(on->to_host(x).data<float>()[999] == 0.0f);
    for (const tensor& each : taken)
      CHECK(other->to_host(each).data<float>()[1999] == 5.0f);
  }
}

TEST_CASE("what a section gave back serves it where the GPU has no more") {
  if (!emulated_failure()) {
    MESSAGE("skipped: this fills the emulated GPU's 512 MiB");
    return;
  }
  auto& gpu = find_device("cuda");
  gpu.trim();
  const auto on = gpu.make_stream({.graphs = true});
  constexpr std::int64_t mib = (1 << 20) / sizeof(float);
  for (int round = 0; round < 3; ++round) {
    on->begin_section(0);
    on->zero(on->allocate({300 * mib}));
    const tensor x = on->allocate({360 * mib});
    on->zero(x);
    on->end_section();
    CHECK(on->to_host(x.slice(360 * mib - 1, {1})).data<float>()[0] == 0.0f);
  }
  gpu.trim();
}

TEST_CASE("so do streams of several devices, whose tensors are copied from one to the other") {
  const two_gpus gpus;
  if (!gpus)
    return;
  for_each_seed(20, [](std::uint64_t seed) {
    program p(seed, find_devices("cuda"));
    for (int i = 0; i < 300; ++i) {
      p.step();
      if (i % 100 == 99)
        for (device* const each : find_devices("cuda"))
          each->trim();  // what another device still copies is not given back before
    }
    p.check_all();
  });
}

TEST_CASE("devices are named one by one, or all at once") {
  const two_gpus gpus;
  if (!gpus)
    return;
  const auto names = [](const std::string& named) {
    std::vector<std::string> found;
    for (const device* each : find_devices(named))
      found.push_back(each->name());
    return found;
  };
  CHECK(names("cuda").size() == find_cuda("cuda").size());
  CHECK(names("cuda:1") == std::vector<std::string>{"cuda:1"});
  CHECK(names("cuda:1,0") == std::vector<std::string>{"cuda:1", "cuda:0"});
  CHECK_THROWS_WITH_AS(find_devices("cuda:0,99"), doctest::Contains("CUDA devices, cuda:0 to cuda:"), device_error);
  for (const char* none : {"cuda:", "cuda:0,", "cuda:0,0", "cuda:-1", "cuda:0;1", "cuda0"})
    CHECK_THROWS_WITH_AS(find_devices(none), doctest::Contains(none), std::invalid_argument);
}

TEST_CASE("tensors come to the host from wherever they are, in any thread") {
  const two_gpus gpus;
  const tensor host = host_values(10, 1.0f);
  std::vector<tensor> mixed{host, {}};
  for (device* const each : find_devices("cuda"))
    mixed.push_back(each->make_stream({})->to_device(host_values(10, 2.0f + static_cast<float>(mixed.size()))));
  std::vector<tensor> found;
  std::thread([&] { found = on_host(mixed); }).join();
  REQUIRE(found.size() == mixed.size());
  CHECK(found[0].owner() == host.owner());
  CHECK_FALSE(found[1]);
  for (std::size_t i = 2; i < found.size(); ++i) {
    CHECK(found[i].owner()->on() == nullptr);
    CHECK(found[i].data<float>()[9] == 2.0f + static_cast<float>(i));
  }
}

TEST_CASE("what a stream leaves behind when it ends is done") {
  auto& gpu = find_device("cuda");
  tensor left;
  {
    const auto on = gpu.make_stream({});
    left = on->to_device(host_values(1000, 3.0f));
    on->scaled_add(2.0, left, 0.0, {}, left);
  }
  const auto other = gpu.make_stream({});
  CHECK(other->to_host(left).data<float>()[999] == 6.0f);
}

TEST_CASE("host memory may be forgotten as soon as it was handed over") {
  const auto on = find_device("cuda").make_stream({});
  std::vector<tensor> moved;
  for (int i = 0; i < 10; ++i) {
    const tensor host = host_values(1 << 20, static_cast<float>(i));  // as large as a staging slot
    moved.push_back(on->to_device(host));
    for (float& each : host.mutable_elements<float>())
      each = -1.0f;
  }
  const auto back = on->all_to_host(moved);
  for (int i = 0; i < 10; ++i)
    CHECK(back[static_cast<std::size_t>(i)].data<float>()[12345] == static_cast<float>(i));
}

}  // namespace troupe::tests
