/// Times the checkpoint of GPT-2 124M with AdamW's state, against the plainest way to move the same bytes.
///
///     build/bin/bench_checkpoint [FOLDER]
///
///     1.49 GB in 1 shard                    seconds    GB/s
///     save: write, hash, flush, publish       4.28    0.35
///     write and fsync through the cache      15.34    0.10
///     load: map, verify every byte            0.60    2.49
///     read the files twice                    3.27    0.46
///
/// (on a machine that was busy with other things). Medians of five rounds, in FOLDER (by default the current one), with
/// the files in the page cache when they are read. A save happens beside training: `troupe train --json` reports how
/// long a step waits for it.

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <string>
#include <vector>

#include <fcntl.h>
#include <unistd.h>

#include <fmt/format.h>

#include "models/transformer.hpp"
#include "runtime/checkpoint/store.hpp"
#include "runtime/error.hpp"
#include "tests/bench/median.hpp"

namespace {

namespace fs = std::filesystem;
using namespace troupe;

constexpr int rounds = 5;

template <class F>
double median_seconds(F f) {
  std::vector<double> seconds;
  for (int round = 0; round < rounds; ++round) {
    const auto begin = std::chrono::steady_clock::now();
    f();
    seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
  }
  return bench::median(std::move(seconds));
}

/// GPT-2 124M: each parameter and its two moments.
shard_snapshot make_part() {
  const auto model = make_transformer(
      {.vocabulary = 50257, .context = 1024, .layers = 12, .heads = 12, .channels = 768});
  shard_snapshot part;
  for (const auto& each : model.parameters())
    for (const char* state : {"", "@exp_avg", "@exp_avg_sq"}) {
      auto value = make_host_tensor(dtype::float32, each.extents);
      initialize(each, part.tensors.size(), value.mutable_elements<float>());
      part.tensors.push_back({each.name + state, value});
    }
  return part;
}

class descriptor {
 public:
  descriptor(const fs::path& file, int flags) : value_(::open(file.c_str(), flags, 0644)) {
    if (value_ < 0)
      throw system_error(file.string() + ": cannot be opened");
  }
  ~descriptor() { ::close(value_); }
  operator int() const noexcept { return value_; }

 private:
  int value_;
};

void read_through(const fs::path& file) {
  static std::vector<char> block(std::size_t{4} << 20);
  const descriptor in(file, O_RDONLY);
  while (::read(in, block.data(), block.size()) > 0) {
  }
}

void write_through_cache(const fs::path& file, const shard_snapshot& part) {
  const descriptor out(file, O_WRONLY | O_CREAT | O_TRUNC);
  for (const auto& each : part.tensors)
    for (std::size_t done = 0; done < each.value.size_bytes();) {
      const auto written = ::write(out, each.value.bytes() + done, each.value.size_bytes() - done);
      if (written < 0)
        throw system_error(file.string() + ": cannot be written");
      done += static_cast<std::size_t>(written);
    }
  ::fsync(out);
}

}  // namespace

int main(int argc, char** argv) {
  const auto folder = fs::path(argc > 1 ? argv[1] : ".") / "bench_checkpoint.tmp";
  fs::remove_all(folder);
  checkpoint_store store(folder, {.keep = {.keep_count = 1}});
  const auto part = make_part();

  fs::path directory;
  std::size_t size_bytes = 0;
  std::uint64_t step = 0;
  const auto save = median_seconds([&] {
    size_bytes = store.write_shard(++step, part);
    directory = store.publish({.step = step, .epoch = 0, .shard_count = 1, .created = {}, .documents = {}});
  });
  const auto plain = median_seconds([&] { write_through_cache(folder / "plain", part); });
  fs::remove(folder / "plain");
  read_cut(directory);  // into the page cache
  const auto load = median_seconds([&] { read_cut(directory); });
  const auto twice = median_seconds([&] {
    for (int i = 0; i < 2; ++i)
      read_through(directory / "shard-0000.bin");
  });
  fs::remove_all(folder);

  const auto gigabytes = static_cast<double>(size_bytes) * 1e-9;
  fmt::print("{:<36} {:>8} {:>7}\n", fmt::format("{:.2f} GB in 1 shard", gigabytes), "seconds", "GB/s");
  const auto line = [&](const char* what, double seconds) {
    fmt::print("{:<36} {:>8.2f} {:>7.2f}\n", what, seconds, gigabytes / seconds);
  };
  line("save: write, hash, flush, publish", save);
  line("write and fsync through the cache", plain);
  line("load: map, verify every byte", load);
  line("read the files twice", twice);
}
