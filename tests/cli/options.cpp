/// Options that change one thing only: that they do, on the command line.

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cli/progress.hpp"
#include "models/formats/safetensors.hpp"
#include "runtime/checkpoint/store.hpp"
#include "tests/command_process.hpp"

using namespace troupe;
using nlohmann::json;

namespace {

void train(const scratch_folder& folder, std::vector<std::string> overrides = {}) {
  overrides.insert(overrides.begin(), {"train", "small.toml", "--quiet", "--force"});
  const auto trained = run(folder, overrides);
  CAPTURE(trained.err);
  REQUIRE(trained.code == 0);
}

std::vector<std::uint64_t> cuts_of(const scratch_folder& folder) {
  return checkpoint_store(folder.path() / "runs" / "small" / "checkpoints", {}).steps();
}

/// What a console writes to a terminal.
template <class F>
std::string shown_on_terminal(F use) {
  const int screen = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
  REQUIRE(screen >= 0);
  REQUIRE(grantpt(screen) == 0);
  REQUIRE(unlockpt(screen) == 0);
  std::string text;
  {
    const std::unique_ptr<std::FILE, int (*)(std::FILE*)> terminal(std::fopen(ptsname(screen), "w"), &std::fclose);
    REQUIRE(terminal);
    console people(terminal.get(), false);
    use(people);
    std::fflush(terminal.get());
    char part[256];
    while (!text.ends_with('\n')) {  // a line may come in pieces
      const auto size = read(screen, part, sizeof part);
      REQUIRE(size > 0);
      text.append(part, static_cast<std::size_t>(size));
    }
  }
  close(screen);
  return text;
}

/// An environment variable for as long as this lives; null: none. Afterwards it is as it was.
class environment {
 public:
  environment(const char* name, const char* value) : name_(name) {
    if (const auto* before = std::getenv(name))
      before_ = before;
    set(value);
  }
  ~environment() { set(before_ ? before_->c_str() : nullptr); }
  environment(const environment&) = delete;
  environment& operator=(const environment&) = delete;

 private:
  void set(const char* value) const {
    if (value)
      setenv(name_, value, 1);
    else
      unsetenv(name_);
  }

  const char* name_;
  std::optional<std::string> before_;
};

}  // namespace

TEST_CASE("NO_COLOR: warnings on a terminal are yellow unless it is set to something") {
  const auto warning = [](const char* no_color) {
    const environment set("NO_COLOR", no_color);
    return shown_on_terminal([](console& people) { people.warn("beware"); });
  };
  CHECK(warning(nullptr) == "\x1b[33mbeware\x1b[0m\r\n");
  CHECK(warning("") == "\x1b[33mbeware\x1b[0m\r\n");
  CHECK(warning("1") == "beware\r\n");
  CHECK(warning("0") == "beware\r\n");  // to anything: https://no-color.org
  const environment unset("NO_COLOR", nullptr);
  CHECK(shown_on_terminal([](console& people) { people.say("all is well"); }) == "all is well\r\n");
}

TEST_CASE("checkpoint.at_end: the last cut is of the last step, or the last that was due") {
  const scratch_folder folder;
  prepare(folder);
  train(folder, {"checkpoint.every=7"});
  CHECK(cuts_of(folder).back() == 20);
  train(folder, {"checkpoint.every=7", "checkpoint.at_end=false"});
  CHECK(cuts_of(folder).back() == 14);
  train(folder, {"checkpoint.at_end=false"});
  CHECK(cuts_of(folder).empty());
}

TEST_CASE("export --type: the tensors are of that type, and config.json says so") {
  const scratch_folder folder;
  prepare(folder);
  train(folder, {"data.tokenizer=bytes"});  // which imports read text with, too
  const auto exported = [&](const std::string& to, const std::vector<std::string>& more) {
    std::vector<std::string> words{"export", "runs/small", to};
    words.insert(words.end(), more.begin(), more.end());
    REQUIRE(run(folder, words).code == 0);
    return read_safetensors(folder.path() / to / "model.safetensors").tensors;
  };
  const auto full = exported("full", {});
  for (const auto type : {dtype::float32, dtype::bfloat16, dtype::float16}) {
    const std::string name(to_string(type));
    CAPTURE(name);
    const auto tensors = exported(name, {"--type", name});
    REQUIRE(tensors.size() == full.size());
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      CHECK(tensors[i].name == full[i].name);
      CHECK(tensors[i].value.type() == type);
      CHECK(tensors[i].value.shape() == full[i].value.shape());
    }
    const auto config = json::parse(read_file(folder.path() / name / "config.json"));
    CHECK(config["torch_dtype"] == name);
    // Rounded, and otherwise the same model: it says the same of a text.
    REQUIRE(run(folder, {"import", name, "runs/" + name}).code == 0);
    const auto loss = [&](const std::string& of) {
      return json::parse(run(folder, {"eval", of, "--data", "text.txt", "--json"}).out)["loss"].get<double>();
    };
    CHECK(loss("runs/" + name) == doctest::Approx(loss("runs/small")).epsilon(1e-2));
  }
  CHECK(exported("full", {}).front().value.type() == dtype::float32);
  CHECK(run(folder, {"export", "runs/small", "wrong", "--type", "int8"}).code == 2);
}

TEST_CASE("eval: the perplexity is the exponential of the loss") {
  const scratch_folder folder;
  prepare(folder);
  train(folder);
  const auto machine = json::parse(run(folder, {"eval", "runs/small", "--json"}).out);
  const double loss = machine["loss"];
  CHECK(loss > 1.0);
  CHECK(machine["perplexity"].get<double>() == doctest::Approx(std::exp(loss)).epsilon(1e-12));
  const auto people = run(folder, {"eval", "runs/small"}).out;
  CHECK(people.find(fmt::format("loss {:.4f} | perplexity {:.2f} |", loss, std::exp(loss))) != std::string::npos);
}
