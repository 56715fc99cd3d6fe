/// Times a device's kernels one by one, at the shapes that they have in whole training steps.
///
///     build/bin/bench_kernels [CONFIGURATION...] [--device cuda] [--precision bfloat16] [--threads N]
///                             [--seconds S]
///
///     gpt2-124m-64: cpu, 1 thread, peak 238 GFLOP/s, memory 11.9 GB/s
///     kernel                        calls        us   GFLOP/s    GB/s  of floor  of step
///     linear_forward 768>2304          12    4951.3     182.9             76.8%     4.1%
///
/// The floor of a product is the measured FMA peak, of a GPU its rate for large products, of everything else the bandwidth
/// of the device's memory for a copy (what stays in the caches beats it). For bfloat16 and TF32, whose peak is another,
/// the rate of large products is measured in them. `of step` is the kernel's share of the sum of all calls of a step. Printed are the
/// best of many runs, by the clock of the thread where there is one: other processes disturb that least.

#include <time.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "runtime/tensor/cpu/peak.hpp"
#include "runtime/tensor/device_module.hpp"

namespace troupe {

namespace {

struct configuration {
  std::string name;
  std::int64_t layers, heads, channels, context, batch, vocabulary;
};

const std::vector<configuration> configurations{
    {"shakespeare-cpu", 4, 4, 128, 64, 12, 65},
    {"shakespeare-gpu", 6, 6, 384, 256, 12, 65},
    {"gpt2-124m-64", 12, 12, 768, 64, 4, 50257},
    {"gpt2-124m-256", 12, 12, 768, 256, 4, 50257},
    {"gpt2-124m-1024", 12, 12, 768, 1024, 32, 50304},
    {"gpt2-350m-1024", 24, 16, 1024, 1024, 16, 50304},
    {"gpt2-774m-1024", 36, 20, 1280, 1024, 12, 50304},
    {"gpt2-1.5b-1024", 48, 25, 1600, 1024, 8, 50304},
};
/// Those that are run where none is named: the others are for GPUs.
constexpr std::size_t configurations_unasked = 4;

struct kernel {
  std::string name;
  std::int64_t calls;  ///< in one step
  double flops;        ///< of one call; 0: bound by memory
  double bytes;        ///< that one call reads and writes, each once
  std::function<void()> run;
};

class bench {
 public:
  bench(const std::string& device, precision_kind precision, int threads, double seconds)
      : device_(find_device(device)),
        threads_(threads),
        seconds_(seconds),
        stream_(device_.make_stream({threads, precision})) {}

  stream& on() { return *stream_; }

  double peak() {
    if (device_.is_host())
      return measure_fma_peak(threads_);
    constexpr std::int64_t side = 8192;
    const tensor a = filled({side, side}), b = filled({side, side}), c = filled({side, side});
    return 2.0 * static_cast<double>(side * side * side) / best_seconds([&] { on().matmul(a, b, c); });
  }

  /// A tensor of small values, of the stream's compute type.
  tensor filled(shape extents) {
    const tensor values = accumulated(extents);
    if (stream_->compute_type() == values.type())
      return values;
    const tensor rounded = stream_->allocate(extents);
    stream_->cast(values, rounded);
    return rounded;
  }

  /// Likewise of its accumulation type.
  tensor accumulated(shape extents) {
    const tensor t = make_host_tensor(dtype::float32, extents);
    float value = 0.5f;
    for (float& element : t.mutable_elements<float>()) {
      value = value > 0.9f ? -0.9f : value + 0.137f;
      element = value;
    }
    return stream_->to_device(t);
  }

  tensor tokens(std::int64_t count, std::int64_t vocabulary) {
    const tensor t = make_host_tensor(dtype::int32, {count});
    std::int64_t token = 0;
    for (auto& element : t.mutable_elements<std::int32_t>())
      element = static_cast<std::int32_t>(token = (token * 7919 + 104729) % vocabulary);
    return stream_->to_device(t);
  }

  double best_seconds(const std::function<void()>& run) const {
    const int calls = device_.is_host() ? 1 : 20;  // enqueued together, as in a step: waiting takes longer than most kernels
    double best = 1e9, spent = 0.0;
    for (int turn = 0; turn < 3 || (spent < seconds_ && turn < 10000); ++turn) {
      stream_->synchronize();
      const double before = now();
      for (int call = 0; call < calls; ++call)
        run();
      stream_->synchronize();
      const double took = now() - before;
      best = std::min(best, took / calls);
      spent += took;
    }
    return best;
  }

 private:
  double now() const {
    timespec t;
    clock_gettime(device_.is_host() && threads_ == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &t);
    return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
  }

