#include "tests/command_process.hpp"

using namespace troupe;

TEST_CASE("memory: what --dry-run predicts is what a run takes, within a tenth") {
  using words = std::vector<std::string>;
  const words large{"train", "small.toml", "--json", "training.steps=3", "model.context=64", "model.channels=512",
                    "model.heads=8", "model.layers=6", "evaluation.every=2", "checkpoint.every=2", "checkpoint.flush=false",
                    "schedule.kind=constant", "runtime.threads=2"};
  const words variants[] = {
    {"training.batch=4"},
    {"training.batch=64", "optimizer.kind=sgd"},
    {"training.batch=64", "optimizer.kind=sgd", "training.recompute=all"},
    {"training.batch=8", "training.lanes=2", "runtime.shards=3", "runtime.threads=1"},
  };
  for (const auto& variant : variants) {
    CAPTURE(fmt::format("{}", fmt::join(variant, " ")));
    const scratch_folder folder;
    prepare(folder);
    auto call = large;
    call.insert(call.end(), variant.begin(), variant.end());
    auto ask = call;
    ask.push_back("--dry-run");
    const auto predicted = lines_of(run(folder, ask).out).back()["memory_bytes"].get<double>();
    const auto ended = run(folder, call);
    INFO(ended.err);
    REQUIRE(ended.code == 0);
    const auto taken = lines_of(ended.out).back()["peak_memory_bytes"].get<double>();
    CHECK(predicted == doctest::Approx(taken).epsilon(0.1));
  }
}
