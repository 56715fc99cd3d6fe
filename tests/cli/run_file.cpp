#include "cli/run_file.hpp"

#include <filesystem>

#include <doctest/doctest.h>
#include <fmt/format.h>

#include "tests/cli/files.hpp"

using namespace troupe;

namespace {

struct outcome {
  run_file run;
  std::string errors;    ///< as the command prints them
  std::string warnings;  ///< likewise
};

outcome load(const scratch_folder& folder, std::string_view text, std::vector<std::string> overrides = {},
             std::vector<std::string> chaos = {}, int cores = 0) {
  outcome result;
  config::diagnostics report;
  try {
    result.run =
        load_run_file({write_file(folder, "run.toml", text), std::move(overrides), std::move(chaos), cores}, report);
  } catch (const config::config_error& fault) {
    result.errors = fault.what();
  }
  for (const auto& one : report.warnings())
    result.warnings += to_string(one) + "\n";
  return result;
}

constexpr std::string_view minimal = "data.path = \"/text.txt\"\n";

}  // namespace

TEST_CASE("a run file that says little gets defaults") {
  const scratch_folder folder;
  const auto [run, errors, warnings] = load(folder, minimal);
  CHECK(errors == "");
  CHECK(warnings == "");
  CHECK(run.name == "run");
  CHECK(run.directory == "runs/run");
  CHECK(run.data.path == "/text.txt");
  CHECK(run.job.training.steps == job_settings{}.training.steps);
}

TEST_CASE("the model's kind sets the defaults of its other keys") {
  const scratch_folder folder;
  const std::string text(minimal);
  const auto llama = load(folder, text + "[model]\nbias = true\nkind = \"llama\"\n").run.model;
  CHECK(llama.positions == transformer_settings::position_kind::rotary);
  CHECK(llama.feed_forward == transformer_settings::feed_forward_kind::swiglu);
  CHECK(llama.bias);
  CHECK(load(folder, text, {"model.kind=llama"}).run.model.norm == transformer_settings::norm_kind::rms_norm);
  const auto wrong = load(folder, text + "[model]\nkind = \"lama\"\n").errors;
  CHECK(wrong.find("'model.kind' must be \"gpt2\" or \"llama\", found the string \"lama\"\n"
                   "help: a similar one is \"llama\"") != std::string::npos);
}

TEST_CASE("data is looked up from here, then from the run file's folder, and its path is absolute afterwards") {
  const scratch_folder folder;
  const auto beside = write_file(folder, "beside.txt", "text");
  CHECK(load(folder, "data.path = \"beside.txt\"").run.data.path == beside.string());
  CHECK(load(folder, "data.path = \"*.bin\"").run.data.path ==
        (std::filesystem::current_path() / "*.bin").string());
  const auto nowhere = load(folder, "data.path = \"nowhere.txt\"").run.data.path;
  CHECK(nowhere == (std::filesystem::current_path() / "nowhere.txt").string());
  CHECK(load(folder, "").errors.ends_with("run.toml: 'data.path' is missing: there is nothing to train on\n"
                                          "help: add path = \"FILE\" to [data], or data.path=FILE on the command line"));
}

