/// What the command says to whoever asks for an impossible cluster: the place, what was found, what was expected, what
/// to do.

#include "runtime/transport/tcp_network.hpp"
#include "tests/end_to_end/cluster_run.hpp"

using namespace troupe;

namespace {

void require_refused(const arguments& words, int code, const std::vector<std::string>& parts) {
  const scratch_folder folder;
  prepare(folder);
  const auto ended = run(folder, words);
  INFO(ended.err);
  CAPTURE(words.back());
  CHECK(ended.code == code);
  CHECK(says(ended.err, "error: "));
  CHECK(!std::filesystem::exists(folder.path() / "runs"));
  for (const auto& part : parts)
    CHECK_MESSAGE(says(ended.err, part), part);
}

}  // namespace

TEST_CASE("misuse: impossible clusters are refused before anything is started") {
  const auto train = [](const arguments& more) { return arguments{"train", "small.toml"} + more; };
  require_refused(train({"--nodes", "0"}), 2, {"--nodes", "0"});
  require_refused(train({"--nodes", "1000000"}), 2, {"--nodes", "1000000"});
  require_refused(train({"--nodes", "two"}), 2, {"--nodes", "two"});
  require_refused(train({"--listen", "127.0.0.1:http"}), 2, {"--listen", "'http' is no port", "127.0.0.1:"});
  require_refused(train({"--listen", "127.0.0.1:70000"}), 2, {"--listen", "'70000' is no port"});
  require_refused(train({"--listen", "0.0.0.0:0"}), 2, {"0.0.0.0", "without a secret", "TROUPE_SECRET", "--secret-file"});
  require_refused(train({"--listen", "0.0.0.0:0", "--secret-file", "small.toml"}), 2, {"0.0.0.0", "--tls", "--insecure"});
  require_refused(train({"--listen", "192.0.2.1:0", "--secret-file", "small.toml", "--insecure"}), 5, {"192.0.2.1"});
  require_refused(train({"--nodes", "2", "--min-nodes", "3"}), 2, {"--min-nodes", "3", "2"});
  require_refused(train({"--min-nodes", "3"}), 2, {"--min-nodes", "--listen"});
  require_refused(train({"--nodes", "2", "runtime.replication=3"}), 2, {"runtime.replication", "3", "2"});
  require_refused(train({"--nodes", "2", "runtime.replicaton=2"}), 2, {"runtime.replicaton", "runtime.replication"});
  require_refused(train({"--chaos", "node/1@5"}), 2, {"node/1", "--nodes"});
  require_refused(train({"--nodes", "2", "--secret-file", "nowhere"}), 3, {"nowhere"});
}

TEST_CASE("misuse: numbers that make no sense are refused, with what was expected") {
  const auto refuse = [](const arguments& words, const char* expected) {
    require_refused(words, 2, {words[words.size() - 2], words.back(), expected});
  };
  const auto train = [](const char* option, const char* value) {
    return arguments{"train", "small.toml", "--listen", "127.0.0.1:0", option, value};
  };
  const auto node = [](const char* option, const char* value) {
    return arguments{"node", "--join", "127.0.0.1:1", option, value};
  };
  for (const auto* value : {"nan", "inf", "-1", "1e300"}) {
    CAPTURE(value);
    refuse(train("--wait-for-nodes", value), "0 to 86400");
    refuse(train("--recover-within", value), "0 to 3600");
    refuse(train("--replace-after", value), "0 to 3600");
    refuse(train("--min-nodes", value), "1 to 65536");
    refuse(node("--cores", value), "at most 65536");
    refuse(node("--speed", value), "more than 0");
    refuse(node("--drain-within", value), "0 to 86400");
    refuse(node("--rejoin-within", value), "0 to 2592000");
    refuse({"drain", "127.0.0.1:1", "--within", value}, "0 to 86400");
  }
  refuse(node("--cores", "0"), "more than 0");
  require_refused(train("--min-nodes", "1.5"), 2, {"--min-nodes", "1.5"});
  require_refused(train("cluster.heartbeat=1ms", "--quiet"), 2, {"cluster.heartbeat", "10ms to 1m"});
  require_refused(train("cluster.gpu_links=rdma", "--quiet"), 2, {"cluster.gpu_links", "nccl", "off"});
  require_refused(train("cluster.silence_max=500ms", "--quiet"), 2, {"cluster.silence_max", "1000 ms or more"});
  require_refused(train("cluster.phi=0", "--quiet"), 2, {"cluster.phi", "1"});
}

