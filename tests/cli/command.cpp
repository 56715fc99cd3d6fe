/// The command as people call it: its exit codes, and what it leaves behind.

#include <chrono>
#include <filesystem>
#include <thread>

#include "tests/command_process.hpp"

using namespace troupe;
using nlohmann::json;

TEST_CASE("help and version") {
  const scratch_folder folder;
  const auto version = run(folder, {"--version"});
  CHECK(version.code == 0);
  CHECK(version.out.starts_with("troupe "));
  const auto help = run(folder, {"--help"});
  CHECK(help.code == 0);
  CHECK(help.out.find("exit codes:") != std::string::npos);
  CHECK(run(folder, {"eval", "--help"}).out.find("--precision TEXT:{automatic,float32,tf32,bfloat16}") != std::string::npos);
}

TEST_CASE("wrong usage and configuration exit with 2") {
  const scratch_folder folder;
  prepare(folder);
  const auto fault = [&](const std::vector<std::string>& arguments) {
    const auto [code, out, err] = run(folder, arguments);
    CAPTURE(err);
    CHECK(code == 2);
    CHECK(out == "");
    CHECK(err.find("error: ") != std::string::npos);
    return err;
  };
  fault({});
  CHECK(fault({"trian"}).find("error: there is no command 'trian'\nhelp: a similar one is 'train'") != std::string::npos);
  CHECK(fault({"train", "small.toml", "--chaos", "shrad/0@3"}).find("a similar one is shard/0;") != std::string::npos);
  CHECK(fault({"eval", "runs/small", "--precision", "f32"})
          .find("--precision: found f32, expected one of automatic, float32, tf32, bfloat16") != std::string::npos);
  fault({"train"});
  fault({"train", "nowhere.toml"});
  fault({"train", "small.toml", "--resume", "--force"});
  CHECK(fault({"train", "small.toml", "training.step=3"}).find("a similar key is 'training.steps'") !=
        std::string::npos);
  CHECK(fault({"train", "small.toml", "model.heads=3"}).find("model.heads = 3 does not divide model.channels = 16") !=
        std::string::npos);
  CHECK(fault({"train", "small.toml", "model.vocabulary=2"}).find("'model.vocabulary' = 2 is too small") !=
        std::string::npos);
  write_file(folder, "broken.toml", "[model\nlayers = 1\n");
  CHECK(fault({"train", "broken.toml"}).find("error: broken.toml:1:7: this is not TOML") != std::string::npos);
  CHECK_FALSE(std::filesystem::exists(folder.path() / "runs"));
}

TEST_CASE("missing files and bad data exit with 3") {
  const scratch_folder folder;
  prepare(folder);
  CHECK(run(folder, {"train", "small.toml", "data.path=nowhere.txt"}).code == 3);
  CHECK(run(folder, {"train", "small.toml", "--resume"}).code == 3);
  write_file(folder, "text.txt", "\xff\xff\xff");
  CHECK(run(folder, {"train", "small.toml"}).code == 3);
}

TEST_CASE("output that cannot be written exits with 5") {
  const scratch_folder folder;
  prepare(folder);
  REQUIRE(run(folder, {"train", "small.toml", "training.steps=2"}).code == 0);
  const std::vector<std::string> to_full_disk{"/bin/sh", "-c", "exec \"$@\" > /dev/full", "sh"};
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{"config"}, {"inspect", "runs/small"}, {"generate", "runs/small", "--tokens", "5"}}) {
    CAPTURE(arguments.front());
    CHECK(process(folder, arguments, {}, to_full_disk).wait() == 5);
  }
}

TEST_CASE("lines for machines that cannot be written are warned of at the first; without a stderr a run goes on") {
  const scratch_folder folder;
  prepare(folder);
  const process deaf(folder, {"train", "small.toml", "--json"}, {}, {"/bin/sh", "-c", "exec \"$@\" > /dev/full", "sh"});
  CHECK(deaf.wait() == 5);
  const auto err = deaf.err();
  const auto warning = err.find("warning: standard output cannot be written: No space left on device; runs/small has");
  REQUIRE(warning != std::string::npos);
  CHECK(warning < err.find("cut at step 20"));
  CHECK(err.find("warning:", warning + 1) == std::string::npos);
  CHECK(err.ends_with("error: standard output cannot be written\n"));
  const process mute(folder, {"train", "small.toml", "--force"}, {},
                     {"/bin/sh", "-c", "exec \"$@\" 2> /dev/full", "sh"});
  CHECK(mute.wait() == 0);
}

