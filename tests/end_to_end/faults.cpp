/// The kinds of fault, each as it really happens: a crashed actor, a killed process, a broken connection, a lost
/// machine, a wedged process. None changes the result.

#include "tests/end_to_end/cluster_run.hpp"
#include "tests/end_to_end/proxy.hpp"

using namespace troupe;
using nlohmann::json;

namespace {

constexpr std::uint64_t steps = 2500;  // enough for who is lost to come back

void require_same(const json& summary) {
  static const auto calm = calm_fingerprint(cluster_job(steps));
  CHECK(summary["fingerprint"] == calm);
  require_exactly_once(summary, steps);
}

const auto endless = cluster_job(1'000'000);

/// Ends a job that has no end of its own: what it has done is what an undisturbed one does in as many steps.
void require_same_so_far(const process& head) {
  head.signal(SIGINT);
  CHECK(head.wait() == 6);
  const auto summary = lines_of(head.out()).back();
  const std::uint64_t done = summary["steps"];
  CHECK(summary["fingerprint"] == calm_fingerprint(cluster_job(done)));
  require_exactly_once(summary, done);
}

std::uint16_t port_in(const std::string& endpoint) {
  return static_cast<std::uint16_t>(std::stoi(endpoint.substr(endpoint.rfind(':') + 1)));
}

/// A machine of its own for a node, as far as the network can tell; empty where that is not permitted.
class other_machine {
 public:
  other_machine() : name_(fmt::format("troupe{}", getpid() % 100'000)) {
    made_ = ip("netns add " + name_) && ip(fmt::format("link add {0}a type veth peer name {0}b netns {0}", name_)) &&
            ip(fmt::format("addr add {}/30 dev {}a", here, name_)) && ip(fmt::format("link set {}a up", name_)) &&
            ip(fmt::format("-n {0} addr add {1}/30 dev {0}b", name_, there)) &&
            ip(fmt::format("-n {0} link set {0}b up", name_)) && ip(fmt::format("-n {} link set lo up", name_));
  }
  ~other_machine() {
    ip("link del " + name_ + "a");
    ip("netns del " + name_);
  }
  other_machine(const other_machine&) = delete;
  other_machine& operator=(const other_machine&) = delete;

  explicit operator bool() const { return made_; }
  arguments runner() const { return {"/usr/sbin/ip", "netns", "exec", name_}; }
  void cut_cable() const { ip(fmt::format("link set {}a down", name_)); }
  void mend_cable() const { ip(fmt::format("link set {}a up", name_)); }

  static constexpr auto here = "10.213.77.1";
  static constexpr auto there = "10.213.77.2";

 private:
  static bool ip(const std::string& words) { return std::system(("/usr/sbin/ip " + words + " >/dev/null 2>&1").c_str()) == 0; }

  std::string name_;
  bool made_ = false;
};

}  // namespace

TEST_CASE("fault: actors crash on their nodes, the coordinator on the head") {
  const scratch_folder folder;
  prepare(folder);
  const process head(folder, cluster_job(steps) + arguments{"--nodes", "2", "--chaos",
                                                            "replica/0@150,shard/1@250,loader/2@350,coordinator@450,"
                                                            "shard/0@550,evaluator@650,replica/3@660"});
  const auto summary = summary_of(head);
  require_same(summary);
  CHECK(summary["killed"] == 7);
  CHECK(summary["restarts"] >= 6);
}

TEST_CASE("fault: exceptions leave handlers of actors on nodes and on the head; the reports lead with what was thrown") {
  const scratch_folder folder;
  prepare(folder);
  const process head(folder, cluster_job(steps) +
                                 arguments{"--nodes", "2", "--chaos",
                                           "replica/0@150:exception,shard/1@250:exception,loader/2@350:exception,"
                                           "coordinator@450:exception,evaluator@550:exception"});
  REQUIRE(reaches(head, 600));
  const auto status = status_of(folder);
  const auto summary = summary_of(head);
  require_same(summary);
  CHECK(summary["killed"] == 5);
  CHECK(summary["restarts"] >= 5);
  const auto events = lines_of(read_file(run_folder(folder) / "events.jsonl"));
  for (const std::string actor : {"replica/0", "shard/1", "loader/2", "evaluator", "coordinator"}) {
    CAPTURE(actor);
    const bool on_head = actor == "coordinator";
    const auto cause = fmt::format("an exception left a handler of {}, by fault injection", actor);
    CHECK(std::ranges::any_of(events, [&](const json& event) {
      return event["kind"] == "ended" && event["actor"] == actor && event["reason"] == actor + ": " + cause &&
             says(event["where"], on_head ? "the head" : "node ");
    }));
    REQUIRE(status);
    CHECK(std::ranges::any_of((*status)["job"]["failures"], [&](const json& failure) {
      return failure["actor"] == actor && says(failure["reason"], cause);
    }));
    const auto nodes = run_folder(folder) / "nodes";
    const auto logs = read_file(nodes / "node-1.log") + read_file(nodes / "node-2.log");
    CHECK(says(on_head ? head.err() : logs, cause));
  }
}

TEST_CASE("fault: an actor is wedged in a handler; the job goes on without it, and no process waits for it") {
  const scratch_folder folder;
  prepare(folder);
  const process head(folder, cluster_job(steps) + arguments{"--nodes", "2", "supervision.stall_after=1s", "--chaos",
                                                            "replica/1@200:wedge,loader/0@201:wedge"});
  const auto summary = summary_of(head);
  require_same(summary);
  CHECK(summary["killed"] >= 1);
  CHECK(summary["rollbacks"] >= 1);
  CHECK(says(head.err(), "nothing was done for 1 s"));
  CHECK(processes_in(folder).empty());
}

TEST_CASE("fault: a process is killed by fault injection") {
  const scratch_folder folder;
  prepare(folder);
  const process head(folder, cluster_job(steps) + arguments{"--nodes", "3", "--chaos", "node/2@50,node/1@600"});
  const auto summary = summary_of(head);
  require_same(summary);
  CHECK(summary["killed"] == 2);
  CHECK(says(head.err(), "node 2 is gone"));
  CHECK(says(head.err(), "was killed by signal 9"));
  CHECK(says(head.err(), "node 4 joined"));
}

TEST_CASE("fault: the connection between two nodes breaks, and one of them has to go and join anew") {
  const scratch_folder folder;
  prepare(folder);
  const process head(folder, cluster_job(steps) + arguments{"--listen", "127.0.0.1:0", "--min-nodes", "3"});
  const auto endpoint = head_endpoint(folder);
  const auto port = free_port();
  proxy between("127.0.0.2", "127.0.0.1", port);
  const auto first = start_node(folder, endpoint, "first",
                                {"--listen", fmt::format("127.0.0.1:{}", port), "--advertise", "127.0.0.2"});
  REQUIRE(comes_true([&] { return ready_nodes(folder).size() == 1; }));
  const auto second = start_node(folder, endpoint, "second");
  const auto third = start_node(folder, endpoint, "third");
  REQUIRE(reaches(head, 200));
  REQUIRE(between.count() == 2);
  between.tear();
  wait_for_loss(folder, "lost each other while both reach the head");
  require_same(summary_of(head));
  for (const auto* node : {first.get(), second.get(), third.get()})
    CHECK(node->wait() == 0);
  CHECK(!says(first->err(), "looking for the head"));
}

TEST_CASE("fault: the connection between a node and the head breaks, and the node joins anew") {
  const scratch_folder folder;
  prepare(folder);
  const process head(folder, cluster_job(steps) + arguments{"--listen", "127.0.0.1:0", "--min-nodes", "2"});
  const auto endpoint = head_endpoint(folder);
  proxy between("127.0.0.3", "127.0.0.1", port_in(endpoint));
  const auto near = start_node(folder, endpoint, "near");
  const auto far = start_node(folder, fmt::format("127.0.0.3:{}", port_in(endpoint)), "far");
  REQUIRE(reaches(head, 200));
  between.tear();
  REQUIRE(reaches(head, 600));
  between.tear();
  require_same(summary_of(head));
  CHECK(near->wait() == 0);
  CHECK(far->wait() == 0);
  CHECK(says(far->err(), "looking for the head"));
}

TEST_CASE("fault: a machine is cut off, is declared lost by its silence, and comes back") {
  const other_machine machine;
  if (!machine) {
    MESSAGE("skipped: this machine permits no network namespaces");
    return;
  }
  const scratch_folder folder;
  prepare(folder);
  write_file(folder, "secret", "of this test");
  const arguments secret{"--secret-file", "secret", "--insecure"};
  const process head(folder, endless + secret +
                                 arguments{"--listen", fmt::format("{}:0", other_machine::here), "--min-nodes", "2"});
  const auto endpoint = head_endpoint(folder);
  const auto near = start_node(folder, endpoint, "near", secret);
  const auto far = start_node(folder, endpoint, "far", secret, machine.runner());
  REQUIRE(reaches(head, 200));
  machine.cut_cable();
  REQUIRE(comes_true([&] { return says(head.err(), "no sign of life"); }));
  REQUIRE(comes_true([&] { return says(far->err(), "looking for the head"); }));
  const auto alone_from = step_of(head);
  REQUIRE(reaches(head, alone_from + 100));
  CHECK(!says(far->err(), "as node 3"));
  machine.mend_cable();
  REQUIRE(comes_true([&] { return says(far->err(), "as node 3"); }));
  require_same_so_far(head);
  CHECK(near->wait() == 0);
  CHECK(far->wait() == 0);
}

TEST_CASE("fault: the head stands still for longer than its nodes wait, and goes on with them as new ones") {
  const scratch_folder folder;
  prepare(folder);
  const process head(folder, cluster_job(steps) + arguments{"--nodes", "2"});
  REQUIRE(reaches(head, 200));
  head.signal(SIGSTOP);
  CHECK(comes_true([&] {
    return says(read_file(run_folder(folder) / "nodes" / "node-1.log"), "no sign of life") &&
           says(read_file(run_folder(folder) / "nodes" / "node-2.log"), "no sign of life");
  }));
  head.signal(SIGCONT);
  require_same(summary_of(head));
}

TEST_CASE("fault: a process is wedged, is declared lost by its silence, and disturbs nobody when it wakes") {
  const scratch_folder folder;
  prepare(folder);
  const process head(folder, endless + arguments{"--listen", "127.0.0.1:0", "--min-nodes", "2"});
  const auto endpoint = head_endpoint(folder);
  const auto good = start_node(folder, endpoint, "good");
  const auto wedged = start_node(folder, endpoint, "wedged");
  REQUIRE(reaches(head, 200));
  wedged->signal(SIGSTOP);
  // Asked while everybody waits for the one that stands still.
  const auto status = status_of(folder);
  REQUIRE(status);
  CHECK(nodes_of(*status).size() == 2);
  const auto number = wait_for_loss(folder, "no sign of life");
  wedged->signal(SIGCONT);
  REQUIRE(comes_true([&] { return says(wedged->err(), "as node 3"); }));
  require_same_so_far(head);
  CHECK(says(head.err(), fmt::format("node {} is gone", number)));
  CHECK(good->wait() == 0);
  CHECK(wedged->wait() == 0);
}

TEST_CASE("faults: how soon silence counts as a loss is the run file's to say, to the head and to nodes") {
  const scratch_folder folder;
  prepare(folder);
  const process head(folder, endless + arguments{"--listen", "127.0.0.1:0", "cluster.heartbeat=20ms",
                                                 "cluster.silence_max=500ms"});
  const auto node = start_node(folder, head_endpoint(folder), "node");
  REQUIRE(reaches(head, 10));
  node->signal(SIGSTOP);
  wait_for_loss(folder, "no sign of life for 0.");  // by default it takes 3 s
  node->signal(SIGCONT);
  REQUIRE(comes_true([&] { return ready_nodes(folder).size() == 1; }));
  head.signal(SIGSTOP);
  CHECK(comes_true([&] { return says(node->err(), "no sign of life for 0."); }));
  head.signal(SIGCONT);
  REQUIRE(comes_true([&] { return ready_nodes(folder).size() == 1; }));
  REQUIRE(reaches(head, 200));
  require_same_so_far(head);
}

TEST_CASE("fault: whoever reads the output of a run leaves; the run saves a cut, says so and can be resumed") {
  for (const auto& where : {arguments{}, arguments{"--nodes", "2"}})
    for (const std::size_t lines : {1, 100}) {  // before the first step, and some steps later
      CAPTURE(where.size());
      CAPTURE(lines);
      const scratch_folder folder;
      prepare(folder);
      const arguments into_head{"/bin/bash", "-c",
                                fmt::format("\"$0\" \"$@\" | head -{}; exit ${{PIPESTATUS[0]}}", lines)};
      const process stopped(folder, endless + where, {}, into_head);
      const int code = stopped.wait();
      INFO(stopped.err());
      CHECK(code == 5);
      CHECK(lines_of(stopped.out()).size() == lines);
      CHECK(says(stopped.err(), where.empty() ? "nobody reads the output any more: saving a cut and leaving\n"
                                              : "nobody reads the output any more: leaving\n"));
      CHECK(says(stopped.err(), "\nerror: nobody reads the output any more"));
      CHECK(processes_in(folder).empty());
      const auto summary = json::parse(read_file(run_folder(folder) / "summary.json"), nullptr, false);
      const std::uint64_t done = summary.is_object() ? summary["steps"].get<std::uint64_t>() : 0;
      if (lines > 1) {
        CHECK(summary["interrupted"] == true);
        CHECK(done > 0);
      }
      const auto rest = summary_of(process(folder, cluster_job(done + 10) + where + arguments{"--resume"}));
      CHECK(rest["first_step"] == done);
      CHECK(rest["fingerprint"] == calm_fingerprint(cluster_job(done + 10)));
    }
}
