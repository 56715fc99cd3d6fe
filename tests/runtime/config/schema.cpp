#include "runtime/config/schema.hpp"

#include <array>

#include <doctest/doctest.h>

using namespace troupe;
using namespace troupe::config;

namespace {

enum class flavour : std::uint8_t { adamw, sgd, lion };

struct kill {
  std::string actor;
  std::uint64_t step = 0;
};

struct settings {
  bool bias = true;
  std::int64_t layers = 4;
  std::uint32_t shards = 1;
  double learning_rate = 1e-3;
  double beta = 0.9;
  std::string path = "text.txt";
  flavour kind = flavour::adamw;
  std::chrono::milliseconds window{60'000};
  std::chrono::seconds age{0};
  std::vector<std::string> actors;
  std::vector<double> weights;
  std::vector<kill> kills;

  schema describe() {
    schema root("Settings of the test.");
    root.key("path", path, "a file");
    auto& model = root.table("model", "The model.");
    model.key("bias", bias, "whether there are biases");
    model.key("layers", layers, "blocks", at_least(1));
    auto& optimizer = root.table("optimizer", "The update rule.");
    optimizer.key("kind", kind, "the rule");
    optimizer.key("learning_rate", learning_rate, "the peak", above(0));
    optimizer.key("beta", beta, "decay", from_to_below(0, 1));
    auto& runtime = root.table("runtime", "The machine.");
    runtime.key("shards", shards, "shards", at_least(1));
    runtime.key("window", window, "of restarts");
    runtime.key("age", age, "of cuts");
    auto& chaos = root.table("chaos", "Fault injection.");
    chaos.key("actors", actors, "whom");
    chaos.key("weights", weights, "how likely", from_to(0, 1));
    chaos.tables("kill", kills, "One kill.", [](schema& element, kill& one) {
      element.key("actor", one.actor, "its name");
      element.key("step", one.step, "when");
    });
    return root;
  }

  /// Everything reported, a line each.
  std::string read(std::string_view text, const std::vector<std::string>& overrides = {}) {
    diagnostics report;
    auto document = parse_toml(text, "run.toml");
    for (const auto& one : overrides)
      apply_override(document, one, report);
    describe().read(document, report);
    std::string all;
    for (const auto& one : report.all())
      all += to_string(one) + "\n";
    return all;
  }
};

}  // namespace

template <>
struct troupe::config::enum_names<flavour> {
  static constexpr std::pair<flavour, std::string_view> all[] = {
    {flavour::adamw, "adamw"}, {flavour::sgd, "sgd"}, {flavour::lion, "lion"}};
};

TEST_CASE("every type is read into its member") {
  settings s;
  CHECK(s.read(R"(
path = "a/b.txt"
[model]
bias = false
layers = 1_000
[optimizer]
kind = "lion"
learning_rate = 1
beta = 0.5
[runtime]
shards = 3
window = "1.5s"
age = "2d"
[chaos]
actors = ["shard/0", "replica/1"]
weights = [0, 0.25, 1]
[[chaos.kill]]
actor = "shard/0"
step = 7
[[chaos.kill]]
actor = "evaluator"
)") == "");
  CHECK(s.path == "a/b.txt");
  CHECK_FALSE(s.bias);
  CHECK(s.layers == 1000);
  CHECK(s.kind == flavour::lion);
  CHECK(s.learning_rate == 1.0);
  CHECK(s.beta == 0.5);
  CHECK(s.shards == 3);
  CHECK(s.window == std::chrono::milliseconds(1500));
  CHECK(s.age == std::chrono::hours(48));
  CHECK(s.actors == std::vector<std::string>{"shard/0", "replica/1"});
  CHECK(s.weights == std::vector<double>{0.0, 0.25, 1.0});
  REQUIRE(s.kills.size() == 2);
  CHECK(s.kills[0].actor == "shard/0");
  CHECK(s.kills[0].step == 7);
  CHECK(s.kills[1].actor == "evaluator");
  CHECK(s.kills[1].step == 0);
}

TEST_CASE("what the text does not say keeps its default") {
  settings s;
  CHECK(s.read("") == "");
  CHECK(s.layers == 4);
  CHECK(s.path == "text.txt");
}

TEST_CASE("unknown keys are located and the nearest valid key is named") {
  settings s;
  CHECK(s.read("[optimizer]\n  learning_rat = 1\n") ==
        "error: run.toml:2:3: unknown key 'optimizer.learning_rat'\n"
        "help: a similar key is 'optimizer.learning_rate'\n");
  CHECK(s.read("[optimiser]\nbeta = 1\n") ==
        "error: run.toml:1:2: unknown key 'optimiser'\nhelp: a similar key is 'optimizer'\n");
  SUBCASE("a key of another section") {
    CHECK(s.read("[model]\nlearning_rate = 1\n") ==
          "error: run.toml:2:1: unknown key 'model.learning_rate'\nhelp: a similar key is 'optimizer.learning_rate'\n");
  }
  SUBCASE("two letters swapped") {
    CHECK(s.read("[optimizer]\nbeat = 0.1\n") ==
          "error: run.toml:2:1: unknown key 'optimizer.beat'\nhelp: a similar key is 'optimizer.beta'\n");
  }
  SUBCASE("nothing is near: all keys are listed") {
    CHECK(s.read("[model]\nzzzzzzzzz = 1\n") ==
          "error: run.toml:2:1: unknown key 'model.zzzzzzzzz'\nhelp: keys of 'model' are: bias, layers\n");
  }
  SUBCASE("inside a list of tables") {
    CHECK(s.read("[[chaos.kill]]\nactr = \"x\"\n") ==
          "error: run.toml:2:1: unknown key 'chaos.kill.actr'\nhelp: a similar key is 'chaos.kill.actor'\n");
  }
}

TEST_CASE("wrong types say what was found and expected") {
  settings s;
  const auto first_line = [&](const std::string& text) {
    const auto all = s.read(text);
    return all.substr(0, all.find('\n'));
  };
  CHECK(first_line("model.bias = 1") == "error: run.toml:1:14: 'model.bias' must be true or false, found the integer 1");
  CHECK(first_line("model.layers = \"ten\"") ==
        "error: run.toml:1:16: 'model.layers' must be an integer, found the string \"ten\"");
  CHECK(s.read("model.layers = 1e3") ==
        "error: run.toml:1:16: 'model.layers' must be an integer, found the number 1000\nhelp: write 1000\n");
  CHECK(first_line("optimizer.beta = true") == "error: run.toml:1:18: 'optimizer.beta' must be a number, found true");
  CHECK(first_line("path = 12") == "error: run.toml:1:8: 'path' must be a string, found the integer 12");
  CHECK(first_line("path = 1979-05-27") == "error: run.toml:1:8: 'path' must be a string, found a date");
  CHECK(first_line("model = 3") == "error: run.toml:1:9: 'model' must be a table, found the integer 3");
  CHECK(first_line("chaos.kill = 3") ==
        "error: run.toml:1:14: 'chaos.kill' must be a list of tables, found the integer 3");
  CHECK(first_line("chaos.actors = [\"a\", 2]") ==
        "error: run.toml:1:22: 'chaos.actors[1]' must be a string, found the integer 2");
  CHECK(s.read("optimizer.kind = \"adam\"") ==
        "error: run.toml:1:18: 'optimizer.kind' must be \"adamw\", \"sgd\" or \"lion\", found the string \"adam\"\n"
        "help: a similar one is \"adamw\"\n");
  for (const auto* wrong : {"12", "\"12\"", "\"s\"", "\"-1s\"", "\"1 week\"", "\"nans\"", "\"infs\"", "true"}) {
    CAPTURE(wrong);
    CHECK(first_line(std::string("runtime.window = ") + wrong).find("must be a duration such as") != std::string::npos);
  }
  CHECK(first_line("runtime.age = \"1500ms\"") ==
        "error: run.toml:1:15: 'runtime.age' must be a multiple of \"1s\", found the string \"1500ms\"");
}

TEST_CASE("values out of range say the range") {
  settings s;
  CHECK(s.read("model.layers = 0") ==
        "error: run.toml:1:16: 'model.layers' must be at least 1, found the integer 0\n");
  CHECK(s.read("optimizer.beta = 1.0") ==
        "error: run.toml:1:18: 'optimizer.beta' must be from 0 to below 1, found the number 1\n");
  CHECK(s.read("optimizer.learning_rate = 0") ==
        "error: run.toml:1:27: 'optimizer.learning_rate' must be above 0, found the integer 0\n");
  CHECK(s.read("optimizer.learning_rate = nan").find("must be a finite number") != std::string::npos);
  CHECK(s.read("optimizer.learning_rate = inf").find("must be a finite number") != std::string::npos);
  CHECK(s.read("runtime.shards = 5_000_000_000") ==
        "error: run.toml:1:18: 'runtime.shards' must be at most 4294967295, found the integer 5000000000\n");
  CHECK(s.read("[[chaos.kill]]\nstep = -1") ==
        "error: run.toml:2:8: 'chaos.kill.step' must be at least 0, found the integer -1\n");
  CHECK(s.read("chaos.weights = [0.5, 2]") ==
        "error: run.toml:1:23: 'chaos.weights[1]' must be from 0 to 1, found the integer 2\n");
  CHECK(s.layers == 4);
  CHECK(s.shards == 1);
}

TEST_CASE("all mistakes are reported, in the order of the text") {
  settings s;
  CHECK(s.read("[runtime]\nshards = 0\n[model]\nlayer = 1\nbias = 3\n") ==
        "error: run.toml:2:10: 'runtime.shards' must be at least 1, found the integer 0\n"
        "error: run.toml:4:1: unknown key 'model.layer'\nhelp: a similar key is 'model.layers'\n"
        "error: run.toml:5:8: 'model.bias' must be true or false, found the integer 3\n");
}

TEST_CASE("config_error renders every error and no warning") {
  diagnostics report;
  report.warn({"run.toml", 1, 1}, "careful");
  CHECK_NOTHROW(report.throw_if_failed());
  report.error({"run.toml", 1, 1}, "wrong", "do right");
  report.error({"run.toml"}, "worse");
  try {
    report.throw_if_failed();
    FAIL("nothing was thrown");
  } catch (const input_error& fault) {
    CHECK(std::string(fault.what()) == "run.toml:1:1: wrong\nhelp: do right\nerror: run.toml: worse");
  }
}

TEST_CASE("overrides go over the text and are located") {
  settings s;
  CHECK(s.read("path = \"x\"\n[model]\nlayers = 2\nbias = false",
               {"model.layers=5", "optimizer.kind=sgd", "path=/usr/include/c++", "optimizer.beta=1e-1",
                "chaos.actors=[\"a\", \"b\"]", "chaos.kill=[{actor=\"shard/1\",step=3}]", "runtime.window=2s"}) == "");
  CHECK(s.layers == 5);
  CHECK_FALSE(s.bias);
  CHECK(s.kind == flavour::sgd);
  CHECK(s.path == "/usr/include/c++");
  CHECK(s.beta == 0.1);
  CHECK(s.actors == std::vector<std::string>{"a", "b"});
  REQUIRE(s.kills.size() == 1);
  CHECK(s.kills[0].step == 3);
  CHECK(s.window == std::chrono::seconds(2));

  CHECK(s.read("", {"path=2024"}) == "");  // a string that looks like a number
  CHECK(s.path == "2024");
  CHECK(s.read("", {"path="}) == "");
  CHECK(s.path == "");
  CHECK(s.read("", {"model.layers=x"}) ==
        "error: command line: 'model.layers=x': 'model.layers' must be an integer, found the string \"x\"\n");
  CHECK(s.read("", {"model.layrs=3"}) ==
        "error: command line: 'model.layrs=3': unknown key 'model.layrs'\nhelp: a similar key is 'model.layers'\n");
  CHECK(s.read("model.layers = 1", {"model=3"}) ==
        "error: command line: 'model=3': 'model' must be a table, found the integer 3\n"
        "help: write a section [model], or model.key = value\n");
  for (const auto* wrong : {"model.layers", "=3", ".x=3", "model.=3", "a b=3", "a.b.c.d.e.f.g.h.i=3", ""}) {
    CAPTURE(wrong);
    CHECK(s.read("", {wrong}).find("this is not an assignment") != std::string::npos);
  }
  CHECK(s.read("", {"path=1\nmodel.layers=9"}) == "");  // one override sets one key
  CHECK(s.path == "1\nmodel.layers=9");
  CHECK(s.layers == 5);
}

TEST_CASE("what is printed reads back the same") {
  settings s;
  REQUIRE(s.read(R"(
path = "tab\t quote\" back\\slash \u0001 é"
[model]
bias = false
[optimizer]
kind = "sgd"
learning_rate = 3.0000000000000004e-4
[runtime]
window = "90s"
[chaos]
actors = ["a", "b"]
weights = [0.1, 1]
[[chaos.kill]]
actor = "shard/0"
step = 7
)") == "");
  for (const bool with_comments : {false, true}) {
    const auto text = s.describe().print(with_comments);
    CAPTURE(text);
    settings back;
    CHECK(back.read(text) == "");
    CHECK(back.describe().print() == s.describe().print());
    CHECK(back.path == s.path);
    CHECK(back.learning_rate == s.learning_rate);
    CHECK(back.kills.size() == 1);
  }
}

TEST_CASE("comments say what a key is for, its choices and its range") {
  settings s;
  const auto text = s.describe().print(true);
  CHECK(text.find("# The update rule.\n[optimizer]\n"
                  "kind = \"adamw\"         # the rule: adamw, sgd or lion\n"
                  "learning_rate = 0.001  # the peak; above 0\n"
                  "beta = 0.9             # decay; from 0 to below 1\n") != std::string::npos);
  CHECK(text.find("# One kill.\n# [[chaos.kill]]\n# actor = \"\"  # its name\n") != std::string::npos);
}

TEST_CASE("durations are written in their largest whole unit") {
  using ms = std::chrono::milliseconds;
  CHECK(codec<ms>::write(ms(0)) == "\"0s\"");
  CHECK(codec<ms>::write(ms(1500)) == "\"1500ms\"");
  CHECK(codec<ms>::write(ms(60'000)) == "\"1m\"");
  CHECK(codec<std::chrono::seconds>::write(std::chrono::hours(48)) == "\"2d\"");
}