TEST_CASE("combinations that cannot work are errors at their place") {
  const scratch_folder folder;
  const auto fault = [&](const std::string& text) {
    const auto errors = load(folder, std::string(minimal) + text).errors;
    return errors.substr(std::min(errors.find("run.toml:"), errors.size()));
  };
  CHECK(fault("[training]\nlanes = 3\nbatch = 10\n") ==
        "run.toml:4:9: 'training.batch' = 10 is not divisible by training.lanes x training.accumulation = 3 x 1\n"
        "help: the nearest that is: 9");
  CHECK(fault("[training]\nlanes = 8\nbatch = 15\n").ends_with("help: the nearest that is: 16"));
  CHECK(fault("[training]\nlanes = 8\nbatch = 3\n").ends_with("help: the nearest that is: 8"));
  CHECK(fault("[model]\nheads = 3\n") == "run.toml:3:9: model.heads = 3 does not divide model.channels = 128");
  CHECK(fault("[model]\nkind = \"llama\"\nkv_heads = 3\n") ==
        "run.toml:4:12: model.kv_heads = 3 does not divide model.heads = 4");
  CHECK(fault("[model]\nkind = \"llama\"\nheads = 128\n") ==
        "run.toml:4:9: rotary positions need an even head size, but model.channels / model.heads = 1");
  CHECK(fault("[consistency]\nmode = \"bounded\"\nstaleness = 0\n")
          .starts_with("run.toml:4:13: mode = \"bounded\" needs a staleness of at least 1"));
  CHECK(fault("[consistency]\ndelay_compensation = \"adaptive\"\n")
          .starts_with("run.toml:3:22: there is no delay to compensate in mode = \"sync\""));
  CHECK(fault("[runtime]\nshards = 10000\n")
          .starts_with("run.toml:3:10: 'runtime.shards' = 10000, but this model has "));
  CHECK(fault("[training]\nrecompute = \"0-9\"\n").starts_with("run.toml:3:13: training.recompute: found block 9"));
  CHECK(fault("[training]\nrecompute = \"some\"\n").starts_with("run.toml:3:13: training.recompute: found 'some'"));
  CHECK(fault("[schedule]\nwarmup_steps = 200\ndecay_steps = 100\n") ==
        "run.toml:4:15: the learning rate would reach its minimum at step 100, before it begins to fall at step 200");
  for (const auto* key : {"training.steps", "schedule.warmup_steps", "schedule.stable_steps", "schedule.decay_steps",
                          "evaluation.every", "checkpoint.every", "consistency.staleness"})
    CHECK(load(folder, minimal, {fmt::format("{}=9223372036854775807", key)})
            .errors.find(fmt::format("'{}' must be ", key)) != std::string::npos);
  const auto on_device = [&](const std::string& name, int cores) {
    return load(folder, fmt::format("{}[runtime]\ndevice = \"{}\"\n", minimal, name), {}, {}, cores).errors;
  };
  CHECK(on_device("cuda:77", 1).find("run.toml:3:10: 'runtime.device' = \"cuda:77\"") != std::string::npos);
  CHECK(on_device("cuda:77", 0) == "");  // of machines that are yet to join
  CHECK(on_device("cuda:", 0).find("unknown device 'cuda:'") != std::string::npos);
  CHECK(fault("[[chaos.kill]]\nactor = \"shard/0\"\n[[chaos.kill]]\nactor = \"shard/1\"\n")
          .starts_with("run.toml:5:9: there is no actor \"shard/1\"\nhelp: a similar one is shard/0; actors of this run: "
                       "shard/0 to shard/0"));
  CHECK(fault("[chaos]\nactors = [\"replica/0\", \"replic/0\"]\n")
          .starts_with("run.toml:3:24: there is no actor \"replic/0\""));
  for (const auto* outside : {"../evil", "/tmp/evil", "..", "a/../../evil"})
    CHECK(load(folder, minimal, {fmt::format("name={}", outside)}).errors.find("outside of runs/") != std::string::npos);
  CHECK(load(folder, minimal, {"name=group/a"}).run.directory == "runs/group/a");
  CHECK(fault("data.validation_fraction = 0\n").find("so there is nothing to evaluate on") != std::string::npos);
}

TEST_CASE("combinations that make no sense are warnings") {
  const scratch_folder folder;
  const auto warnings = load(folder, std::string(minimal) + "[optimizer]\nmomentum = 0.9\n").warnings;
  CHECK(warnings.ends_with("run.toml:3:12: 'optimizer.momentum' has no effect with the kind that was chosen\n"));
  CHECK(load(folder, minimal, {"optimizer.kind=sgd", "optimizer.momentum=0.9"}).warnings == "");
  CHECK(load(folder, minimal, {"consistency.staleness=2"}).warnings.find("has no effect unless mode = \"bounded\"") !=
        std::string::npos);
  CHECK(load(folder, std::string(minimal) + "[[chaos.kill]]\nactor = \"shard/0\"\nstep = 5000\n")
          .warnings.find("run.toml:4:8: the kill at step 5000 comes too late: the run has 1000 steps") !=
        std::string::npos);

  CHECK(load(folder, std::string(minimal) + "[schedule]\nwarmup_steps = 2000\n")
          .warnings.find("run.toml:3:16: the run ends at step 1000, before its warm-up does at step 2000") !=
        std::string::npos);

  CHECK(load(folder, std::string(minimal) + "[training]\nlanes = 4\n[runtime]\nshards = 3\n", {}, {}, 2)
          .warnings.find("run.toml:3:9: training.lanes x runtime.threads = 4 x 1 = 4") != std::string::npos);

  const auto text = config::parse_toml(minimal, "run.toml");
  run_file run;
  run.data.path = "/text.txt";
  run.job.training.lanes = 4;
  config::diagnostics report;
  check_run_file(run, text, 2, report);
  REQUIRE(report.all().size() == 1);
  CHECK(to_string(report.all()[0]).starts_with(
    "warning: run.toml: training.lanes x runtime.threads = 4 x 1 = 4, but this machine has 2 cores"));
}

