#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "actors/shard_layout.hpp"
#include "runtime/checkpoint/cut_id.hpp"
#include "runtime/checkpoint/store.hpp"

namespace troupe {

/// Where a shard's part of a cut is taken from. Which one of them makes no difference to the bits.
enum class restore_source : std::uint8_t {
  beginning,   ///< there is no cut: the initial values
  own_memory,  ///< the shard holds it itself
  neighbour,   ///< its keeper, on another node, holds it
  backup,      ///< no cut: the state that its backup has reached
  survivor,    ///< a node that outlived the head before this one holds it
  disk,
};

/// As in events and summaries: "own_memory".
const char* to_string(restore_source source);
/// For people: "its own memory", as in "restored from its own memory".
const char* describe(restore_source source);

using restore_counts = std::map<restore_source, std::uint64_t>;
/// By to_string, zeros included.
std::map<std::string, std::uint64_t> by_name(const restore_counts& counts);

/// What one shard goes on from: its part of a cut, which may have been written with other shards and lanes.
struct shard_origin {
  std::string source;                  ///< where the cut stands, for messages to people
  cut_id cut;                          ///< all lanes stood at its step
  std::vector<lane_progress> applied;  ///< of all lanes, as counted until then
  std::vector<named_tensor> tensors;   ///< values and optimizer state of the shard's parameters; handles to the cut's
};

/// By shard. Throws input_error for a tensor that is of none of the parameters; what a cut lacks is found out by the
/// shard that misses it.
std::vector<shard_origin> split_cut(const cut& from, const parameter_space& space, const shard_layout& layout);

/// What a tensor of optimizer state is called in a cut: the name of its parameter, "@", the name of the state.
std::string state_tensor_name(const std::string& parameter, const std::string& state);

}  // namespace troupe
