// Attention by cuDNN, where it takes it, and by the device's own kernels elsewhere: against float64, and by whom.

#include <doctest/doctest.h>

#include <algorithm>

#include "emulated.hpp"
#include "tests/runtime/tensor/kernel_run.hpp"

namespace troupe::tests {

namespace {

constexpr double bfloat16_error = 1e-2;

/// While it lives, new streams find this library; on a real device its own.
class with_cudnn {
 public:
  explicit with_cudnn(const char* told = "") {
    if (!emulated_failure())
      return;
    library_.emplace("TROUPE_CUDNN_LIBRARY", EMULATED_CUDNN_LIBRARY);
    told_.emplace("EMULATED_CUDNN", told);
  }

 private:
  std::optional<variable> library_, told_;
};

std::unique_ptr<stream> new_stream() { return find_device("cuda").make_stream({.precision = precision_kind::bfloat16}); }

/// How many graphs the stand-in has computed.
long computed() {
  void* const library = dlopen(EMULATED_CUDNN_LIBRARY, RTLD_NOW | RTLD_LOCAL);
  return *static_cast<long*>(dlsym(library, "emulated_cudnn_computed"));
}

kernel_case case_of(const attention_shape& geometry, double dropout = 0.0, bool anywhere = false) {
  dice roll(static_cast<std::uint64_t>(geometry.time), scale::medium);
  return attention(roll, geometry, dropout, anywhere);
}

/// What both passes write.
std::vector<written> run(kernel_case k, stream& on) {
  auto all = run_forward(k, on);
  complete(k, on);
  std::ranges::move(run_backward(k, on), std::back_inserter(all));
  return all;
}
std::vector<written> run(kernel_case k) { return run(std::move(k), *new_stream()); }

kernel_case in_sections(kernel_case k) {
  k.forward = [whole = k.forward](stream& s, const tensors& t) {
    s.begin_section(0);
    whole(s, t);
    s.end_section();
  };
  k.backward = [whole = k.backward](stream& s, const tensors& t, const tensors& d) {
    s.begin_section(1);
    whole(s, t, d);
    s.end_section();
  };
  return k;
}

bool same_bytes(const std::vector<written>& a, const std::vector<written>& b) {
  return std::ranges::equal(a, b, {}, &written::bytes, &written::bytes);
}

constexpr attention_shape common{.batch = 2, .time = 37, .heads = 4, .kv_heads = 2, .head_size = 16};

}  // namespace

TEST_CASE("attention by cuDNN agrees with the reference, and repeats to the bit") {
  const with_cudnn library;
  for (const attention_shape& geometry : {common, attention_shape{1, 2, 1, 1, 8}, attention_shape{2, 64, 3, 3, 64},
                                          attention_shape{1, 67, 6, 1, 40}, attention_shape{3, 33, 4, 2, 128},
                                          attention_shape{1, 150, 2, 1, 72}, attention_shape{2, 7, 3, 1, 104}}) {
    CAPTURE(geometry.time);
    CAPTURE(geometry.head_size);
    check_agreement(case_of(geometry), *new_stream(), bfloat16_error);
    const auto once = run(case_of(geometry));
    CHECK(same_bytes(run(case_of(geometry)), once));
    const auto on = find_device("cuda").make_stream({.precision = precision_kind::bfloat16, .graphs = true});
    for (int round = 0; round < 3; ++round)
      CHECK(same_bytes(run(in_sections(case_of(geometry)), *on), once));
  }
}

TEST_CASE("cuDNN computes attention in bfloat16 without dropout, for heads and times that it takes, and nothing else") {
  if (!emulated_failure())
    return;
  const with_cudnn library;
  const auto graphs = [](const kernel_case& k, precision_kind precision = precision_kind::bfloat16) {
    const auto before = computed();
    check_agreement(k, *find_device("cuda").make_stream({.precision = precision}),
                    precision == precision_kind::bfloat16 ? bfloat16_error : 0.0);
    return computed() - before;
  };
  CHECK(graphs(case_of(common)) == 2);
  CHECK(graphs(case_of(common, 0.3)) == 0);
  CHECK(graphs(case_of(common, 0.0, true)) == 0);  // tensors that begin anywhere
  CHECK(graphs(case_of(common), precision_kind::float32) == 0);
  CHECK(graphs(case_of({2, 1, 4, 2, 16})) == 0);
  CHECK(graphs(case_of({2, 37, 4, 2, 20})) == 0);
  CHECK(graphs(case_of({2, 37, 4, 2, 136})) == 0);
}

TEST_CASE("where there is no cuDNN, or it does not take both passes, the device's own kernels compute") {
  if (!emulated_failure())
    return;
  const auto own = [] {
    const variable off("TROUPE_CUDNN_LIBRARY", "off");
    return run(case_of(common));
  }();
  const auto is_own = [&] {
    const auto before = computed();
    return same_bytes(run(case_of(common)), own) && computed() == before;
  };
  {
    const variable missing("TROUPE_CUDNN_LIBRARY", "/nowhere/libcudnn.so"), none("EMULATED_CUDNN", "");
    CHECK(is_own());
  }
  for (const auto* told : {"old", "refuses", "refuses-backward", "greedy"}) {
    CAPTURE(told);
    const with_cudnn library(told);
    CHECK(is_own());
  }
  const with_cudnn library;
  CHECK_FALSE(is_own());
}

TEST_CASE("a device's arithmetic names cuDNN where it computes, and the device says why where it does not") {
  if (!emulated_failure())
    return;
  const auto& module = cuda_module();
  const auto says = [&](const std::string& arithmetic, const std::string& attention) {
    CHECK(module.arithmetic(0).find(arithmetic) != std::string::npos);
    CHECK_MESSAGE(module.attention(0).find(attention) != std::string::npos, module.attention(0));
  };
  {
    const with_cudnn library;
    says(", cuDNN 9.19.0", "cuDNN 9.19.0");
  }
  {
    const with_cudnn library("old");
    says(", no cuDNN", "is cuDNN 9.15.1, expected 9.16");
  }
  {
    const with_cudnn library("refuses");
    says(", no cuDNN", "cuDNN 9.19.0: it has no kernel for this");
  }
  const variable missing("TROUPE_CUDNN_LIBRARY", "/nowhere/libcudnn.so");
  says(", no cuDNN", "own kernels: there is no cuDNN: /nowhere/libcudnn.so");
  const variable off("TROUPE_CUDNN_LIBRARY", "off");
  says(", no cuDNN", "own kernels: TROUPE_CUDNN_LIBRARY is off");
}

TEST_CASE("cuDNN that fails to enqueue is an error that says so") {
  if (!emulated_failure())
    return;
  const with_cudnn library("breaks");
  CHECK_THROWS_WITH_AS(run(case_of(common)),
                       "cuDNN 9.19.0: enqueueing a kernel: CUDNN_STATUS_EXECUTION_FAILED a stand-in breaks", device_error);
}

}  // namespace troupe::tests
