/// What a cluster costs and what a lost node costs, measured on the real command and real processes of this machine.
///
///     build/bin/bench_cluster [recovery] [drain] [goodput] [scaling] [--kills N] [--drains N] [--seconds S]
///                             [--python PATH] [--keep]
///
/// The model has 10.6 million parameters (6 layers, 384 channels); 3 nodes, 3 lanes, 3 shards, synchronous.
///
///     recovery   SIGKILL of a node at random, N times (20): from the signal to the next step that is completed after
///                its loss was noticed. The steps since the last cut are computed again.
///     drain      SIGTERM of a node, N times (10), of three and of two: until its process has exited, having handed over
///                what lived there
///     goodput    a node killed every 15 s for S seconds (300), replaced after 5 s: steps that lasted a second, beside
///                the undisturbed rate times the mean number of nodes that were up
///     scaling    tokens a second of two nodes of one thread each, beside one, of the same model and batch; the same in
///                PyTorch, by DistributedDataParallel over gloo, where PATH is a python3 that imports torch
///
/// Run it on a machine that does nothing else.

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "tests/bench/command_run.hpp"
#include "tests/bench/median.hpp"

namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using troupe::bench::clock_type;
using troupe::bench::line;
using troupe::bench::median;
using troupe::bench::run;
using troupe::bench::words;

double seconds_since(clock_type::time_point begin) {
  return std::chrono::duration<double>(clock_type::now() - begin).count();
}

bool is_step(const json& line) { return line["kind"] == "step"; }
/// An actor on a node: supervisors and the checkpoint writer live beside the coordinator.
bool is_loss(const json& line) { return line["kind"] == "ended" && line["supervisor"] != "root"; }

struct bench {
  fs::path command, folder;
  std::string data;
  int kills = 20;
  std::size_t drains = 10;
  double seconds = 300.0;
  std::string python;       ///< that imports torch; empty: PyTorch takes no part
  std::string environment;  ///< of PyTorch's BLAS, which misdetects some processors
  std::mt19937_64 random{1};

  words arguments(const std::string& name, std::uint32_t nodes, const words& more) const {
    words all{"train", (folder / "run.toml").string(), "--json", "--run-dir", (folder / name).string(), "--nodes",
              std::to_string(nodes)};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }

  void prepare() {
    std::ofstream out(folder / "run.toml");
    out << "[model]\nlayers = 6\nheads = 6\nchannels = 384\ncontext = 64\nbias = false\n"
        << fmt::format("[data]\npath = \"{}\"\ntokenizer = \"bytes\"\ncache = \"{}\"\n", data, (folder / "cache").string())
        << "[training]\nsteps = 1000000\nbatch = 3\nlanes = 3\n[runtime]\nshards = 3\n[checkpoint]\nevery = 10\n"
           "keep_count = 2\n[evaluation]\nbatches = 0\n";
  }

  /// A run that is up: three nodes, ten steps.
  std::unique_ptr<run> start(const std::string& name, const words& more = {}) {
    auto started = std::make_unique<run>(command, folder, arguments(name, 3, more));
    std::size_t at = 0;
    for (int i = 0; i < 10; ++i)
      started->wait_for(at, is_step);
    return started;
  }

  void recovery(int replication) {
    const auto job = start(fmt::format("recovery-{}", replication), {fmt::format("runtime.replication={}", replication)});
    std::vector<double> times;
    for (int i = 0; i < kills; ++i) {
      for (int waited = 0; job->nodes().size() < 3 && waited < 600; ++waited)
        std::this_thread::sleep_for(std::chrono::milliseconds{100});
      std::this_thread::sleep_for(std::chrono::milliseconds{2'000 + random() % 2'000});  // joined, and moved to
      const auto nodes = job->nodes();
      auto at = job->size();
      const auto begin = clock_type::now();
      kill(nodes[random() % nodes.size()], SIGKILL);
      job->wait_for(at, is_loss);
      times.push_back(std::chrono::duration<double>(job->wait_for(at, is_step).at - begin).count());
    }
    const auto [best, worst] = std::minmax_element(times.begin(), times.end());
    std::size_t rollbacks = 0;
    std::vector<double> steps;
    for (const auto& each : job->lines()) {
      rollbacks += each.content["kind"] == "rollback";
      if (is_step(each.content))
        steps.push_back(each.content["seconds"].get<double>());
    }
    fmt::print("recovery, replication = {}: from SIGKILL to the next completed step {:.3f} s (median of {}; {:.3f} to "
               "{:.3f}); {} rolled back; a step takes {:.1f} ms\n",
               replication, median(times), times.size(), *best, *worst, rollbacks, median(steps) * 1e3);
    fmt::print("  each:");
    for (const auto time : times)
      fmt::print(" {:.3f}", time);
    fmt::print(" s\n");
  }