TEST_CASE("misuse: a job that no node has the memory for is refused where none can join, and says so where one can") {
  const arguments huge{"train", "small.toml", "model.layers=96", "model.channels=8192", "runtime.shards=400"};
  {
    const scratch_folder folder;
    prepare(folder);
    const auto ended = run(folder, huge + arguments{"--nodes", "1", "--ignore-memory"});
    INFO(ended.err);
    CHECK(ended.code == 4);
    for (const auto* part : {"needs", "of memory", "node 1 has the most", "help: let more nodes join"})
      CHECK_MESSAGE(says(ended.err, part), part);
  }

  const scratch_folder folder;
  prepare(folder);
  const process head(folder, huge + arguments{"--listen", "127.0.0.1:0"});
  const auto node = start_node(folder, head_endpoint(folder), "node");
  REQUIRE(comes_true([&] { return says(head.err(), "event=unplaced"); }));
  const auto status = status_of(folder);
  REQUIRE(status);
  CHECK(says((*status)["unplaced"], "of memory"));
  head.signal(SIGTERM);
  CHECK(head.wait() == 4);
  CHECK(says(head.err(), "of memory"));
}

TEST_CASE("misuse: backups on one node are no backups, and whoever asks for them is told") {
  for (const auto& where : {arguments{}, arguments{"--nodes", "1"}}) {
    const scratch_folder folder;
    prepare(folder);
    const auto ended = run(folder, arguments{"train", "small.toml", "training.steps=3", "runtime.replication=2"} + where);
    CHECK(ended.code == 0);
    CHECK(says(ended.err, "warning: runtime.replication = 2: "));
    CHECK(says(ended.err, where.empty() ? "--nodes 2" : "as soon as another joins"));
  }
}

TEST_CASE("misuse: a node needs a head, and gives up looking for one in the time it was told") {
  require_refused({"node"}, 2, {"--join HOST:PORT"});
  require_refused({"node", "--join", "127.0.0.1:head"}, 2, {"--join", "'head' is no port"});
  require_refused({"node", "--join", "127.0.0.1:1", "--preemption", "azure"}, 2, {"azure", "aws"});
  const auto nobody = fmt::format("127.0.0.1:{}", free_port());
  require_refused({"node", "--join", nobody, "--rejoin-within", "1"}, 5, {nobody, "for 1 s"});
}

TEST_CASE("misuse: a head of another build or protocol refuses a node, which names both and does not try again") {
  for (const bool other_build : {true, false}) {
    tcp_options options;
    options.build = other_build ? "troupe 0.0.1" : "";
    if (!other_build)
      options.protocol_version = tcp_protocol_version + 1;
    const auto head = make_tcp_network(options);
    head->start({[](link_id, const std::string&) { return introduction_reply{true, "{}"}; }, [](link_id, parcel) {},
                 [](link_id, const std::string&) {}});
    const auto parts = other_build ? std::vector<std::string>{head->endpoint(), "event=refused", "troupe 0.0.1", "this side is build 'troupe"}
                                   : std::vector<std::string>{head->endpoint(), "event=refused", "version 2", "version 1"};
    require_refused({"node", "--join", head->endpoint()}, 3, parts);
  }
}

TEST_CASE("misuse: the status of what does not run") {
  const auto nobody = fmt::format("127.0.0.1:{}", free_port());
  require_refused({"status", nobody}, 5, {nobody});
  require_refused({"status", "runs/nothing"}, 3, {"runs/nothing", "cluster"});
}
