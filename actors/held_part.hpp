#pragma once

#include "runtime/checkpoint/checksum.hpp"
#include "runtime/checkpoint/cut_id.hpp"
#include "runtime/checkpoint/store.hpp"

namespace troupe {

/// One shard's part of a cut in memory, with what tells whether it is still what it was.
struct held_part {
  cut_id cut;
  shard_snapshot part;  ///< handles
  checksum sum;
};

held_part hold(const cut_id& cut, shard_snapshot part);
bool is_intact(const held_part& held);

}  // namespace troupe