  void drain() {
    std::vector<double> times;
    std::size_t rollbacks = 0;
    while (times.size() < drains) {
      const auto job = start(fmt::format("drain-{}", times.size()));
      // Who leaves in peace is not replaced, and the last one finds nobody to hand its work to.
      for (auto nodes = job->nodes(); nodes.size() > 1 && times.size() < drains; nodes = job->nodes()) {
        std::this_thread::sleep_for(std::chrono::milliseconds{1'000 + random() % 1'000});
        const auto leaver = nodes[random() % nodes.size()];
        const auto begin = clock_type::now();
        kill(leaver, SIGTERM);
        const auto is_there = [&] {
          const auto now = job->nodes();
          return std::find(now.begin(), now.end(), leaver) != now.end();
        };
        while (is_there() && seconds_since(begin) < 60.0)
          std::this_thread::sleep_for(std::chrono::milliseconds{5});
        times.push_back(seconds_since(begin));
      }
      for (const auto& each : job->lines())
        rollbacks += each.content["kind"] == "rollback";
    }
    fmt::print("drain: from SIGTERM to exit {:.3f} s (median of {}; {:.3f} at worst); {} rolled back\n", median(times),
               times.size(), std::ranges::max(times), rollbacks);
  }

  void goodput() {
    double calm = 0.0;
    {
      const auto job = start("calm");
      const auto begin = job->size();
      std::this_thread::sleep_for(std::chrono::seconds{20});
      const auto lines = job->lines();
      std::vector<double> steps;
      for (std::size_t i = begin; i < lines.size(); ++i)
        if (is_step(lines[i].content))
          steps.push_back(std::chrono::duration<double>(lines[i].at.time_since_epoch()).count());
      calm = static_cast<double>(steps.size() - 1) / (steps.back() - steps.front());
    }
    const auto job = start("stormy", {"--replace-after", "5"});
    const auto step_now = [&] {
      const auto lines = job->lines();
      for (auto each = lines.rbegin(); each != lines.rend(); ++each)
        if (is_step(each->content))
          return each->content["step"].get<double>();
      return 0.0;
    };
    const auto begin = clock_type::now();
    const auto first = step_now();
    double up = 0.0;
    int killed = 0;
    auto last = begin;
    auto next_kill = begin + std::chrono::seconds{15};
    while (seconds_since(begin) < seconds) {
      std::this_thread::sleep_for(std::chrono::milliseconds{50});
      const auto now = clock_type::now();
      const auto nodes = job->nodes();
      up += static_cast<double>(nodes.size()) * std::chrono::duration<double>(now - last).count();
      last = now;
      if (now >= next_kill && !nodes.empty()) {
        kill(nodes[random() % nodes.size()], SIGKILL);
        ++killed;
        next_kill += std::chrono::seconds{15};
      }
    }
    const auto spent = seconds_since(begin);
    const auto steps = step_now() - first;
    std::size_t computed = 0, rollbacks = 0;
    for (const auto& each : job->lines()) {
      computed += is_step(each.content) && each.at > begin;
      rollbacks += each.content["kind"] == "rollback";
    }
    const auto mean_nodes = up / spent;
    fmt::print("goodput: {:.2f} steps a second that lasted, {:.2f} undisturbed; {} killed, {} rolled back, {:.0f} of {} "
               "steps lost, {:.2f} nodes up on average\n",
               steps / spent, calm, killed, rollbacks, static_cast<double>(computed) - steps, computed, mean_nodes);
    fmt::print("goodput: {:.1f} % of the undisturbed rate, {:.1f} % of what that many nodes would give\n",
               100.0 * steps / spent / calm, 100.0 * steps / spent / (calm * std::min(1.0, mean_nodes / 3.0)));
  }

