// Results do not depend on the number of threads, nor on what else the process computes.

#include <doctest/doctest.h>

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <string>
#include <thread>

#include "kernel_run.hpp"
#include "runtime/error.hpp"
#include "runtime/tensor/cpu/team.hpp"

namespace troupe::tests {

namespace {

struct outcome {
  std::vector<written> forward, backward;
};

outcome run(kernel_case k, stream& on) {
  outcome result;
  result.forward = run_forward(k, on);
  if (!k.backward)
    return result;
  // The backward pass reads what this device's forward pass wrote.
  for (const written& out : result.forward)
    if (k.arguments[out.argument].role != role::updated)
      k.arguments[out.argument].values = out.values;
  result.backward = run_backward(k, on);
  return result;
}

bool same_bytes(const std::vector<written>& a, const std::vector<written>& b) {
  return std::ranges::equal(a, b, {}, &written::bytes, &written::bytes);
}

}  // namespace

TEST_CASE("one, two and three threads give the same bytes") {
  for_each_case(scale::large, 2, [](const std::string&, const kernel_case& k) {
    const outcome expected = run(k, *cpu_device().make_stream({.threads = 1}));
    for (const int threads : {2, 3}) {
      CAPTURE(threads);
      const outcome actual = run(k, *cpu_device().make_stream({.threads = threads}));
      CHECK(same_bytes(actual.forward, expected.forward));
      CHECK(same_bytes(actual.backward, expected.backward));
    }
  });
}

TEST_CASE("an update that writes aside, past the caches where it is large, has the bytes of one in place") {
  const auto on = cpu_device().make_stream({.threads = 2});
  for (const std::int64_t count : {1'003, 300'007}) {
    const auto numbers = [&](float scale) {
      const auto made = on->allocate(dtype::float32, {count});
      for (std::int64_t i = 0; i < count; ++i)
        made.mutable_data<float>()[i] = scale * static_cast<float>(i % 97 + 1);
      return made;
    };
    const auto gradient = numbers(0.1f), value = numbers(0.2f), first = numbers(0.3f), second = numbers(0.4f);
    const auto value_aside = numbers(0), first_aside = numbers(0), second_aside = numbers(0);
    on->adamw({}, gradient, value, first, second, value_aside, first_aside, second_aside);
    on->adamw({}, gradient, value, first, second, value, first, second);
    CHECK(std::ranges::equal(value_aside.elements<float>(), value.elements<float>()));
    CHECK(std::ranges::equal(first_aside.elements<float>(), first.elements<float>()));
    CHECK(std::ranges::equal(second_aside.elements<float>(), second.elements<float>()));
  }
}

#if !defined(__SANITIZE_ADDRESS__)  // which needs address space of its own
TEST_CASE("more threads than the system gives are an error, and those that were started end") {
  rlimit before{};
  REQUIRE(getrlimit(RLIMIT_AS, &before) == 0);
  std::size_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  auto little = before;
  constexpr std::size_t a_few_stacks_bytes = 32 << 20;
  little.rlim_cur = pages * static_cast<std::size_t>(sysconf(_SC_PAGESIZE)) + a_few_stacks_bytes;
  REQUIRE(setrlimit(RLIMIT_AS, &little) == 0);
  std::string said;
  try {
    const cpu::team team(100);
  } catch (const system_error& fault) {
    said = fault.what();
  }
  REQUIRE(setrlimit(RLIMIT_AS, &before) == 0);
  CAPTURE(said);
  CHECK(said.starts_with("cannot start thread "));
  CHECK(said.find(" of 100: ") != std::string::npos);
}
#endif

TEST_CASE("streams at work in other threads change no byte") {
  struct alone {
    std::string name;
    kernel_case k;
    outcome expected;
  };
  std::vector<alone> cases;
  for_each_case(scale::large, 1, [&](const std::string& name, const kernel_case& k) {
    cases.push_back({name, k, run(k, *cpu_device().make_stream({.threads = 1}))});
  });
  // Each thread begins elsewhere, so that different kernels meet; doctest's macros would serialise them.
  std::vector<std::vector<bool>> same(3, std::vector<bool>(cases.size()));
  std::vector<std::thread> threads;
  for (std::size_t who = 0; who < same.size(); ++who) {
    threads.emplace_back([&, who] {
      const auto s = cpu_device().make_stream({.threads = static_cast<int>(who) + 1});
      for (std::size_t i = 0; i < cases.size(); ++i) {
        const std::size_t at = (i + who * cases.size() / same.size()) % cases.size();
        const outcome actual = run(cases[at].k, *s);
        same[who][at] = same_bytes(actual.forward, cases[at].expected.forward) &&
                        same_bytes(actual.backward, cases[at].expected.backward);
      }
    });
  }
  for (std::thread& thread : threads)
    thread.join();
  for (std::size_t who = 0; who < same.size(); ++who) {
    for (std::size_t i = 0; i < cases.size(); ++i) {
      CAPTURE(who);
      CAPTURE(cases[i].name);
      CHECK(same[who][i]);
    }
  }
}

}  // namespace troupe::tests
