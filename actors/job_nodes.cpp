#include "actors/job_nodes.hpp"

#include <algorithm>
#include <random>
#include <thread>
#include <utility>

#include <fmt/format.h>

#include "actors/cluster_job.hpp"
#include "actors/job_journal.hpp"
#include "runtime/error.hpp"
#include "runtime/system.hpp"
#include "runtime/transport/frame.hpp"

namespace troupe {

job_nodes::job_nodes(caf::actor_system& system, const directory_actor& names, const job_cluster& settings,
                     const job_context_ptr& context, const std::shared_ptr<const job_status>& status)
    : settings_(settings), context_(context) {
  if (!context->store)
    throw input_error("a job on a cluster needs a folder for its checkpoints");
  cluster_head_options options;
  options.codecs = job_codecs();
  options.demands = demands_of(*context);
  // A backup hands over a shard's state and its part of the last cut in one message.
  const auto largest = (context->replicated() ? 2 : 1) *
                       *std::max_element(options.demands.shard_bytes.begin(), options.demands.shard_bytes.end());
  if (const auto most = frame_limits{}.tensor_bytes_max; largest > most)
    throw input_error(fmt::format("runtime.shards = {}: a node would hand over {} bytes for the largest shard, and "
                                  "hands over at most {} at once; choose {} or more shards",
                                  context->layout.shard_count(), largest, most,
                                  context->layout.shard_count() * (largest / most + 1)));
  auto documents = context->inputs.documents;
  documents["data"] = context->inputs.data->fingerprint();
  options.peers = context->settings.cluster.peers;
  options.terms.job.documents = to_documents(documents);
  options.terms.job.from_before = inheritance_of(*context);
  options.terms.prepare_within = context->settings.supervision.stall_after;
  options.terms.same_arithmetic = context->settings.repeats_exactly();
  options.cluster = fmt::format("{:016x}", std::random_device{}() * 0x100000001ull ^
                                               static_cast<std::uint64_t>(clock::now().time_since_epoch().count()));
  options.tell = settings.tell ? settings.tell : [](const log_line&) {};
  options.status = [status] { return status->to_json(); };
  head_ = std::make_shared<cluster_head>(system, settings.carrier, std::move(options));
  head_->start(names);
  seen_ = clock::now();
}

job_nodes::~job_nodes() { send_exit(head_->membership(), caf::exit_reason::user_shutdown); }

bool job_nodes::wait_for_first(const stop_request* stop) {
  for (; head_->board().count(node_state::ready) < settings_.min_nodes; std::this_thread::sleep_for(look_up)) {
    if (stop && stop->stop)
      return false;
    check_fitness();
    if (clock::now() - seen_ > settings_.wait_for_nodes)
      throw job_failed(fmt::format("{} of {} nodes joined {} within {} s; start more with `troupe node --join {}`",
                                   head_->board().count(node_state::ready), settings_.min_nodes, head_->endpoint(),
                                   settings_.wait_for_nodes.count() / 1000, head_->endpoint()));
  }
  return true;
}

void job_nodes::wait_for_memory(const stop_request* stop) {
  const auto step = context_->journal ? context_->journal->in_memory().value_or(cut_id{}).step : 0;
  const auto on_disk = context_->store->steps();
  if (step <= (on_disk.empty() ? 0 : on_disk.back()) || settings_.wait_for_memory.count() == 0)
    return;
  const auto missing = [&] { return shards_not_kept(head_->board(), *context_); };
  const auto until = clock::now() + settings_.wait_for_memory;
  for (bool told = false; !missing().empty() && clock::now() < until && !(stop && stop->stop);) {
    if (!std::exchange(told, true))
      say("waits", fmt::format("the cut at step {} was in the memory of nodes and is newer than the newest on disk: "
                               "waiting up to {} s for those who have shard {}",
                               step, settings_.wait_for_memory.count() / 1000, fmt::join(missing(), ", ")));
    std::this_thread::sleep_for(look_up);
  }
  if (const auto lost = missing(); !lost.empty())
    say("memory_lost", fmt::format("the cut at step {} is lost: no node came back that had shard {} of it; going on from "
                                   "the newest on disk",
                                   step, fmt::join(lost, ", ")),
        log_level::warn);
}

void job_nodes::check(const stop_request* stop) {
  check_fitness();
  check_ownership();
  check_room(stop);
  const auto& board = head_->board();
  if (board.count(node_state::ready) + board.count(node_state::leaving) + board.count(node_state::joining) > 0)
    seen_ = clock::now();
  else if (clock::now() - seen_ > settings_.wait_for_nodes)
    throw job_failed(fmt::format("no node was there for {} s; the last cut is intact: start nodes and resume",
                                 settings_.wait_for_nodes.count() / 1000));
}

void job_nodes::dismiss(const std::string& reason) {
  caf::anon_send(head_->membership(), dismiss_nodes{reason});
  const auto& board = head_->board();
  for (const auto until = clock::now() + dismiss_within; clock::now() < until; std::this_thread::sleep_for(look_up))
    if (board.count(node_state::ready) + board.count(node_state::leaving) + board.count(node_state::joining) == 0)
      return;
}

void job_nodes::say(const char* event, std::string message, log_level level) const {
  if (settings_.tell)
    settings_.tell({.event = event, .message = std::move(message), .level = level});
}

void job_nodes::check_ownership() {
  const auto now = clock::now();
  if (!context_->journal || now - looked_ < look_every)
    return;
  looked_ = now;
  if (!context_->journal->is_ours())
    throw job_failed(fmt::format("{}: another process has taken this run over", settings_.journal.string()));
}

void job_nodes::check_room(const stop_request* stop) {
  const auto now = clock::now();
  const auto& board = head_->board();
  if (now - looked_for_room_ < look_every)
    return;
  looked_for_room_ = now;
  const auto problem = board.unplaced();
  if (const bool told = std::exchange(unplaced_, !problem.empty()); unplaced_ && !told)
    say("unplaced", problem, log_level::warn);
  const auto ready = board.count(node_state::ready);
  if (!unplaced_ || ready == 0 || !board.is_anybody_homeless()) {
    homeless_since_ = now;  // without any node it is `check` that waits
    return;
  }
  const bool nobody_comes = settings_.alike && ready >= settings_.min_nodes;
  if (nobody_comes || (stop && stop->stop))
    throw job_failed(problem);
  if (now - homeless_since_ > settings_.wait_for_nodes)
    throw job_failed(fmt::format("no node that has room joined within {} s: {}", settings_.wait_for_nodes.count() / 1000,
                                 problem));
}

void job_nodes::check_fitness() const {
  if (!settings_.alike)
    return;
  for (const auto& node : head_->board().nodes())
    if (!node.fault.empty())
      throw input_error(node.fault);
}

}  // namespace troupe
