/// `troupe certs`: what it makes, what it leaves alone; and who may listen with what.

#include <sys/stat.h>

#include <filesystem>

#include "cli/cluster_access.hpp"
#include "cli/command.hpp"
#include "runtime/error.hpp"
#include "runtime/transport/tcp_network.hpp"
#include "tests/command_process.hpp"

using namespace troupe;

namespace {

unsigned mode_of(const std::filesystem::path& path) {
  struct stat found {};
  REQUIRE(stat(path.c_str(), &found) == 0);
  return found.st_mode & 0777;
}

bool contains(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

/// Whether a node can listen with what is in the folder.
bool is_of_use(const std::filesystem::path& folder) {
  try {
    make_tcp_network({.tls = tls_files_in(folder)});
  } catch (const input_error& fault) {
    MESSAGE(fault.what());
    return false;
  }
  return true;
}

}  // namespace

TEST_CASE("certificates are made for all nodes together, once") {
  const scratch_folder folder;
  const auto first = run(folder, {"certs", "tls"});
  CAPTURE(first.err);
  REQUIRE(first.code == 0);
  const auto made = folder.path() / "tls";
  CHECK(mode_of(made) == 0700);
  CHECK(mode_of(made / "authority.key") == 0600);
  CHECK(mode_of(made / "node.key") == 0600);
  CHECK(mode_of(made / "authority.pem") == 0644);
  CHECK(is_of_use(made));
  CHECK(contains(first.out, "made  tls/node.pem  valid until 20"));

  const auto before = read_file(made / "node.pem") + read_file(made / "node.key") + read_file(made / "authority.key");
  const auto again = run(folder, {"certs", "tls"});
  CHECK(again.code == 0);
  CHECK(contains(again.out, "kept  tls/authority.pem"));
  CHECK(contains(again.out, "kept  tls/node.pem"));
  CHECK(before == read_file(made / "node.pem") + read_file(made / "node.key") + read_file(made / "authority.key"));
}

TEST_CASE("nodes can be added to an authority") {
  const scratch_folder folder;
  REQUIRE(run(folder, {"certs", "tls", "--nodes", "2", "--days", "7"}).code == 0);
  const auto more = run(folder, {"certs", "tls", "--nodes", "3"});
  REQUIRE(more.code == 0);
  CHECK(contains(more.out, "kept  tls/node-2/node.pem"));
  CHECK(contains(more.out, "made  tls/node-3/node.pem"));
  const auto made = folder.path() / "tls";
  CHECK_FALSE(std::filesystem::exists(made / "node.pem"));
  for (const auto* name : {"node-1", "node-2", "node-3"}) {
    CHECK(is_of_use(made / name));
    CHECK(mode_of(made / name / "node.key") == 0600);
    CHECK(read_file(made / name / "authority.pem") == read_file(made / "authority.pem"));
    CHECK_FALSE(std::filesystem::exists(made / name / "authority.key"));
  }
  CHECK(read_file(made / "node-1/node.pem") != read_file(made / "node-2/node.pem"));
}

TEST_CASE("what is there and does not fit is named and not overwritten") {
  const scratch_folder folder;
  const auto fault = [&] {
    const auto [code, out, err] = run(folder, {"certs", "tls"});
    CHECK(code == 3);
    return err;
  };
  REQUIRE(run(folder, {"certs", "tls"}).code == 0);
  const auto made = folder.path() / "tls";
  std::filesystem::remove(made / "node.pem");
  CHECK(contains(fault(), "tls/node.key: this is here without node.pem, and is not overwritten"));
  std::filesystem::remove(made / "node.key");
  std::filesystem::rename(made / "authority.key", folder.path() / "authority.key");
  CHECK(contains(fault(), "tls/node.pem: cannot be made: authority.key is not here"));
  std::filesystem::rename(folder.path() / "authority.key", made / "authority.key");
  write_file(folder, "tls/node.pem", "nonsense");
  CHECK(contains(fault(), "tls/node.pem: this is no certificate"));
  CHECK(read_file(made / "node.pem") == "nonsense");
  CHECK(run(folder, {"certs", "tls", "--days", "0"}).code == 2);
}

TEST_CASE("who listens beyond this machine needs a secret, and TLS or a word") {
  const endpoint_parts everywhere{"0.0.0.0", 0};
  const auto fault = [&](const cluster_access& access) {
    try {
      listen_on(everywhere, access, "");
    } catch (const usage_error& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  const scratch_folder folder;
  REQUIRE(run(folder, {"certs", "tls"}).code == 0);
  const auto made = folder.path() / "tls";
  CHECK(contains(fault({}), "without a secret"));
  CHECK(contains(fault({"", made}), "without a secret"));
  CHECK(contains(fault({"", {}, true}), "without a secret"));
  CHECK(contains(fault({"s"}), "without TLS"));
  CHECK(fault({"s", made}) == "");
  CHECK(fault({"s", {}, true}) == "");
  CHECK_THROWS_AS(listen_on(everywhere, {"s", folder.path() / "nowhere"}, ""), input_error);
  CHECK_NOTHROW(listen_on({"127.0.0.1", 0}, {}, ""));
  CHECK(run(folder, {"node", "--join", "192.0.2.1:4000", "--quiet"}).code == 2);
}
