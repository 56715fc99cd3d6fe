/// The commands that work on what a run left behind.

#include "cli/saved_model.hpp"

#include "tests/command_process.hpp"
#include "tests/documented_keys.hpp"

using namespace troupe;
using nlohmann::json;

namespace {

std::vector<std::string> operator+(std::vector<std::string> a, const std::vector<std::string>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

/// A folder with one trained run in runs/small.
struct trained {
  explicit trained(const std::vector<std::string>& overrides = {}) {
    prepare(folder);
    const auto [code, out, err] =
      troupe::run(folder, std::vector<std::string>{"train", "small.toml", "--json"} + overrides);
    CAPTURE(err);
    REQUIRE(code == 0);
    summary = lines_of(out).back();
  }

  result run(const std::vector<std::string>& arguments) const { return troupe::run(folder, arguments); }

  scratch_folder folder;
  json summary;
};

}  // namespace

TEST_CASE("generate continues a prompt, the same for the same seed") {
  const trained run;
  const auto text = [&](const std::vector<std::string>& more) {
    const auto [code, out, err] =
      run.run(std::vector<std::string>{"generate", "runs/small", "--prompt", "10 bot", "--tokens", "40"} + more);
    CAPTURE(err);
    REQUIRE(code == 0);
    CHECK(out.starts_with("10 bot"));
    CHECK(out.size() == std::string_view("10 bot\n").size() + 40);  // characters: one byte each in this text
    return out;
  };
  CHECK(text({"--seed", "7"}) == text({"--seed", "7"}));
  CHECK(text({"--seed", "7"}) != text({"--seed", "8"}));
  CHECK(text({"--temperature", "0", "--seed", "7"}) == text({"--temperature", "0", "--seed", "8"}));
  text({"--top-k", "3", "--top-p", "0.9"});
  CHECK(run.run({"generate", run.summary["last_cut"], "--tokens", "5"}).code == 0);  // a cut; no prompt
}

TEST_CASE("generate names what is wrong") {
  const trained run;
  CHECK(run.run({"generate", "runs/other"}).code == 3);
  CHECK(run.run({"generate", "cache"}).err.find("holds no good checkpoint") != std::string::npos);
  const auto misused = [&](const std::vector<std::string>& arguments) {
    const auto [code, out, err] = run.run(arguments);
    CHECK(code == 2);
    CHECK(out == "");
    return err.substr(0, err.find('\n'));
  };
  CHECK(misused({"generate", "runs/small", "--temperature", "-1"}) ==
        "error: --temperature: found -1, expected 0 or more");
  for (const auto* option : {"--top-k", "--tokens"})
    for (const auto* wrong : {"-2", "1.5", "99999999999999999999", "0x10", "many", ""})
      CHECK(misused({"generate", "runs/small", option, wrong}) ==
            fmt::format("error: {}: found {}, expected a whole number, 0 to 1000000000", option, wrong));
  for (const auto* wrong : {"-1", "18446744073709551616"})
    CHECK(misused({"generate", "runs/small", "--seed", wrong}) ==
          fmt::format("error: --seed: found {}, expected a whole number, 0 to 18446744073709551615", wrong));
  CHECK(run.run({"generate", "runs/small", "--tokens", "010", "--seed", "18446744073709551615"}).out.size() >= 10);
  for (const auto* wrong : {"0", "1.5", "nan"})
    CHECK(misused({"generate", "runs/small", "--prompt", "1", "--top-p", wrong}) ==
          fmt::format("error: --top-p: found {}, expected more than 0 and at most 1", wrong));
  CHECK(misused({"generate", "runs/small", "--threads", "100000"}) ==
        "error: --threads: found 100000, expected a whole number, 1 to 1024");
  CHECK(misused({"eval", "runs/small", "--threads", "0"}) ==
        "error: --threads: found 0, expected a whole number, 1 to 1024");
  for (const auto* option : {"--batch", "--batches"})
    for (const auto* wrong : {"0", "-1", "1048577"})
      CHECK(misused({"eval", "runs/small", option, wrong}) ==
            fmt::format("error: {}: found {}, expected a whole number, 1 to 1048576", option, wrong));
  const auto unknown = run.run({"generate", "runs/small", "--prompt", "Ж"});
  CHECK(unknown.code == 3);
  CHECK(unknown.err.find("Ж") != std::string::npos);
}

TEST_CASE("text of several bytes a character is written whole") {
  const scratch_folder folder;
  prepare(folder);
  std::string text;
  for (int i = 0; i < 300; ++i)
    text += "äöü€𝄞 ";
  write_file(folder, "text.txt", text);
  for (const auto* tokenizer : {"characters", "bytes"}) {
    CAPTURE(tokenizer);
    REQUIRE(troupe::run(folder, {"train", "small.toml", "--force", "--quiet", "training.steps=60",
                                 "optimizer.learning_rate=0.01", fmt::format("data.tokenizer={}", tokenizer)})
              .code == 0);
    const auto [code, out, err] =
      troupe::run(folder, {"generate", "runs/small", "--prompt", "ä", "--tokens", "60", "--temperature", "0"});
    CAPTURE(err);
    CHECK(code == 0);
    // Streaming writes what decoding all at once would: no character is cut into pieces.
    const auto saved = load_saved_model(folder.path() / "runs/small", {});
    const auto text_of_tokens = out.substr(0, out.size() - 1);  // without the last newline
    CHECK(saved.require_tokens().decode(saved.require_tokens().encode(text_of_tokens)) == text_of_tokens);
    CHECK(out.size() > 30);
  }
}

TEST_CASE("inspect verifies a checkpoint and says what it holds") {
  const trained run({"runtime.shards=2", "training.lanes=2"});
  const auto people = run.run({"inspect", "runs/small", "--tensors"});
  CHECK(people.code == 0);
  CHECK(people.out.find("step 20") != std::string::npos);
  CHECK(people.out.find("shard/1") != std::string::npos);
  CHECK(people.out.find("lane 1 | 20 gradients applied") != std::string::npos);
  CHECK(people.out.find("exp_avg_sq") != std::string::npos);
  const auto machine = json::parse(run.run({"inspect", "runs/small", "--json"}).out);
  CHECK(machine["step"] == 20);
  CHECK(machine["shards"].size() == 2);
  auto named = machine;
  named["document_bytes"] = {{"NAME", machine["document_bytes"]["run.toml"]}};
  types_by_key found;
  collect(named, "", found);
  check_documented(found, "`troupe inspect --json` prints one object");
  // The configuration it holds is a run file.
  write_file(run.folder, "again.toml", run.run({"inspect", "runs/small", "--config"}).out);
  CHECK(run.run({"train", "again.toml", "--dry-run"}).code == 0);

  const std::filesystem::path shard = std::filesystem::path(run.summary["last_cut"]) / "shard-0001.bin";
  auto bytes = read_file(run.folder.path() / shard);
  bytes[100] ^= 1;
  write_file(run.folder, shard.string(), bytes);
  CHECK(run.run({"inspect", run.summary["last_cut"]}).code == 3);
}

TEST_CASE("eval agrees with the evaluation during training") {
  const trained run({"evaluation.batches=3"});
  const auto eval = [&](const std::vector<std::string>& more) {
    const auto [code, out, err] = run.run(std::vector<std::string>{"eval", "runs/small", "--json"} + more);
    CAPTURE(err);
    REQUIRE(code == 0);
    return json::parse(out);
  };
  const double told = run.summary["last_evaluation"]["validation_loss"];
  CHECK(eval({"--batches", "3"})["loss"] == doctest::Approx(told).epsilon(1e-6));
  // Every window that fits, however many make a batch: the last one is a short one.
  const auto size = static_cast<std::int64_t>(read_file(run.folder.path() / "text.txt").size());  // a byte is a token
  const auto validation = size - static_cast<std::int64_t>(static_cast<double>(size) * (1.0 - 0.1));
  const auto windows = [](std::int64_t tokens) { return (tokens - 1) / 16; };
  REQUIRE(windows(validation) % 4 != 0);
  REQUIRE(windows(size) % 64 != 0);
  const auto once = eval({});
  CHECK(once["tokens"] == windows(validation) * 16);
  for (const auto* rows : {"1", "3", "1000"})
    CHECK(eval({"--batch", rows})["loss"].get<double>() == doctest::Approx(once["loss"].get<double>()).epsilon(1e-5));
  CHECK(eval({"--batches", "3"})["tokens"] == 3 * 4 * 16);
  const auto whole = eval({"--data", "text.txt"});
  CHECK(whole["tokens"] == windows(size) * 16);
  CHECK(eval({"--data", "text.txt", "--batch", "64"})["tokens"] == windows(size) * 16);

  types_by_key found;
  collect(once, "", found);
  check_documented(found, "`troupe eval --json` prints one object");
  write_file(run.folder, "short.txt", "a");
  CHECK(run.run({"eval", "runs/small", "--data", "short.txt"}).code == 3);
}

TEST_CASE("export and import give the same model, which trains further") {
  for (const auto* kind : {"gpt2", "llama"}) {
    CAPTURE(kind);
    const trained run({fmt::format("model.kind={}", kind), "data.tokenizer=bytes"});
    REQUIRE(run.run({"export", "runs/small", "exported"}).code == 0);
    CHECK(std::filesystem::exists(run.folder.path() / "exported" / "model.safetensors"));
    CHECK(std::filesystem::exists(run.folder.path() / "exported" / "config.json"));
    const auto imported = run.run({"import", "exported", "runs/again"});
    CAPTURE(imported.err);
    REQUIRE(imported.code == 0);
    CHECK(run.run({"import", "exported", "runs/again"}).code == 2);
    const auto without_text = run.run({"eval", "runs/again"});
    CHECK(without_text.code == 2);
    CHECK(without_text.err.find("help: name one with --data FILE") != std::string::npos);
    if (std::string(kind) == "gpt2") {
      for (const auto* tokenizer : {"tokenizer.json", "tokenizer.model"})
        std::filesystem::remove(run.folder.path() / "exported" / tokenizer);
      CHECK(run.run({"import", "exported", "runs/mute"}).code == 0);
      CHECK(run.run({"generate", "runs/mute"}).err.find("it was imported from a folder without one") !=
            std::string::npos);
    }
    const std::vector<std::string> generate{"--prompt", "1", "--tokens", "30", "--temperature", "0"};
    CHECK(run.run(std::vector<std::string>{"generate", "runs/again"} + generate).out ==
          run.run(std::vector<std::string>{"generate", "runs/small"} + generate).out);

    const std::vector<std::string> train{"train", "runs/again/config.toml", "--resume", "--json", "data.path=text.txt",
                                         "data.cache=cache", "training.batch=4", "evaluation.batches=1"};
    const auto further = run.run(train + std::vector<std::string>{"training.steps=5"});
    CAPTURE(further.err);
    REQUIRE(further.code == 0);
    CHECK(lines_of(further.out).back()["steps"] == 5);
    const auto resumed = run.run(train + std::vector<std::string>{"training.steps=8"});
    CAPTURE(resumed.err);
    REQUIRE(resumed.code == 0);
    CHECK(lines_of(resumed.out).back()["first_step"] == 5);
  }
}

TEST_CASE("export and import where nothing can be written say why, and leave nothing in the way") {
  const trained run({"data.tokenizer=bytes"});
  const auto cramped = [&](const std::vector<std::string>& arguments) {  // no file of more than 512 bytes
    const process child(run.folder, arguments, {}, {"/bin/sh", "-c", "trap '' XFSZ; ulimit -f 1; exec \"$@\"", "sh"});
    CHECK(child.wait() == 5);
    CHECK(child.err().find("File too large") != std::string::npos);
  };
  cramped({"export", "runs/small", "exported"});
  CHECK_FALSE(std::filesystem::exists(run.folder.path() / "exported"));
  REQUIRE(run.run({"export", "runs/small", "exported"}).code == 0);
  cramped({"export", "runs/small", "exported"});  // over what is there: it stays
  CHECK_FALSE(std::filesystem::exists(run.folder.path() / "exported" / "model.safetensors.partial"));
  cramped({"import", "exported", "runs/again"});
  const auto imported = run.run({"import", "exported", "runs/again"});
  CAPTURE(imported.err);
  CHECK(imported.code == 0);
  const auto elsewhere = run.run({"import", "exported", "cache"});
  CHECK(elsewhere.code == 2);
  CHECK(elsewhere.err.find("help: choose another folder") != std::string::npos);
  CHECK(run.run({"import", "exported", "runs/\xff"}).err.find("is not UTF-8") != std::string::npos);
}

TEST_CASE("a run is not resumed on other data") {
  const trained run;
  write_file(run.folder, "text.txt", read_file(run.folder.path() / "text.txt") + "one more line\n");
  const auto [code, out, err] = run.run({"train", "small.toml", "--resume", "training.steps=30"});
  CHECK(code == 3);
  CHECK(err.find("this is not the data that the run was trained on") != std::string::npos);
}
