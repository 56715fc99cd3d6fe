/// Strangers at the ports of a running job: whatever they send ends their own connection and nothing else.

#include <random>

#include "runtime/transport/handshake.hpp"
#include "runtime/transport/socket.hpp"
#include "tests/end_to_end/cluster_run.hpp"
#include "tests/runtime/transport/support.hpp"
#include "tests/seeds.hpp"

using namespace troupe;

namespace {

std::vector<std::byte> hello_of(const handshake_identity& who) {
  return handshake(handshake::role::dialer, who, "let me in").output();
}

void harass(const std::string& endpoint, const handshake_identity& ours, std::mt19937_64& random) {
  for (int i = 0; i < 10; ++i) {
    bare_socket stranger(endpoint);
    stranger.send(random_text(random, 10'000) + "no hello has this");
    stranger.wait_end();
  }
  for (const std::size_t size : {0, 1, 64, 127, 128}) {  // ... and goes
    bare_socket stranger(endpoint);
    const auto hello = hello_of(ours);
    stranger.send(std::span(hello).first(size));
  }
  for (const auto& wrong : {handshake_identity{"a guess", ours.build}, handshake_identity{"", ours.build},
                            handshake_identity{ours.secret, "another build"},
                            handshake_identity{ours.secret, ours.build, 0},
                            handshake_identity{ours.secret, ours.build, tcp_protocol_version + 1}}) {
    bare_socket stranger(endpoint);
    auto shake = handshake(handshake::role::dialer, wrong, "let me in");
    stranger.send(shake.output());
    stranger.send(random_text(random, 100));
    stranger.wait_end();
  }
  // Somebody who knows the secret, and says what makes no sense.
  bare_socket insider(endpoint);
  introduce(insider, ours);
}

}  // namespace

TEST_CASE("closed: strangers at the head's and at a node's port disturb no running job") {
  for_each_seed(1, [](std::uint64_t seed) {
    constexpr std::uint64_t steps = 2000;
    const scratch_folder folder;
    prepare(folder);
    const process head(folder, cluster_job(steps) + arguments{"--nodes", "2"});
    const auto endpoint = head_endpoint(folder);
    REQUIRE(reaches(head, 50));
    const auto file = nlohmann::json::parse(read_file(run_folder(folder) / "cluster.json"));
    const auto status = status_of(folder);
    REQUIRE(status);
    const handshake_identity ours{file["secret"], (*status)["nodes"][0]["resources"]["build"]};
    const std::vector<std::string> ports{endpoint, (*status)["nodes"][0]["endpoint"]};

    raise_descriptor_limit();
    std::vector<bare_socket> idle;
    for (int i = 0; i < 1000; ++i)
      for (const auto& port : ports)
        idle.emplace_back(port);
    std::mt19937_64 random(seed);
    const auto harassed_from = step_of(head);
    for (const auto& port : ports)
      harass(port, ours, random);
    CHECK(!head.ended());
    CHECK(harassed_from < steps);

    const auto stranger = run(folder, {"status", endpoint});
    CHECK(stranger.code == 3);
    CHECK(says(stranger.err, "another secret"));
    write_file(folder, "guess", "a guess");
    const auto guessing = start_node(folder, endpoint, "guessing", {"--secret-file", "guess"});
    CHECK(guessing->wait() == 3);
    CHECK(says(guessing->err(), "another secret"));
    write_file(folder, "known", file["secret"].get<std::string>());
    const auto refusals = head.err();
    std::size_t lines = 0;
    for (auto at = refusals.find("event=refused"); at != std::string::npos; at = refusals.find("event=refused", at + 1))
      ++lines;
    CHECK(lines > 0);
    CHECK(lines <= 3 * 11);  // of thousands; the test lasts less than three minutes
    const auto of_node = run(folder, {"status", "--ready", ports[1], "--secret-file", "known"});
    CHECK(of_node.code == 0);
    CHECK(says(of_node.out, "node 1 | ready"));

    const auto summary = summary_of(head);
    CHECK(summary["fingerprint"] == calm_fingerprint(cluster_job(steps)));
    CHECK(summary["restarts"] == 0);
    CHECK(summary["rollbacks"] == 0);
  });
}

TEST_CASE("closed: over TLS the result is the same; who has no certificate of ours is refused, and told why") {
  constexpr std::uint64_t steps = 1500;
  const scratch_folder folder;
  prepare(folder);
  for (const auto* authority : {"ours", "theirs"})
    REQUIRE(run(folder, {"certs", authority}).code == 0);
  const process head(folder, cluster_job(steps) + arguments{"--listen", "127.0.0.1:0", "--tls", "ours", "--nodes", "2",
                                                            "--min-nodes", "3"});
  const auto endpoint = head_endpoint(folder);
  const auto independent = start_node(folder, endpoint, "independent", {"--tls", "ours"});
  REQUIRE(reaches(head, 50));

  const auto foreign = start_node(folder, endpoint, "foreign", {"--tls", "theirs"});
  CHECK(foreign->wait() == 3);
  CHECK(says(foreign->err(), "refused"));
  CHECK(says(foreign->err(), "authority"));
  const auto plain = start_node(folder, endpoint, "plain");
  CHECK(plain->wait() == 3);
  CHECK(says(plain->err(), "TLS"));
  const auto curious = run(folder, {"status", endpoint});
  CHECK(curious.code == 3);
  CHECK(says(curious.err, "TLS"));
  const auto status = status_of(folder);
  REQUIRE(status);
  CHECK(nodes_of(*status).size() == 3);

  const auto summary = summary_of(head);
  CHECK(summary["fingerprint"] == calm_fingerprint(cluster_job(steps)));
  CHECK(summary["restarts"] == 0);
  CHECK(independent->wait() == 0);
}