TEST_CASE("a run that TOML could not tell of is refused") {
  const scratch_folder folder;
  const auto path = write_file(folder, "run.toml", minimal);
  const auto fault = [](const run_request& request) {
    config::diagnostics report;
    try {
      load_run_file(request, report);
    } catch (const config::config_error& found) {
      return std::string(found.what());
    }
    return std::string{};
  };
  CHECK(fault({path, {}, {}, 0, "r \xff"}).find("'directory' is not UTF-8 at byte 3: r \xef\xbf\xbd") !=
        std::string::npos);
  CHECK(fault({path, {"data.path=a\xff"}, {}, 0}).starts_with("command line: an assignment is not UTF-8 at byte 12"));
  CHECK(fault({path, {"model.kind=a\xff"}, {}, 0}).starts_with("command line: an assignment is not UTF-8"));
  CHECK(fault({write_file(folder, "\xff.toml", minimal), {}, {}, 0}).find("'name' is not UTF-8 at byte 1") !=
        std::string::npos);
  CHECK(fault({path, {"name=\xc3\xa4"}, {}, 0}) == "");
}

TEST_CASE("the config.toml of a run directory is of that directory, wherever it is now") {
  const scratch_folder folder;
  const std::string text = std::string(minimal) + "directory = \"runs/before\"\n";
  const auto directory = [](const run_request& request) {
    config::diagnostics report;
    return load_run_file(request, report).directory;
  };
  const auto path = write_file(folder, "config.toml", text);
  CHECK(directory({path, {}, {}, 0}) == "runs/before");
  write_file(folder, "events.jsonl", "");
  CHECK(directory({path, {}, {}, 0}) == folder.path().string());
  CHECK(directory({path, {"directory=runs/other"}, {}, 0}) == "runs/other");
  CHECK(directory({path, {}, {}, 0, "elsewhere"}) == "elsewhere");
  CHECK(directory({write_file(folder, "run.toml", text), {}, {}, 0}) == "runs/before");
}

TEST_CASE("what a run resolved to reads back the same, without warnings") {
  const scratch_folder folder;
  const auto first = load(folder, minimal, {"model.kind=llama", "training.steps=7", "supervision.window=90s"},
                          {"shard/0@3,replica/0@4", "random:0.25:9"});
  REQUIRE(first.errors == "");
  const auto& chaos = first.run.job.chaos;
  REQUIRE(chaos.kills.size() == 2);
  CHECK(chaos.kills[0].actor == "shard/0");
  CHECK(chaos.kills[1].step == 4);
  CHECK(chaos.probability == 0.25);
  CHECK(chaos.seed == 9);

  const auto text = print_run_file(first.run, true);
  CAPTURE(text);
  CHECK(print_run_file(parse_run_file(text, "config.toml"), true) == text);
  const auto again = load(folder, text);
  CHECK(again.errors == "");
  CHECK(again.warnings == "");
  CHECK(print_run_file(again.run, true) == text);
}

TEST_CASE("chaos that cannot be read is refused") {
  const scratch_folder folder;
  CHECK(load(folder, minimal, {}, {"checkpoint_writer@5"}).errors == "");
  CHECK(load(folder, minimal, {}, {"shard/0@1", "checkpoint_writr@5"})
          .errors.starts_with("command line: '--chaos checkpoint_writr@5': there is no actor \"checkpoint_writr\"\n"
                              "help: a similar one is checkpoint_writer; actors of this run: "));
  CHECK(load(folder, minimal, {}, {"shard/0@5000"})
          .warnings.find("command line: '--chaos shard/0@5000': the kill at step 5000 comes too late") !=
        std::string::npos);
  for (const auto* wrong : {"shard/0", "shard/0@", "@3", "shard/0@x", "shard/0@-1", "random:", "random:2",
                            "random:0.1:x", "shard/0@1,", "shard/0@1:", "shard/0@1:boom", "shard/0@:wedge", ""}) {
    CAPTURE(wrong);
    CHECK(load(folder, minimal, {}, {wrong}).errors.find("cannot read '") != std::string::npos);
  }
}