TEST_CASE("a run directory that cannot be written exits with 5") {
  const scratch_folder folder;
  prepare(folder);
  CHECK(run(folder, {"train", "small.toml", "--run-dir", "/proc/nowhere"}).code == 5);
}

TEST_CASE("a dry run says what a run would be, and leaves nothing behind") {
  const scratch_folder folder;
  prepare(folder);
  const auto [code, out, err] = run(folder, {"train", "small.toml", "training.lanes=2", "--dry-run"});
  CAPTURE(err);
  CHECK(code == 0);
  CHECK(out.find("layers = 1") != std::string::npos);
  CHECK(out.find("peak, predicted") != std::string::npos);
  for (const auto* name : {"shard/0", "replica/1", "loader/1", "evaluator", "coordinator"})
    CHECK(out.find(name) != std::string::npos);
  CHECK_FALSE(std::filesystem::exists(folder.path() / "runs"));
  // What it prints is a run file.
  write_file(folder, "resolved.toml", out);
  CHECK(run(folder, {"train", "resolved.toml", "--dry-run"}).code == 0);
  const auto machine = json::parse(run(folder, {"train", "small.toml", "--dry-run", "--json"}).out);
  CHECK(machine["kind"] == "dry_run");
  CHECK(machine["parameters"] > 0);
  CHECK(machine["memory_bytes"] > machine["job_bytes"]);
}

TEST_CASE("a run that this machine has not the memory for is not begun, and a dry run says so") {
  const scratch_folder folder;
  prepare(folder);
  const std::vector<std::string> huge{"train", "small.toml", "training.batch=1000000", "model.layers=1000"};
  auto dry_arguments = huge;
  dry_arguments.push_back("--dry-run");
  const auto dry = run(folder, dry_arguments);
  CAPTURE(dry.err);
  CHECK(dry.code == 0);
  CHECK(dry.err.find("warning: this run needs ") != std::string::npos);
  const auto real = run(folder, huge);
  CHECK(real.code == 2);
  CHECK(real.err.find("too little\nhelp: activations take ") != std::string::npos);
  CHECK_FALSE(std::filesystem::exists(folder.path() / "runs"));
}

TEST_CASE("training that diverges exits with 7, and tells machines as every failure is told") {
  const scratch_folder folder;
  prepare(folder);
  const std::vector<std::string> diverging{"train", "small.toml", "optimizer.kind=sgd", "optimizer.learning_rate=1e30",
                                           "training.clip=0"};
  auto told = diverging;
  told.push_back("--json");
  const auto [code, out, err] = run(folder, told);
  CHECK(code == 7);
  CHECK(err.find("error: training diverged: the loss of lane 0 is ") != std::string::npos);
  CHECK(lines_of(out).back()["kind"] == "failure");
  CHECK(lines_of(read_file(folder.path() / "runs" / "small" / "events.jsonl")).back()["message"] ==
        lines_of(out).back()["message"]);

  const auto early = run(folder, {"train", "small.toml", "--force", "--json", "data.path=nowhere.txt"});
  CHECK(early.code == 3);
  REQUIRE(lines_of(early.out).size() == 1);
  CHECK(lines_of(early.out)[0]["kind"] == "failure");
  CHECK(lines_of(early.out)[0]["message"].get<std::string>().find("nowhere.txt") != std::string::npos);
}

TEST_CASE("every example of a run file parses and dry-runs") {
  const scratch_folder folder;
  prepare(folder);
  int count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(TROUPE_SOURCE_DIR "/examples")) {
    if (entry.path().extension() != ".toml")
      continue;
    ++count;
    CAPTURE(entry.path());
    const auto [code, out, err] = run(folder, {"train", entry.path().string(), "--dry-run", "data.path=text.txt",
                                               "data.cache=cache", "data.source=text", "data.tokenizer=bytes",
                                               "runtime.device=cpu", "training.precision=automatic"});
    CAPTURE(err);
    CHECK(code == 0);
    CHECK(err.find("error") == std::string::npos);
  }
  CHECK(count >= 3);
}