  /// Tokens a second of the same model and batch in PyTorch, by processes of one thread each.
  double pytorch_rate(int processes) const {
    std::string all = "export MASTER_ADDR=127.0.0.1 MASTER_PORT=29712 OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1;";
    for (int rank = processes - 1; rank >= 0; --rank)
      all += fmt::format("{} WORLD_SIZE={} RANK={} taskset -c {} {} {}/tests/bench/pytorch_training.py 6 6 384 256 12 257 0 "
                         "15 {} ",
                         environment, processes, rank, rank, python, TROUPE_SOURCE_DIR, rank > 0 ? "&" : "; wait");
    auto* pipe = popen(all.c_str(), "r");
    double seconds = 0.0;
    const bool good = pipe && std::fscanf(pipe, "%lf", &seconds) == 1;
    if (pipe)
      pclose(pipe);
    if (!good)
      throw std::runtime_error("PyTorch failed: " + all);
    return 12.0 * 256.0 / seconds;
  }

  void scaling() {
    const words large{"model.context=256", "training.batch=12", "checkpoint.every=0"};
    const auto rate = [&](const std::string& name, std::uint32_t nodes) {
      auto more = large;
      more.push_back(fmt::format("training.lanes={}", nodes));
      more.push_back(fmt::format("runtime.shards={}", nodes));
      run job(command, folder, arguments(name, nodes, more));
      std::size_t at = 0;
      std::vector<double> times;
      for (int i = 0; i < 14; ++i) {
        const auto next = job.wait_for(at, is_step);
        if (i >= 3)
          times.push_back(next.content["seconds"].get<double>());
      }
      return 12.0 * 256.0 / median(times);
    };
    std::vector<double> ratios, one, two;
    for (int round = 0; round < 3; ++round) {
      one.push_back(rate(fmt::format("one-{}", round), 1));
      two.push_back(rate(fmt::format("two-{}", round), 2));
      ratios.push_back(two.back() / one.back());
    }
    if (!python.empty()) {
      std::vector<double> alone, ddp;
      for (int round = 0; round < 3; ++round) {
        alone.push_back(pytorch_rate(1));
        ddp.push_back(pytorch_rate(2));
      }
      fmt::print("scaling: PyTorch, one process of one thread {:.0f} tok/s, DistributedDataParallel over gloo with two "
                 "{:.0f} tok/s: {:.2f} times\n",
                 median(alone), median(ddp), median(ddp) / median(alone));
    }
    fmt::print("scaling: one node of one thread {:.0f} tok/s, two {:.0f} tok/s: {:.2f} times as fast (median of 3)\n",
               median(one), median(two), median(ratios));
  }
};

}  // namespace

int main(int argc, char** argv) {
  std::setvbuf(stdout, nullptr, _IOLBF, 0);  // each figure as it comes, to a file as well
  bench all;
  all.command = fs::read_symlink("/proc/self/exe").parent_path() / "troupe";
  std::string text = "/tmp/troupe-bench-XXXXXX";
  all.folder = mkdtemp(text.data());
  all.data = all.command.string();  // bytes are bytes
  words chosen;
  bool keep = false;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "--kills" && i + 1 < argc)
      all.kills = std::stoi(argv[++i]);
    else if (word == "--drains" && i + 1 < argc)
      all.drains = std::stoul(argv[++i]);
    else if (word == "--seconds" && i + 1 < argc)
      all.seconds = std::stod(argv[++i]);
    else if (word == "--python" && i + 1 < argc)
      all.python = argv[++i];
    else if (word == "--keep")
      keep = true;
    else
      chosen.push_back(word);
  }
  if (system("grep -q avx512f /proc/cpuinfo") == 0)
    all.environment = "OPENBLAS_CORETYPE=SKYLAKEX ATEN_CPU_CAPABILITY=avx512";
  all.prepare();
  const auto wanted = [&](const char* name) {
    return chosen.empty() || std::find(chosen.begin(), chosen.end(), name) != chosen.end();
  };
  try {
    if (wanted("recovery"))
      for (const int replication : {1, 2})
        all.recovery(replication);
    if (wanted("drain"))
      all.drain();
    if (wanted("scaling"))
      all.scaling();
    if (wanted("goodput"))
      all.goodput();
  } catch (const std::exception& fault) {
    fmt::print(stderr, "error: {}\nhelp: {}\n", fault.what(), (all.folder / "log").string());
    return 1;
  }
  if (!keep)
    fs::remove_all(all.folder);
  return 0;
}
