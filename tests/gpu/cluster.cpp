// Jobs on several nodes that compute on emulated GPUs: the bits of one process, whatever happens to nodes.

#include "emulated.hpp"
#include "tests/end_to_end/cluster_run.hpp"

using namespace troupe;
using tests::variable;

namespace {

constexpr std::uint64_t steps = 12;

arguments unlinked_job() {
  return cluster_job(steps) + arguments{"runtime.device=cuda", "evaluation.every=6", "evaluation.batches=1", "checkpoint.every=4"};
}

arguments gpu_job() { return unlinked_job() + arguments{"cluster.gpu_links=nccl"}; }

/// The command's processes find emulated GPUs, and a stand-in for NCCL, while it lives.
struct emulated_library {
  variable devices{"TROUPE_CUDA_LIBRARY", EMULATED_LIBRARY};
  variable links{"TROUPE_NCCL_LIBRARY", EMULATED_NCCL_LIBRARY};
};

const std::string& calm() {
  static const auto print = calm_fingerprint(gpu_job());
  return print;
}

/// The logs of the processes that `--nodes` has started.
std::string logs_of_nodes(const scratch_folder& folder) {
  std::string all;
  for (const auto& entry : std::filesystem::directory_iterator(run_folder(folder) / "nodes"))
    all += read_file(entry.path());
  return all;
}

/// What nodes that were let go say of tensors they sent from GPU to GPU, all together.
std::uint64_t device_link_bytes(const std::string& logs) {
  const std::string mark = "sent tensors of ";
  std::uint64_t sum = 0;
  for (auto at = logs.find(mark); at != std::string::npos; at = logs.find(mark, at + 1))
    sum += std::stoull(logs.substr(at + mark.size()));
  return sum;
}

std::size_t count_of(const std::string& text, const std::string& part) {
  std::size_t count = 0;
  for (auto at = text.find(part); at != std::string::npos; at = text.find(part, at + 1))
    ++count;
  return count;
}

/// A job of two nodes that joined it, of which one finds itself on a machine where `name` is `value`.
struct unequal_nodes {
  unequal_nodes(const scratch_folder& folder, const char* name, const char* value)
      : head(folder, gpu_job() + arguments{"--listen", "127.0.0.1:0", "--min-nodes", "2"}) {
    const auto endpoint = head_endpoint(folder);
    good = start_node(folder, endpoint, "good");
    const variable machine(name, value);
    bad = start_node(folder, endpoint, "bad");
  }

  process head;
  std::unique_ptr<process> good, bad;
};

void require_same(const nlohmann::json& summary) {
  CHECK(summary["fingerprint"] == calm());
  require_exactly_once(summary, steps);
}

/// The same bits without a byte by a device link, for which both nodes give this reason, if any.
void require_same_without_links(const arguments& job, const std::string& reason) {
  const scratch_folder folder;
  prepare(folder);
  require_same(summary_of(process(folder, job + arguments{"--nodes", "2"})));
  const auto logs = logs_of_nodes(folder);
  INFO(logs);
  CHECK(count_of(logs, "event=gpu_link") == (reason.empty() ? 0 : 2));
  if (!reason.empty())
    CHECK(count_of(logs, reason) == 2);
  CHECK(device_link_bytes(logs) == 0);
}

}  // namespace

TEST_CASE("nodes with GPUs end with the parameters of one process") {
  const emulated_library library;
  CHECK(calm() != calm_fingerprint(cluster_job(steps)));
  for (const char* nodes : {"2", "3"}) {
    const variable machine("EMULATED_GPU", *nodes == '2' ? "two-devices" : "");
    const scratch_folder folder;
    prepare(folder);
    require_same(summary_of(process(folder, gpu_job() + arguments{"--nodes", nodes})));
    const auto logs = logs_of_nodes(folder);
    INFO(logs);
    CHECK(device_link_bytes(logs) > 0);
    CHECK(count_of(logs, "CUDA_MODULE_LOADING=EAGER") == (*nodes == '2' ? 2 : 3));
    CHECK(count_of(logs, "event=peer_lost") == 0);
  }
}

TEST_CASE("nodes form no device links unless they are told to") {
  const emulated_library library;
  require_same_without_links(unlinked_job(), "");
}

TEST_CASE("a node whose links break goes on through the hosts' memory, or is lost and comes back, and the bits are the same") {
  const emulated_library library;
  const scratch_folder folder;
  prepare(folder);
  const unequal_nodes job(folder, "EMULATED_NCCL", "breaks-after-30");
  require_same(summary_of(job.head));
  CHECK(job.bad->wait() == 0);
  INFO(job.bad->err());
  CHECK(says(job.bad->err(), "pass through the hosts' memory: cuda:0: NCCL: "));
  CHECK(says(job.bad->err(), "remote process exited or there was a network error"));
}

