/// The run file examples/tiny_shakespeare.toml as it stands, to its end, on the text it is for.

#include "tests/command_process.hpp"

using namespace troupe;

TEST_CASE("learns: tiny Shakespeare, in nanoGPT's setting for a processor, to a validation loss of 1.88 or less") {
  const auto source = std::filesystem::path(TROUPE_SOURCE_DIR);
  const auto text = source.parent_path() / "shared/data/tinyshakespeare.txt";
  if (!std::filesystem::exists(text)) {
    MESSAGE("skipped: ", text.string(), " is not there");
    return;
  }
  const scratch_folder folder;
  const process training(folder, {"train", (source / "examples/tiny_shakespeare.toml").string(), "--json",
                                  "data.path=" + text.string(), "data.cache=cache", "--run-dir", "run"});
  const int code = training.wait(std::chrono::minutes(19));
  INFO(training.err());
  REQUIRE(code == 0);
  const auto summary = lines_of(training.out()).back();
  CHECK(summary["steps"] == 2000);
  CHECK(summary["best_evaluation"]["validation_loss"].get<double>() <= 1.88);
  MESSAGE("best validation loss ", summary["best_evaluation"]["validation_loss"].get<double>());
}
