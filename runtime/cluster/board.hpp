#pragma once

/// What the head knows of its nodes, and who lives where. Shared by the network's thread (which strikes out a lost node
/// before anybody hears of it), the supervisors that place actors, the membership, and whoever asks for the status:
/// none of them waits for another's mailbox.

#include <chrono>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "runtime/cluster/measured_speeds.hpp"
#include "runtime/cluster/node_resources.hpp"
#include "runtime/cluster/placement.hpp"

namespace troupe {

enum class node_state : std::uint8_t {
  joining,  ///< introduced; reads the job's data
  ready,
  leaving,  ///< drains: nothing new is placed there
  gone,
};

const char* to_string(node_state state);

/// What a node says about itself when it joins.
struct node_offer {
  std::string endpoint;  ///< where other nodes reach it
  node_resources resources;
  double speed = 1.0;    ///< of one core; any unit, the same on all nodes. Counts until it was measured at work
};

struct node_record {
  node_id id = head_node;
  node_offer offer;
  node_state state = node_state::joining;
  std::chrono::system_clock::time_point joined;
  std::chrono::system_clock::time_point ended;  ///< gone
  std::string evidence;                         ///< gone: why
  bool released = false;                        ///< it was told to go: nothing lives there any more
  std::string fault;                            ///< what makes it unfit for this job; empty: nothing is known
  std::uint64_t memory_bytes = 0;               ///< for the actors of jobs; 0: unknown
  std::string arithmetic;                       ///< as in node_prepared; empty: it was not prepared, or was refused
  std::vector<std::uint32_t> kept;              ///< as in node_prepared
};

/// Who moves, by index.
struct placement_moves {
  std::vector<std::uint32_t> shards;
  std::vector<std::uint32_t> lanes;
  bool evaluator = false;

  bool empty() const noexcept { return shards.empty() && lanes.empty() && !evaluator; }
};

/// Why a node is gone that was let go: all its work had moved, or the job was done.
inline constexpr const char* let_go_evidence = "it left";

/// Thread safe.
class cluster_board {
 public:
  explicit cluster_board(placement_demands demands) : demands_(std::move(demands)) {}

  // -- nodes --------------------------------------------------------------------------

  /// The new node's number.
  node_id add(node_offer offer);
  void set_state(node_id node, node_state state);
  /// It leaves, and its end is no loss.
  void release(node_id node);
  void set_fault(node_id node, const std::string& fault);
  /// As in node_prepared.
  void set_memory(node_id node, std::uint64_t bytes);
  void set_arithmetic(node_id node, const std::string& arithmetic);
  /// False where nothing changes by it.
  bool set_kept(node_id node, std::vector<std::uint32_t> shards);
  /// Strikes a node out; false where it was out before.
  bool remove(node_id node, const std::string& evidence);
  std::optional<node_record> find(node_id node) const;
  /// The first node that said how it rounds and takes part, or took part: what it computed is in the parameters.
  std::optional<node_record> first_to_compute() const;
  /// In order of joining, the gone included.
  std::vector<node_record> nodes() const;
  std::size_t count(node_state state) const;

  // -- speeds -------------------------------------------------------------------------

  /// A lane computed a step in that many seconds where it lives.
  void note_step(std::uint32_t lane, double seconds);
  /// Takes nodes for as fast as they have been since the last look, and says by what factor a step would be shorter if
  /// lanes were spread by that; 1: by nothing.
  double look_at_speeds(measured_speeds::clock::time_point now);

  // -- places -------------------------------------------------------------------------

  /// Where somebody lives, or is to live from now on: a home is found for whoever has none. no_node: there is no place.
  node_id home_of_shard(std::uint32_t shard);
  node_id home_of_lane(std::uint32_t lane);
  node_id home_of_evaluator();
  node_id home_of_keeper(std::uint32_t shard);
  /// Decides anew where everybody lives, so that the load is balanced and nobody is left on a node that leaves. Who is
  /// returned has another home from now on and must be ended, so that it is started there.
  placement_moves rebalance();
  /// Finds other homes for keepers that live beside their shards, or on nodes that leave; who is returned must be
  /// ended, as above. A keeper for which there is no other node has none.
  std::vector<std::uint32_t> settle_keepers();
  /// Whether nobody lives on `node` but keepers, whose loss costs no step.
  bool is_empty(node_id node) const;
  /// Why nobody can take in those who have no home, or who live on a node that leaves; empty: there are none, or there is
  /// room for them. For people.
  std::string unplaced() const;
  /// Whether somebody has no home on any node that is there: the job stands still until that is found.
  bool is_anybody_homeless() const;
  placement homes() const;

 private:
  std::vector<placement_node> candidates() const;
  double offered_to_measured() const;
  bool accepts(node_id node) const;
  bool is_leaving(node_id node) const;
  bool is_in(node_id node, node_state state) const;
  template <class Pick>
  node_id home(Pick pick);
  void place_keepers(const placement& present);

  const placement_demands demands_;
  mutable std::mutex mutex_;
  std::vector<node_record> nodes_;
  measured_speeds speeds_;
  placement homes_;
};

}  // namespace troupe
