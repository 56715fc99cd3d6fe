// What a GPU that fails says, and memory at its end.

#include <doctest/doctest.h>

#include <memory>
#include <string>

#include "emulated.hpp"
#include "runtime/tensor/device.hpp"
#include "tests/command_process.hpp"

namespace troupe::tests {

TEST_CASE("a lost device is an error that names what was under way, and stays one") {
  const auto fail = emulated_failure();
  if (!fail) {
    MESSAGE("skipped: a real device is not made to fail");
    return;
  }
  std::unique_ptr<stream> on;
  tensor x, y;
  std::string first;
  for (int attempt = 0; attempt < 100 && first.empty(); ++attempt) {  // all may be done before the device is lost
    fail(0);
    on = find_device("cuda").make_stream({});
    x = on->allocate({100});
    y = on->allocate({100});
    on->zero(x);
    on->activation_forward(activation::silu, x, y);
    fail(700);
    first = fault_of([&] { on->synchronize(); });
  }
  INFO(first);
  CHECK(says(first, "cuda:0: waiting after zero activation_forward: an illegal memory access was encountered "
                    "(cudaErrorIllegalAddress)"));
  CHECK(says(first, "help: the device is lost to this process"));
  const auto second = fault_of([&] { on->scaled_add(1.0, x, 0.0, {}, y); });
  INFO(second);
  CHECK(says(second, "illegal memory access"));
  fail(0);
}

TEST_CASE("more memory than there is is an error that says how much, and no more than that") {
  auto& gpu = find_device("cuda");
  const auto on = gpu.make_stream({});
  const auto before = gpu.memory().in_use_bytes;
  const auto text = fault_of([&] { on->allocate({std::int64_t{1} << 40}); });
  INFO(text);
  CHECK(says(text, "allocating float32[1099511627776] (4194304.0 MiB)"));
  CHECK(says(text, "out of memory"));
  CHECK(says(text, "help: lower training.batch"));
  CHECK(gpu.memory().in_use_bytes == before);
  const tensor x = on->allocate({10});
  on->zero(x);
  CHECK(on->to_host(x).data<float>()[9] == 0.0f);
}

TEST_CASE("a device that is full gives back what it keeps, or lends what another stream has kept") {
  if (!emulated_failure()) {
    MESSAGE("skipped: a real device has more memory than a test should take");
    return;
  }
  auto& gpu = find_device("cuda");
  gpu.trim();
  const auto one = gpu.make_stream({}), other = gpu.make_stream({});
  constexpr std::int64_t most = 75 << 20;  // 300 MiB of 512
  const auto use = [](stream& on, std::int64_t count) {
    const tensor x = on.allocate({count});
    on.zero(x.slice(count - 5, {5}));
    return on.to_host(x.slice(count - 1, {1})).data<float>()[0];
  };
  CHECK(use(*one, most) == 0.0f);
  const auto reserved = gpu.memory().reserved_bytes;
  CHECK(use(*other, most) == 0.0f);  // the same block
  CHECK(gpu.memory().reserved_bytes == reserved);
  CHECK(use(*other, most + (15 << 20)) == 0.0f);  // another size: the first block had to go
  CHECK(gpu.memory().in_use_bytes == 0);
  gpu.trim();
  CHECK(gpu.memory().reserved_bytes == 0);
}

TEST_CASE("a step takes the memory that the step before gave back") {
  auto& gpu = find_device("cuda");
  const auto on = gpu.make_stream({}), reader = gpu.make_stream({});
  const auto step = [&] {
    const tensor x = on->allocate({5000}), y = on->allocate({300});
    on->zero(x);
    on->zero(y);
    reader->to_host(x);  // whoever read it last, it comes back to whoever allocated it
  };
  step();
  const auto reserved = gpu.memory().reserved_bytes;
  for (int i = 0; i < 10; ++i)
    step();
  CHECK(gpu.memory().reserved_bytes == reserved);
}

}  // namespace troupe::tests