  device& device_;
  int threads_;
  double seconds_;
  std::unique_ptr<stream> stream_;
};

/// Every kernel of one step of a GPT-2, with how often the step calls it.
std::vector<kernel> kernels_of(const configuration& c, bench& b) {
  stream& s = b.on();
  const auto rows = c.batch * c.context, channels = c.channels;
  std::vector<kernel> all;
  // `moved`: what a call reads and writes, each as often as it does.
  const auto add = [&](std::string name, std::int64_t calls, double flops, const std::vector<tensor>& moved,
                       std::function<void()> run) {
    double bytes = 0.0;
    for (const tensor& each : moved)
      bytes += static_cast<double>(each.size_bytes());
    all.push_back({std::move(name), calls, flops, bytes, std::move(run)});
  };
  const tensor weight = b.filled({channels}), bias = b.filled({channels}), x = b.filled({rows, channels});
  const tensor y = b.filled({rows, channels}), z = b.filled({rows, channels});
  const tensor mean = b.accumulated({rows}), rstd = b.accumulated({rows});
  const tensor dweight = b.accumulated({channels}), dbias = b.accumulated({channels});
  const auto n = static_cast<double>(x.count());

  struct projection {
    std::int64_t in, out;
    bool activates = false, was_activated = false;  // what it makes, what it takes
  };
  for (const auto& [in, out, activates, was_activated] :
       {projection{channels, 3 * channels}, {channels, channels}, {channels, 4 * channels, true},
        {4 * channels, channels, false, true}}) {
    const tensor input = b.filled({rows, in}), matrix = b.filled({out, in}), offsets = b.filled({out});
    const tensor result = b.filled({rows, out}), active = activates ? b.filled({rows, out}) : tensor{};
    const tensor dinput = b.filled({rows, in}), dmatrix = b.accumulated({out, in}), doffsets = b.accumulated({out});
    const auto flops = 2.0 * static_cast<double>(rows * in * out);
    const auto label = fmt::format("{}>{}", in, out);
    if (activates)
      add("linear_gelu_forward " + label, c.layers, flops, {input, matrix, result, active}, [=, &s] {
        s.linear_activation_forward(activation::gelu_tanh, input, matrix, offsets, result, active);
      });
    else
      add("linear_forward " + label, c.layers, flops, {input, matrix, result},
          [=, &s] { s.linear_forward(input, matrix, offsets, result); });
    if (was_activated)
      add("linear_gelu_backward " + label + " x", c.layers, flops, {result, matrix, input, dinput}, [=, &s] {
        s.linear_activation_backward(activation::gelu_tanh, input, result, input, matrix, dinput, {}, {});
      });
    else
      add("linear_backward " + label + " x", c.layers, flops, {result, matrix, dinput},
          [=, &s] { s.linear_backward(result, input, matrix, dinput, {}, {}); });
    add("linear_backward " + label + " w", c.layers, flops, {result, input, dmatrix, dmatrix},
        [=, &s] { s.linear_backward(result, input, matrix, {}, dmatrix, {}); });
    add("linear_backward " + label + " b", c.layers, 0.0, {result},
        [=, &s] { s.linear_backward(result, input, matrix, {}, {}, doffsets); });
  }

  const attention_shape geometry{c.batch, c.context, c.heads, c.heads, channels / c.heads};
  const tensor qkv = b.filled({rows, 3 * channels}), dqkv = b.filled({rows, 3 * channels});
  const tensor sums = b.accumulated({c.batch, c.heads, c.context});
  s.attention_forward(geometry, {}, qkv, y, sums);
  // Counted whole, as in `flops_per_token`, though causal kernels skip nearly half.
  const auto scores = 4.0 * n * static_cast<double>(c.context);
  add("attention_forward", c.layers, scores, {qkv, y}, [=, &s] { s.attention_forward(geometry, {}, qkv, y, sums); });
  add("attention_backward", c.layers, 2.0 * scores, {qkv, y, x, dqkv},
      [=, &s] { s.attention_backward(geometry, {}, qkv, y, sums, x, dqkv); });

  add("layer_norm_forward", c.layers + 1, 0.0, {x, z},
      [=, &s] { s.layer_norm_forward(x, {}, weight, bias, 1e-5, x, z, mean, rstd); });
  add("layer_norm_forward sum", c.layers, 0.0, {x, z, y, z},
      [=, &s] { s.layer_norm_forward(x, z, weight, bias, 1e-5, y, z, mean, rstd); });
  add("layer_norm_backward", 2 * c.layers + 1, 0.0, {z, x, y, z},
      [=, &s] { s.layer_norm_backward(z, x, weight, mean, rstd, y, z, dweight, dbias); });
  add("scaled_add", c.layers, 0.0, {x, z, z}, [=, &s] { s.scaled_add(1.0, x, 1.0, z, z); });

  const tensor table = b.filled({c.vocabulary, channels}), dtable = b.accumulated({c.vocabulary, channels});
  const tensor ids = b.tokens(rows, c.vocabulary), losses = b.accumulated({rows});
  add("embedding_forward", 1, 0.0, {z, z}, [=, &s] { s.embedding_forward(ids, c.context, 0, table, {}, z); });
  const tensor touched = dtable.slice(0, {std::min(rows, c.vocabulary), channels});
  add("embedding_backward", 1, 0.0, {z, touched, touched}, [=, &s] { s.embedding_backward(ids, c.context, z, dtable, {}); });
  add("linear_cross_entropy", 1, 6.0 * n * static_cast<double>(c.vocabulary),
      {x, z, table, dtable, dtable},
      [=, &s] { s.linear_cross_entropy(x, table, ids, losses, z, dtable); });

  const auto parameters = 12 * c.layers * channels * channels + c.vocabulary * channels;
  const tensor value = b.accumulated({parameters}), gradient = b.accumulated({parameters});
  const tensor first = b.accumulated({parameters}), second = b.accumulated({parameters}), squares = s.allocate(dtype::float64, {1});
  s.activation_forward(activation::relu, second, second);
  if (s.compute_type() != s.accumulation_type()) {
    const tensor rounded = s.allocate({parameters});
    add("cast_all", 1, 0.0, {value, rounded}, [=, &s] { s.cast_all({&value, 1}, {&rounded, 1}); });
  }
  add("zero", 1, 0.0, {gradient}, [=, &s] { s.zero(gradient); });
  add("sum_of_squares", 1, 0.0, {gradient}, [=, &s] { s.sum_of_squares(gradient, squares); });
  add("adamw", 1, 0.0, {gradient, value, first, second, value, first, second}, [=, &s] { s.adamw({}, gradient, value, first, second, value, first, second); });
  return all;
}

void report(const configuration& c, const std::string& device, precision_kind precision, int threads, double seconds) {
  bench b(device, precision, threads, seconds);
  const auto peak = b.peak();
  const tensor from = b.filled({1 << 26}), to = b.filled({1 << 26});
  const auto bandwidth = 2.0 * static_cast<double>(from.size_bytes()) / b.best_seconds([&] { b.on().copy(from, to); });
  fmt::print("{}: {}, {} thread{}, peak {:.0f} GFLOP/s, memory {:.1f} GB/s\n{:<30} {:>6} {:>10} {:>9} {:>7} {:>9} {:>8}\n",
             c.name, device, threads, threads == 1 ? "" : "s", peak / 1e9, bandwidth / 1e9, "kernel", "calls", "us", "GFLOP/s",
             "GB/s", "of floor", "of step");
  const auto kernels = kernels_of(c, b);
  std::vector<double> times;
  double step = 0.0, flops = 0.0;
  for (const auto& each : kernels) {
    times.push_back(b.best_seconds(each.run));
    step += times.back() * static_cast<double>(each.calls);
    flops += each.flops * static_cast<double>(each.calls);
  }
  for (std::size_t i = 0; i < kernels.size(); ++i) {
    const auto& each = kernels[i];
    const bool computes = each.flops > 0.0;
    const auto rate = (computes ? each.flops : each.bytes) / times[i];
    fmt::print("{:<30} {:>6} {:>10.1f} {:>9} {:>7} {:>8.1f}% {:>7.1f}%\n", each.name, each.calls, 1e6 * times[i],
               computes ? fmt::format("{:.1f}", rate / 1e9) : "", computes ? "" : fmt::format("{:.1f}", rate / 1e9),
               100.0 * rate / (computes ? peak : bandwidth),
               100.0 * times[i] * static_cast<double>(each.calls) / step);
  }
  fmt::print("{:<30} {:>6} {:>10.1f} {:>9.1f} {:>7} {:>8.1f}%\n\n", "all", "", 1e6 * step, flops / step / 1e9, "",
             100.0 * flops / step / peak);
}

int run(int argc, char** argv) {
  std::vector<configuration> chosen;
  std::string device = "cpu";
  auto precision = precision_kind::float32;
  int threads = 1;
  double seconds = 0.2;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    const auto found = std::find_if(configurations.begin(), configurations.end(),
                                    [&](const configuration& c) { return c.name == word; });
    if (word == "--threads" && i + 1 < argc) {
      threads = std::max(1, std::atoi(argv[++i]));
    } else if (word == "--device" && i + 1 < argc) {
      device = argv[++i];
    } else if (word == "--precision" && i + 1 < argc) {
      const std::string name = argv[++i];
      precision = name == "bfloat16" ? precision_kind::bfloat16
                  : name == "tf32"   ? precision_kind::tf32
                                     : precision_kind::float32;
    } else if (word == "--seconds" && i + 1 < argc) {
      seconds = std::atof(argv[++i]);
    } else if (found != configurations.end()) {
      chosen.push_back(*found);
    } else {
      fmt::print(stderr, "error: '{}' is no option and no configuration\n", word);
      return 2;
    }
  }
  if (chosen.empty())
    chosen.assign(configurations.begin(), configurations.begin() + configurations_unasked);
  try {
    if (!find_device(device).supports(precision)) {
      fmt::print(stderr, "error: the device '{}' does not compute in that precision\n", device);
      return 2;
    }
  } catch (const std::exception& fault) {
    fmt::print(stderr, "error: {}\n", fault.what());
    return 1;
  }
  for (const auto& each : chosen)
    report(each, device, precision, threads, seconds);
  return 0;
}

}  // namespace

}  // namespace troupe

int main(int argc, char** argv) { return troupe::run(argc, argv); }
