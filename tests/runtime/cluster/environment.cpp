#include "runtime/cluster/environment.hpp"

#include <fstream>
#include <map>
#include <string>

#include <doctest/doctest.h>

#include "runtime/error.hpp"
#include "tests/scratch_folder.hpp"

using namespace troupe;

namespace {

using variables = std::map<std::string, std::string>;

variable_lookup lookup_in(const variables& all) {
  return [all](const char* name) -> std::optional<std::string> {
    const auto found = all.find(name);
    return found != all.end() ? std::optional(found->second) : std::nullopt;
  };
}

launch_environment read(const variables& all) { return read_launch_environment(lookup_in(all)); }

std::string secret_refusal(const variables& all) {
  try {
    read_cluster_secret(lookup_in(all));
  } catch (const input_error& fault) {
    return fault.what();
  }
  return "accepted";
}

}  // namespace

TEST_CASE("without a launcher nothing is known") {
  for (const auto& all : {variables{}, variables{{"MASTER_ADDR", ""}, {"RANK", ""}, {"SLURM_JOB_NODELIST", ""}}}) {
    const auto found = read(all);
    CHECK(!found.head);
    CHECK(!found.rank);
    CHECK(!found.world_size);
  }
}

TEST_CASE("how many nodes there will be besides the head, and where it listens") {
  CHECK(!read({}).nodes);
  CHECK(!read({}).port);
  CHECK(read({{"MASTER_PORT", "1234"}}).port == 1234);
  CHECK(read({{"SLURM_NTASKS", "4"}, {"SLURM_PROCID", "0"}}).nodes == 4u);  // a batch script
  CHECK(read({{"SLURM_NTASKS", "4"}, {"SLURM_PROCID", "0"}, {"SLURM_STEP_ID", "0"}}).nodes == 3u);
  CHECK(read({{"WORLD_SIZE", "4"}}).nodes == 4u);
  CHECK(read({{"WORLD_SIZE", "4"}, {"RANK", "0"}}).nodes == 3u);
  CHECK(read({{"WORLD_SIZE", "1"}, {"RANK", "0"}}).nodes == 0u);
}

TEST_CASE("torchrun's variables come before Slurm's") {
  const variables slurm{{"SLURM_PROCID", "3"},
                        {"SLURM_NTASKS", "8"},
                        {"SLURM_JOB_NODELIST", "gpu[007-012],login"},
                        {"SLURM_LAUNCH_NODE_IPADDR", "10.0.0.9"}};
  auto found = read(slurm);
  CHECK(found.head == "10.0.0.9:29500");
  CHECK(found.rank == 3u);
  CHECK(found.world_size == 8u);

  auto both = slurm;
  both.insert({{"MASTER_ADDR", "head.example.org"}, {"MASTER_PORT", "1234"}, {"RANK", "0"}, {"WORLD_SIZE", "2"}});
  found = read(both);
  CHECK(found.head == "head.example.org:1234");
  CHECK(found.rank == 0u);
  CHECK(found.world_size == 2u);

  auto without_launcher = slurm;
  without_launcher.erase("SLURM_LAUNCH_NODE_IPADDR");
  without_launcher["MASTER_PORT"] = "77";
  CHECK(read(without_launcher).head == "gpu007:77");
}

TEST_CASE("an IPv6 address is put in brackets") { CHECK(read({{"MASTER_ADDR", "fe80::1"}}).head == "[fe80::1]:29500"); }

