#include "runtime/config/value.hpp"

#include <filesystem>
#include <fstream>

#include <doctest/doctest.h>

using namespace troupe;
using namespace troupe::config;

namespace {

std::string fault_of(std::string_view text) {
  try {
    parse_toml(text, "run.toml");
  } catch (const config_error& fault) {
    return fault.what();
  }
  return "";
}

}  // namespace

TEST_CASE("faults of syntax are located") {
  CHECK(fault_of("a = 1\na = 2\n").starts_with("run.toml:2:5: this is not TOML: "));
  CHECK(fault_of("a = ").starts_with("run.toml:1:"));
  CHECK(fault_of("a = \"open\n").starts_with("run.toml:1:"));
  CHECK(fault_of("\xff\xfe = 1").starts_with("run.toml:1:"));
}

TEST_CASE("text beyond any configuration is refused") {
  std::string deep = "a";
  for (int i = 0; i < 100'000; ++i)
    deep += ".a";
  CHECK(fault_of(deep + " = 1") ==
        "run.toml:1:1: more than 32 dots in one line\nhelp: spread long lists over several lines");
  CHECK(fault_of("a = " + std::string(100'000, '[')).starts_with("run.toml:1:"));
  CHECK(fault_of(std::string(2 << 20, '\n')).find("at most 1048576 are read") != std::string::npos);

  // The deepest that is let through: every bracket that toml++ allows, with every dot that we allow.
  std::string nested = "a = ";
  std::string step = "{a";
  for (int i = 0; i < 32; ++i)
    step += ".a";
  step += " = [\n";
  for (int i = 0; i < 100; ++i)
    nested += step;
  nested += "1";
  for (int i = 0; i < 100; ++i)
    nested += "]}";
  CHECK(fault_of(nested) == "");
}

TEST_CASE("files that cannot be read are named") {
  CHECK_THROWS_WITH_AS(load_toml("/nowhere/run.toml"),
                       "/nowhere/run.toml: cannot read this file: No such file or directory", config_error);
  CHECK_THROWS_WITH_AS(load_toml("/"), "/: this is a folder, not a file", config_error);
}

TEST_CASE("values are found and located by path") {
  const auto root = parse_toml("top = 1\n[a]\n  b = 2\n[a.c]\nd = 3\n", "run.toml");
  REQUIRE(find(root, "a.c.d"));
  CHECK(describe(*find(root, "a.c.d")) == "the integer 3");
  CHECK(find(root, "a.c.e") == nullptr);
  CHECK(find(root, "top.x") == nullptr);
  CHECK(to_string(locate(root, "a.b")) == "run.toml:3:7");
  CHECK(to_string(locate(root, "a.missing")) == "run.toml:2:1");
  CHECK(to_string(locate(root, "missing.key")) == "run.toml");
}

TEST_CASE("the nearest word is a slip away at most") {
  const std::vector<std::string> words{"learning_rate", "beta1", "beta2", "kind"};
  CHECK(nearest("learning_rat", words) == "learning_rate");
  CHECK(nearest("leanring_rate", words) == "learning_rate");
  CHECK(nearest("beta", words) == "beta1");
  CHECK(nearest("knd", words) == "kind");
  CHECK(nearest("momentum", words) == "");
  CHECK(nearest(std::string(10'000, 'x'), words) == "");
  CHECK(nearest("", words) == "");
}
