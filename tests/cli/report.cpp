#include "cli/report.hpp"

#include <cmath>
#include <limits>
#include <set>

#include <doctest/doctest.h>

#include "cli/command.hpp"
#include "cli/run_directory.hpp"
#include "runtime/error.hpp"
#include "tests/cli/files.hpp"

using namespace troupe;
using nlohmann::json;

namespace {

std::set<std::string> keys(const json& object) {
  std::set<std::string> result;
  for (const auto& [key, value] : object.items())
    result.insert(key);
  return result;
}

std::string fault_of(const std::filesystem::path& path, run_directory_mode mode) {
  try {
    run_directory(path, mode).open("key = 1\n");
  } catch (const usage_error& fault) {
    return std::string("usage: ") + fault.what();
  } catch (const input_error& fault) {
    return std::string("input: ") + fault.what();
  }
  return "";
}

}  // namespace

TEST_CASE("every line has the keys that readers rely on") {
  CHECK(keys(to_json(step_report{}, {})) ==
        std::set<std::string>{"kind", "step", "loss", "learning_rate", "gradient_norm", "tokens", "seconds",
                              "tokens_per_second", "peak_ratio", "staleness_max", "samples"});
  CHECK(keys(to_json(evaluation_report{})) ==
        std::set<std::string>{"kind", "step", "train_loss", "validation_loss", "seconds"});
  CHECK(keys(to_json(cut_report{})) ==
        std::set<std::string>{"kind", "step", "path", "size_bytes", "pause_seconds", "write_seconds"});
  CHECK(keys(to_json(child_event{})) == std::set<std::string>{"kind", "time", "supervisor", "actor", "incarnation",
                                                               "reason", "delay_seconds"});
  CHECK(to_json(child_event{})["kind"] == "started");
  CHECK(rollback_json(7)["step"] == 7);
  const auto restored = to_json(restore_report{2, 300, restore_source::neighbour});
  CHECK(restored["kind"] == "restored");
  CHECK(restored["actor"] == "shard/2");
  CHECK(restored["from"] == "neighbour");
  CHECK(warning_json("careful")["message"] == "careful");
}

TEST_CASE("the summary says all that two runs are compared by") {
  job_summary summary;
  summary.steps = 10;
  summary.tokens = 640;
  summary.last_loss = 2.0;
  summary.fingerprint = "0123";
  summary.best_evaluation = evaluation_report{};
  summary.best_evaluation->validation_loss = 1.75;
  shard_counters shard;
  shard.version = 10;
  shard.applied = {10, 10};
  shard.duplicates_dropped = 3;
  summary.shards = {shard};
  summary.restored = {{restore_source::own_memory, 2}, {restore_source::neighbour, 1}};
  const auto line = to_json(summary, {100.0, 0.5}, 1.5);
  CHECK(keys(line) == std::set<std::string>{"kind", "first_step", "steps", "tokens", "seconds", "tokens_per_second",
                                            "peak_ratio", "last_loss", "best_loss", "last_evaluation",
                                            "best_evaluation", "killed", "restarts", "rollbacks", "replays",
                                            "restored", "shards",
                                            "fingerprint", "interrupted", "last_cut", "peak_memory_bytes"});
  CHECK(line["kind"] == "summary");
  CHECK(line["best_loss"] == 1.5);
  CHECK(line["last_evaluation"].is_null());
  CHECK(line["best_evaluation"]["validation_loss"] == 1.75);
  CHECK(line["shards"][0]["applied"] == json::array({10, 10}));
  CHECK(line["shards"][0]["duplicates_dropped"] == 3);
  CHECK(line["restored"] == json{{"beginning", 0}, {"own_memory", 2}, {"neighbour", 1}, {"backup", 0}, {"survivor", 0}, {"disk", 0}});
  CHECK(line["peak_memory_bytes"] > 1'000'000);
}

TEST_CASE("a loss that is no number is null, so that lines stay JSON") {
  step_report report;
  report.loss = std::numeric_limits<double>::quiet_NaN();
  CHECK(json::parse(to_json(report, {}).dump())["loss"].is_null());
}

TEST_CASE("a run directory is never overwritten by accident") {
  const scratch_folder folder;
  const auto path = folder.path() / "runs" / "x";
  using mode = run_directory_mode;
  CHECK(fault_of(path, mode::resume).starts_with("input: " + path.string() + ": there is no run to resume"));
  CHECK(fault_of(path, mode::fresh) == "");
  CHECK(read_file(path / "config.toml") == "key = 1\n");
  CHECK(fault_of(path, mode::fresh)
          .starts_with("usage: " + path.string() + ": there is a run already\nhelp: --force"));

  {
    run_directory run(path, mode::resume);
    run.open("key = 2\n");
    CHECK(fault_of(path, mode::resume)
            .starts_with("usage: " + path.string() + ": another process is at work on this run\nhelp: wait"));
    CHECK(run.add_metric({{"kind", "step"}, {"step", 1}}));
    CHECK(run.add_event({{"kind", "started"}}));
    run.write_summary({{"kind", "summary"}});
    std::filesystem::create_directories(run.checkpoints() / "step-000000001");
  }
  CHECK(read_file(path / "config.toml") == "key = 2\n");
  {
    run_directory run(path, mode::resume);
    run.open("key = 3\n");
    run.add_metric({{"kind", "step"}, {"step", 2}});
  }
  CHECK(read_file(path / "metrics.jsonl") == "{\"kind\":\"step\",\"step\":1}\n{\"kind\":\"step\",\"step\":2}\n");

  CHECK(fault_of(path, mode::force) == "");
  CHECK(read_file(path / "metrics.jsonl") == "");
  CHECK_FALSE(std::filesystem::exists(path / "checkpoints"));
  CHECK_FALSE(std::filesystem::exists(path / "summary.json"));
}

TEST_CASE("what a start leaves that could not write its configuration is no obstacle to the next") {
  for (const auto mode : {run_directory_mode::fresh, run_directory_mode::force}) {
    const scratch_folder folder;
    write_file(folder, "events.jsonl", "");
    write_file(folder, ".writing-config.toml", "key");
    CHECK(fault_of(folder.path(), mode) == "");
    CHECK(read_file(folder.path() / "config.toml") == "key = 1\n");
    CHECK_FALSE(std::filesystem::exists(folder.path() / ".writing-config.toml"));
  }
  const scratch_folder folder;
  write_file(folder, "events.jsonl", "somebody's own");
  CHECK(fault_of(folder.path(), run_directory_mode::force).find("not a run directory") != std::string::npos);
}

TEST_CASE("a folder that is no run is left alone, by force too") {
  const scratch_folder folder;
  write_file(folder, "precious.txt", "data");
  for (const auto mode : {run_directory_mode::fresh, run_directory_mode::force}) {
    CHECK(fault_of(folder.path(), mode).find("this exists and is not a run directory") != std::string::npos);
    CHECK(fault_of(folder.path() / "precious.txt", mode).find("not a run directory") != std::string::npos);
  }
  CHECK(read_file(folder.path() / "precious.txt") == "data");
}
