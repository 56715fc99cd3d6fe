#pragma once

/// A job on a cluster: what its head and its nodes need besides the runtime's cluster.

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "actors/job_context.hpp"
#include "actors/job_places.hpp"
#include "runtime/cluster/agent.hpp"
#include "runtime/cluster/head.hpp"

namespace troupe {

/// Everything that actors of a job and agents of a cluster say across nodes.
message_codecs job_codecs();

/// What the job asks of nodes: bytes of each shard, cores and memory of each lane and of the evaluator.
placement_demands demands_of(const job_context& context);

/// Shards, lanes and the evaluator live on nodes; the checkpoint writer beside the coordinator, by the disk.
job_places places_on(std::shared_ptr<cluster_head> head, job_context_ptr context);

/// For a node: spawns actors of the job in its process.
local_spawner spawner_for(job_context_ptr context);

/// The same for a process that keeps parts of cuts in `survivors` while it has no head.
prepared_job prepare_with(std::shared_ptr<surviving_cuts> survivors, const job_context& context,
                          const prepare_job& what);

/// What nodes may hold of this job's run; nothing where it has no journal.
inheritance inheritance_of(const job_context& context);

/// Of which shards no node on the board has its part of the cut that was asked for.
std::vector<std::uint32_t> shards_not_kept(const cluster_board& board, const job_context& context);

std::vector<job_document> to_documents(const std::map<std::string, std::string>& named);
std::map<std::string, std::string> from_documents(const std::vector<job_document>& documents);

}  // namespace troupe
