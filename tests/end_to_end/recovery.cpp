/// The promises across processes: killed with SIGKILL at random moments and resumed, with a damaged checkpoint, with
/// other numbers of shards and threads.

#include <chrono>
#include <random>
#include <thread>

#include "tests/end_to_end/cluster_run.hpp"
#include "tests/seeds.hpp"

using namespace troupe;
using nlohmann::json;

namespace {

const arguments base{"train",           "small.toml",           "--json",           "training.steps=3000",
                     "training.lanes=2", "checkpoint.every=100", "evaluation.every=1000", "schedule.kind=constant"};

arguments with(const arguments& more) { return base + more; }

json summary_of(const result& ended) {
  CAPTURE(ended.err);
  REQUIRE(ended.code == 0);
  return lines_of(ended.out).back();
}

std::filesystem::path checkpoints(const scratch_folder& folder) {
  return folder.path() / "runs" / "small" / "checkpoints";
}

std::vector<std::filesystem::path> cuts(const scratch_folder& folder) {
  std::vector<std::filesystem::path> found;
  std::error_code none_yet;
  for (const auto& entry : std::filesystem::directory_iterator(checkpoints(folder), none_yet))
    if (entry.path().filename().string().starts_with("step-"))
      found.push_back(entry.path());
  std::sort(found.begin(), found.end());
  return found;
}

/// Runs to the end whatever happens: kills the process up to `kills` times at random moments after its first cut.
json run_under_fire(const scratch_folder& folder, const arguments& words, int kills, std::mt19937_64& random) {
  for (int killed = 0;; ++killed) {
    auto all = words;
    if (killed > 0)
      all.push_back("--resume");
    const process child(folder, all);
    if (killed < kills) {
      for (int i = 0; i < 2'000 && cuts(folder).empty(); ++i)
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
      REQUIRE(!cuts(folder).empty());
      std::this_thread::sleep_for(std::chrono::milliseconds(random() % 150));
      child.signal(SIGKILL);
    }
    const int code = child.wait();
    if (code == 0)
      return lines_of(child.out()).back();
    CAPTURE(child.err());
    REQUIRE(code == 1000 + SIGKILL);
  }
}

}  // namespace

TEST_CASE("sync: killed with SIGKILL again and again, the parameters are the same, for any number of shards and threads") {
  std::string print;
  for (const arguments& how : std::vector<arguments>{{}, {"runtime.shards=2"}, {"runtime.shards=5", "runtime.threads=2"}}) {
    const scratch_folder folder;
    prepare(folder);
    const auto calm = summary_of(run(folder, with(how)));
    require_exactly_once(calm, 3000);
    if (print.empty())
      print = calm["fingerprint"];
    CHECK(calm["fingerprint"] == print);
  }
  for_each_seed(3, [&](std::uint64_t seed) {
    const scratch_folder folder;
    prepare(folder);
    std::mt19937_64 random(seed);
    const auto stormy = run_under_fire(folder, with({fmt::format("runtime.shards={}", 1 + seed % 3)}), 3, random);
    CHECK(stormy["fingerprint"] == print);
    require_exactly_once(stormy, 3000);
  });
}

TEST_CASE("bounded and async: killed with SIGKILL and by chaos, every gradient has effect once") {
  for_each_seed(1, [](std::uint64_t seed) {
    for (const std::string mode : {"bounded", "async"}) {
      CAPTURE(mode);
      const scratch_folder folder;
      prepare(folder);
      std::mt19937_64 random(seed);
      const auto ended = run_under_fire(
          folder, with({"consistency.mode=" + mode, "runtime.shards=3", "--chaos", "random:0.002"}), 2, random);
      CHECK(ended["steps"] == 3000);
      require_exactly_once(ended, 3000);
    }
  });
}

TEST_CASE("a damaged checkpoint is passed over with a message, and the result is the same") {
  const scratch_folder folder;
  prepare(folder);
  const auto calm = summary_of(run(folder, with({"--run-dir", "calm"})));
  summary_of(run(folder, with({"training.steps=1000"})));
  const auto newest = cuts(folder).back();
  REQUIRE(cuts(folder).size() >= 2);
  const auto shard = newest / "shard-0000.bin";
  SUBCASE("a flipped bit") {
    std::fstream file(shard, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(5'000);
    const auto byte = static_cast<char>(file.peek() ^ 1);
    file.seekp(5'000);
    file.put(byte);
  }
  SUBCASE("cut short") { std::filesystem::resize_file(shard, std::filesystem::file_size(shard) / 2); }
  SUBCASE("without its manifest") { std::filesystem::remove(newest / "manifest.bin"); }
  const auto resumed = run(folder, with({"--resume"}));
  CHECK(resumed.err.find(newest.filename().string()) != std::string::npos);
  const auto summary = summary_of(resumed);
  CHECK(summary["first_step"] < 1000);
  CHECK(summary["fingerprint"] == calm["fingerprint"]);
}