TEST_CASE("the documented default run file is a run file") {
  const scratch_folder folder;
  prepare(folder);
  for (const std::vector<std::string>& arguments : {std::vector<std::string>{"config"}, {"config", "--llama"}}) {
    const auto printed = run(folder, arguments);
    CHECK(printed.code == 0);
    write_file(folder, "default.toml", printed.out);
    const auto [code, out, err] =
      run(folder, {"train", "default.toml", "--dry-run", "data.path=text.txt", "data.cache=cache"});
    CAPTURE(err);
    CHECK(code == 0);
  }
}

TEST_CASE("a run tells machines on stdout and keeps what it told; it can be resumed, not overwritten") {
  const scratch_folder folder;
  prepare(folder);
  const auto first = run(folder, {"train", "small.toml", "--json", "training.steps=10"});
  CAPTURE(first.err);
  REQUIRE(first.code == 0);
  const auto lines = lines_of(first.out);
  REQUIRE(lines.size() > 10);
  CHECK(lines.back()["kind"] == "summary");
  CHECK(lines.back()["steps"] == 10);
  CHECK(lines.back()["fingerprint"].get<std::string>().size() == 32);
  CHECK(lines.back()["shards"][0]["applied"] == json::array({10}));
  const auto directory = folder.path() / "runs" / "small";
  CHECK(json::parse(read_file(directory / "summary.json")) == lines.back());
  const auto steps = [&] {
    std::vector<std::uint64_t> seen;
    for (const auto& line : lines_of(read_file(directory / "metrics.jsonl")))
      if (line["kind"] == "step")
        seen.push_back(line["step"]);
    return seen;
  };
  CHECK(steps() == std::vector<std::uint64_t>{1, 2, 3, 4, 5, 6, 7, 8, 9, 10});
  CHECK(lines_of(read_file(directory / "events.jsonl")).size() > 3);

  CHECK(run(folder, {"train", "small.toml"}).code == 2);
  const auto resumed = run(folder, {"train", "small.toml", "--json", "--resume", "training.steps=20"});
  CAPTURE(resumed.err);
  REQUIRE(resumed.code == 0);
  CHECK(lines_of(resumed.out).back()["first_step"] == 10);
  CHECK(resumed.err.find("warning") == std::string::npos);
  const auto reseeded = run(folder, {"train", "small.toml", "--resume", "training.steps=20", "training.seed=7"});
  CHECK(reseeded.code == 0);
  CHECK(reseeded.err.find("warning: 'training.seed' = 7, but it was 1337 until here") != std::string::npos);
  const auto other = run(folder, {"train", "small.toml", "--resume", "training.steps=20", "optimizer.kind=lion"});
  CHECK(other.code == 2);
  CHECK(other.err.find("'optimizer.kind' = \"lion\": the cut holds the state of \"adamw\"") != std::string::npos);
  for (const char* changed : {"norm=rms_norm", "feed_forward=relu", "heads=1", "layers=2", "rotary_theta=100", "norm_epsilon=1e-3"}) {
    CAPTURE(changed);
    const auto is_used = !std::string_view(changed).starts_with("rotary");
    const auto key = std::string(changed).substr(0, std::string_view(changed).find('='));
    const auto model = run(folder, {"train", "small.toml", "--resume", "training.steps=20", fmt::format("model.{}", changed)});
    CHECK(model.code == (is_used ? 2 : 0));
    CHECK((model.err.find(fmt::format("error: 'model.{}' = ", key)) != std::string::npos) == is_used);
  }
  CHECK(steps().back() == 20);
  CHECK(run(folder, {"train", "small.toml", "--force", "--quiet"}).code == 0);
  CHECK(steps().size() == 20);
}