TEST_CASE("nodes that cannot have a device link say so once, and send tensors through the hosts' memory") {
  const emulated_library library;
  {
    const variable one("EMULATED_GPU", "shared-gpu");
    require_same_without_links(gpu_job(), "both nodes use the same GPU");
  }
  const variable missing("TROUPE_NCCL_LIBRARY", "/nowhere/libnccl.so");
  require_same_without_links(gpu_job(), "there is no NCCL: /nowhere/libnccl.so");
}

TEST_CASE("a node with a GPU is killed, and what takes over for it gives the same bits") {
  const emulated_library library;
  for (const char* replication : {"runtime.replication=1", "runtime.replication=2"}) {
    CAPTURE(replication);
    const scratch_folder folder;
    prepare(folder);
    require_same(summary_of(process(
        folder, gpu_job() + arguments{"--nodes", "2", "--replace-after", "0", "--chaos", "node/1@7", replication,
                                      "runtime.cuda_graphs=true"})));
  }
}

TEST_CASE("a node whose GPU is lost leaves, and others go on for it") {
  const emulated_library library;
  const scratch_folder folder;
  prepare(folder);
  const unequal_nodes job(folder, "EMULATED_GPU", "fragile");
  CHECK(job.bad->wait() == 5);
  CHECK(says(job.bad->err(), "an illegal memory access was encountered"));
  require_same(summary_of(job.head));
}

TEST_CASE("without barriers gradients of a cluster's GPUs have effect once") {
  const emulated_library library;
  const scratch_folder folder;
  prepare(folder);
  const auto words = arguments{"--nodes", "2", "runtime.replication=2", "consistency.mode=bounded", "consistency.staleness=2",
                               "consistency.delay_compensation=adaptive"};
  require_exactly_once(summary_of(process(folder, gpu_job() + words)), steps);
}

TEST_CASE("a head needs no GPU; a node that has none is told so, and the job goes on without it") {
  const scratch_folder folder;
  prepare(folder);
  std::optional<process> head;
  {
    const variable library("TROUPE_CUDA_LIBRARY", "/nowhere/libtroupe_cuda.so");
    head.emplace(folder, gpu_job() + arguments{"--listen", "127.0.0.1:0"});
  }
  const auto endpoint = head_endpoint(folder);
  const emulated_library library;
  {
    const variable machine("EMULATED_GPU", "no-device");
    const auto poor = start_node(folder, endpoint, "poor");
    CHECK(poor->wait() != 0);
    CHECK(says(poor->err(), "there is an NVIDIA driver, but no device that this process may use"));
  }
  const auto good = start_node(folder, endpoint, "good");
  require_same(summary_of(*head));
}

TEST_CASE("GPUs that round otherwise are refused on nodes and in one process, unless that is wanted") {
  const emulated_library library;
  const scratch_folder folder;
  prepare(folder);
  const auto job = cluster_job(1'000'000) + arguments{"runtime.device=cuda"};
  const process head(folder, job + arguments{"--listen", "127.0.0.1:0"});
  const auto endpoint = head_endpoint(folder);
  const auto first = start_node(folder, endpoint, "first");
  REQUIRE(reaches(head, 2));
  const auto refused = [&](const char* machine, const std::vector<std::string>& parts) {
    const variable other("EMULATED_GPU", machine);
    const auto node = start_node(folder, endpoint, "other");
    CHECK(node->wait() == 3);
    for (const auto& part : parts)
      CHECK_MESSAGE(says(node->err(), part), part);
  };
  refused("other-kind", {"event=refused", "computes with other emulated GPU sm_80, cuBLASLt ", "but node 1 (",
                         ") with emulated GPU sm_80, cuBLASLt ", "cluster.mixed_arithmetic=true"});
  refused("two-devices,unlike", {"event=refused", "cuda:0 computes with emulated GPU sm_80", "but cuda:1 computes with other emulated GPU",
                                 "cluster.mixed_arithmetic=true"});
  head.signal(SIGINT);
  CHECK(head.wait() == 6);

  const variable machine("EMULATED_GPU", "two-devices,unlike");
  const auto alone = run(folder, gpu_job() + arguments{"--force"});
  CHECK(alone.code == 2);
  CHECK(says(alone.err, "'runtime.device' = \"cuda\": cuda:0 computes with emulated GPU sm_80"));
  CHECK(says(alone.err, "runtime.device=\"cuda:0\""));
  CHECK(run(folder, gpu_job() + arguments{"--force", "cluster.mixed_arithmetic=true"}).code == 0);
}

TEST_CASE("shards and lanes are placed by the memory of GPUs, not by their hosts'") {
  const emulated_library library;
  const scratch_folder folder;
  prepare(folder);
  const auto large = arguments{"model.channels=2048", "runtime.shards=1", "--nodes", "2"};  // an emulated GPU has 512 MiB
  const auto refused = run(folder, gpu_job() + large);
  INFO(refused.err);
  CHECK(refused.code == 4);
  CHECK(says(refused.err, "shard 0 needs "));
  CHECK(says(refused.err, "of 512.0 MiB"));
}