TEST_CASE("nonsense in a variable is refused by name, value and expectation") {
  CHECK_THROWS_WITH_AS(read({{"RANK", "first"}}),
                       "environment variable RANK is 'first'; expected a whole number from 0 to 4294967294",
                       input_error);
  CHECK_THROWS_WITH_AS(read({{"MASTER_ADDR", "a"}, {"MASTER_PORT", "65536"}}),
                       "environment variable MASTER_PORT is '65536'; expected a whole number from 1 to 65535",
                       input_error);
  CHECK_THROWS_WITH_AS(read({{"MASTER_ADDR", "two words\n"}}),
                       "environment variable MASTER_ADDR is 'two words?'; expected the name or the address of a host",
                       input_error);
  CHECK_THROWS_WITH_AS(read({{"RANK", "2"}, {"WORLD_SIZE", "2"}}),
                       "environment: rank 2 (RANK or SLURM_PROCID) in a world of 2 (WORLD_SIZE or SLURM_NTASKS); ranks "
                       "count from 0",
                       input_error);
  for (const auto* bad : {"-1", "1.5", " 1", "1 ", "0x1", "99999999999999999999"})
    CHECK_THROWS_AS(read({{"SLURM_PROCID", bad}}), input_error);
  CHECK_THROWS_AS(read({{"SLURM_NTASKS", "0"}}), input_error);
  CHECK_THROWS_AS(read({{"MASTER_PORT", "x"}}), input_error);  // though there is no address
  CHECK_THROWS_AS(read({{"SLURM_JOB_NODELIST", "gpu[1"}}), input_error);
}

TEST_CASE("the first host of a list as Slurm writes it") {
  CHECK(first_host("node") == "node");
  CHECK(first_host("node,other") == "node");
  CHECK(first_host("host[01-03,7],other") == "host01");
  CHECK(first_host("host[7]") == "host7");
  CHECK(first_host("host[7,9-12]") == "host7");
  CHECK(first_host("rack[2-3]n[001-100],x") == "rack2n001");
  CHECK(first_host("gpu[1-2]-ib") == "gpu1-ib");
  CHECK_THROWS_WITH_AS(first_host("gpu[1-2"),
                       "'gpu[1-2' is no list of hosts: a bracket is not closed; expected one such as "
                       "'gpu[03-05,9],login'",
                       input_error);
  for (const auto* bad : {"", ",a", "a[]", "a[-3]", "a[x]", "a b", "a]"})
    CHECK_THROWS_AS(first_host(bad), input_error);
}

TEST_CASE("the secret comes from its variable, or from the file that the other one names") {
  const scratch_folder folder;
  const auto file = (folder.path() / "secret").string();
  CHECK(!read_cluster_secret(lookup_in({})));
  CHECK(read_cluster_secret(lookup_in({{"TROUPE_SECRET", "s3cret"}})) == "s3cret");
  for (const auto* text : {"from a file", "from a file\n", "from a file\r\n"}) {
    std::ofstream(file, std::ios::binary) << text;
    CHECK(read_cluster_secret(lookup_in({{"TROUPE_SECRET_FILE", file}})) == "from a file");
  }
}

TEST_CASE("a secret that cannot be used is refused, and never shown") {
  const scratch_folder folder;
  const auto file = (folder.path() / "secret").string();
  CHECK(secret_refusal({{"TROUPE_SECRET", ""}}) ==
        "environment variable TROUPE_SECRET: the secret is empty\nhelp: any text that strangers do not know will do");
  CHECK(secret_refusal({{"TROUPE_SECRET", "s3cret"}, {"TROUPE_SECRET_FILE", file}}) ==
        "environment variables TROUPE_SECRET and TROUPE_SECRET_FILE are both set; expected one of them");
  CHECK(secret_refusal({{"TROUPE_SECRET_FILE", file}}) ==
        file + ": cannot read the secret from this file: No such file or directory");
  CHECK(secret_refusal({{"TROUPE_SECRET_FILE", folder.path().string()}}) ==
        folder.path().string() + ": cannot read the secret from this file: Is a directory");
  std::ofstream(file) << "\n";
  CHECK(secret_refusal({{"TROUPE_SECRET_FILE", file}}).starts_with(file + ": the secret is empty"));
  std::ofstream(file) << std::string(secret_bytes_max, 'x') << '\n';
  CHECK(secret_refusal({{"TROUPE_SECRET_FILE", file}}) == "accepted");
  std::ofstream(file) << std::string(1 << 20, 'x');
  CHECK(secret_refusal({{"TROUPE_SECRET_FILE", file}}).ends_with(": the secret is longer than 4096 bytes"));
}