TEST_CASE("planned and random kills are counted, and the parameters do not notice") {
  const scratch_folder folder;
  prepare(folder);
  const auto summary = [&](std::vector<std::string> more) {
    std::vector<std::string> arguments{"train", "small.toml", "--json", "--force"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const auto [code, out, err] = run(folder, arguments);
    CAPTURE(err);
    REQUIRE(code == 0);
    return lines_of(out).back();
  };
  const auto calm = summary({});
  const auto stormy = summary({"--chaos", "shard/0@5,replica/0@9", "checkpoint.every=4"});
  CHECK(stormy["killed"] == 2);
  CHECK(stormy["restarts"] >= 2);
  CHECK(stormy["rollbacks"] >= 1);
  CHECK(stormy["fingerprint"] == calm["fingerprint"]);
}

TEST_CASE("supervision that gives up exits with 4") {
  const scratch_folder folder;
  prepare(folder);
  const auto [code, out, err] =
    run(folder, {"train", "small.toml", "supervision.intensity=0", "--chaos", "replica/0@3"});
  CAPTURE(err);
  CHECK(code == 4);
  CHECK(err.find("replica/0") != std::string::npos);
}

TEST_CASE("a second signal leaves at once") {
  const scratch_folder folder;
  prepare(folder);
  const process child(folder, {"train", "small.toml", "training.steps=1000000", "training.batch=4000"});
  const auto directory = folder.path() / "runs" / "small";
  for (int i = 0; i < 600 && read_file(directory / "events.jsonl").empty(); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  child.signal(SIGINT);  // a step takes long enough for the second signal to come before the cut
  for (int i = 0; i < 10'000 && child.err().find("interrupted: saving a cut") == std::string::npos; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  child.signal(SIGINT);
  CHECK(child.wait() == 130);
  CHECK(child.err().find("leaving at once, nothing is saved") != std::string::npos);
}

TEST_CASE("a run that is done is resumed to nothing more") {
  const scratch_folder folder;
  prepare(folder);
  const auto first = run(folder, {"train", "small.toml", "--json"});
  REQUIRE(first.code == 0);
  const auto again = run(folder, {"train", "small.toml", "--json", "--resume"});
  CAPTURE(again.err);
  REQUIRE(again.code == 0);
  CHECK(lines_of(again.out).back()["steps"] == 20);
  for (const auto* key : {"last_loss", "best_loss", "last_cut", "last_evaluation", "best_evaluation"}) {
    CAPTURE(key);
    CHECK_FALSE(lines_of(first.out).back()[key].is_null());
    auto now = lines_of(again.out).back()[key], before = lines_of(first.out).back()[key];
    for (auto* each : {&now, &before})
      if (each->is_object())
        each->erase("seconds");  // it is measured again
    CHECK(now == before);
  }
  CHECK(lines_of(again.out).back()["fingerprint"] == lines_of(first.out).back()["fingerprint"]);
}

TEST_CASE("the first signal saves a cut and leaves; the run can be resumed") {
  const scratch_folder folder;
  prepare(folder);
  const auto has_begun = [&] { return read_file(folder.path() / "runs" / "small" / "metrics.jsonl").size() > 1000; };
  const std::vector<std::string> long_run{"train", "small.toml", "training.steps=1000000", "--json", "--force"};
  {
    const process nohup(folder, long_run, {}, {"/bin/sh", "-c", "trap '' HUP; exec \"$@\"", "sh"});
    REQUIRE(comes_true(has_begun));
    nohup.signal(SIGHUP);
    nohup.signal(SIGHUP);
    const auto steps = [&] { return read_file(folder.path() / "runs" / "small" / "metrics.jsonl").size(); };
    CHECK(comes_true([&, before = steps()] { return steps() > before + 1000; }));
    nohup.signal(SIGTERM);
    CHECK(nohup.wait() == 6);
  }
  std::filesystem::remove(folder.path() / "runs" / "small" / "metrics.jsonl");  // what it says is to be of this one
  const process child(folder, long_run);
  REQUIRE(comes_true(has_begun));
  child.signal(SIGHUP);
  child.signal(SIGHUP);  // as a shell and its terminal both say so
  CHECK(child.wait() == 6);
  const auto last = lines_of(child.out()).back();
  CHECK(last["kind"] == "summary");
  CHECK(last["interrupted"] == true);
  const std::uint64_t done = last["steps"];
  CHECK(done > 0);
  const auto resumed =
    run(folder, {"train", "small.toml", fmt::format("training.steps={}", done + 5), "--resume", "--json"});
  CAPTURE(resumed.err);
  REQUIRE(resumed.code == 0);
  CHECK(lines_of(resumed.out).back()["first_step"] == done);
}

TEST_CASE("who wants to leave waits for no evaluation, and what was not measured is when the run goes on") {
  const scratch_folder folder;
  prepare(folder);
  const std::vector<std::string> words{"train", "small.toml", "--json", "--force", "training.steps=20",
                                       "evaluation.every=5", "checkpoint.every=0"};
  const auto undisturbed = run(folder, words);
  REQUIRE(undisturbed.code == 0);
  const auto evaluated = [](const std::string& out) {
    std::vector<std::pair<std::uint64_t, double>> found;
    for (const auto& line : lines_of(out))
      if (line["kind"] == "evaluation")
        found.emplace_back(line["step"], line["validation_loss"]);
    return found;
  };
  const auto all = evaluated(undisturbed.out);
  REQUIRE(all.size() == 4);

  auto endless = words;
  endless.push_back("evaluation.batches=1000000");
  const process child(folder, endless);
  // The lanes stand at step 10, where the next evaluation is due and the evaluator is at that of step 5.
  REQUIRE(comes_true([&] { return child.out().find("\"step\":10,") != std::string::npos; }));
  child.signal(SIGINT);
  CHECK(child.wait() == 6);
  CHECK(evaluated(child.out()).empty());
  CHECK(child.err().find("warning: the evaluation at step 5 was given up, since the run is to stop") !=
        std::string::npos);
  CHECK(lines_of(child.out()).back()["steps"] == 10);

  const auto resumed =
    run(folder, {"train", "small.toml", "--json", "--resume", "training.steps=20", "evaluation.every=5"});
  CAPTURE(resumed.err);
  REQUIRE(resumed.code == 0);
  CHECK(evaluated(resumed.out) == std::vector(all.begin() + 1, all.end()));
  CHECK(lines_of(resumed.out).back()["fingerprint"] == lines_of(undisturbed.out).back()["fingerprint"]);
}

TEST_CASE("stopped in the evaluation at the end, a run is not done, and resumes to that evaluation") {
  const scratch_folder folder;
  prepare(folder);
  const process child(folder, {"train", "small.toml", "--json", "evaluation.batches=1000000"});
  REQUIRE(comes_true([&] { return child.out().find("\"step\":20,") != std::string::npos; }));
  child.signal(SIGINT);
  CHECK(child.wait() == 6);
  CHECK(lines_of(child.out()).back()["interrupted"] == true);
  const auto resumed = run(folder, {"train", "small.toml", "--json", "--resume"});
  CAPTURE(resumed.err);
  REQUIRE(resumed.code == 0);
  CHECK(lines_of(resumed.out).back()["interrupted"] == false);
  CHECK(lines_of(resumed.out).back()["last_evaluation"]["step"] == 20);
}

TEST_CASE("a run folder that was moved is resumed by its own config.toml, from elsewhere or from inside") {
  const scratch_folder folder;
  prepare(folder);
  REQUIRE(run(folder, {"train", "small.toml"}).code == 0);
  std::filesystem::rename(folder.path() / "runs" / "small", folder.path() / "runs" / "b");
  const auto again = run(folder, {"train", "runs/b/config.toml", "--resume", "--json", "training.steps=22"});
  CAPTURE(again.err);
  REQUIRE(again.code == 0);
  CHECK(lines_of(again.out).back()["first_step"] == 20);
  const process inside(folder, {"train", "config.toml", "--resume", "--json", "training.steps=24"}, {},
                       {"/bin/sh", "-c", "cd runs/b && exec \"$@\"", "sh"});
  CHECK(inside.wait() == 0);
  CHECK(lines_of(inside.out()).back()["first_step"] == 22);
  CHECK_FALSE(std::filesystem::exists(folder.path() / "runs" / "small"));
  const auto gone = run(folder, {"train", "small.toml", "--resume"});
  CHECK(gone.code == 3);
  CHECK(gone.err.find("there is no run to resume\nhelp: --run-dir DIR names another folder") != std::string::npos);
}

TEST_CASE("a run with no good cut is not resumed, and that alone is said") {
  const scratch_folder folder;
  prepare(folder);
  REQUIRE(run(folder, {"train", "small.toml"}).code == 0);
  const std::filesystem::path shard = "runs/small/checkpoints/step-000000020/shard-0000.bin";
  auto bytes = read_file(folder.path() / shard);
  REQUIRE(bytes.size() > 100);
  bytes[100] ^= 1;
  write_file(folder, shard.string(), bytes);
  const auto resumed = run(folder, {"train", "small.toml", "--resume", "training.steps=30"});
  CHECK(resumed.code == 3);
  CHECK(resumed.err.find("newest cut at step 20, to be verified") != std::string::npos);
  CHECK(resumed.err.find("none of the 1 checkpoints is good") != std::string::npos);
  CHECK(resumed.err.find("supervisor") == std::string::npos);
}
